"""Metrics of a model on held-out scans, in sums that centres can add up without showing a scan."""

from collections.abc import Sequence

import numpy as np

from harmjax import metrics

BINS = 200  # of probability, from 0 to 1


def assess(logits, labels, members, *, minimum: int, counted: bool = False) -> dict | None:
    """What one centre says of one subgroup; None where it holds fewer scans than the minimum.

    Args:
        logits: [M, K] float.
        labels: [M] int.
        members: [M] bool, the subgroup.
        minimum: Fewest scans that anything is said of but their confusion.
        counted: Whether the confusion of fewer scans is said.

    Returns:
        `number` [K] int64 of each class, `confusion` [K, K] int64; and of enough scans, else 0,
        `answered` how many, `loss` their summed cross-entropy in nats, NaN if a logit is not
        finite, and `histogram` [K, K, BINS] int64: of the scans of each class (second axis) whose
        logits are finite, the probability of each class (first axis).
    """
    logits, labels = np.asarray(logits, float)[members], np.asarray(labels)[members].astype(int)
    is_enough = len(labels) >= max(minimum, 1)
    if not is_enough and not (counted and len(labels)):
        return None
    num_classes = logits.shape[1]
    known = np.isfinite(logits).all(axis=1)
    of_known, own = logits[known & is_enough], labels[known & is_enough]
    log_p = of_known - np.logaddexp.reduce(of_known, axis=1, keepdims=True)
    place = np.clip(np.exp(log_p) * BINS, 0, BINS - 1).astype(int)
    histogram = np.zeros((num_classes, num_classes, BINS), np.int64)
    for k in range(num_classes):
        np.add.at(histogram, (k, own, place[:, k]), 1)
    loss = float(-log_p[np.arange(len(own)), own].sum())
    return {
        "number": np.bincount(labels, minlength=num_classes),
        "confusion": metrics.confusion(logits, labels, num_classes).astype(np.int64),
        "answered": len(labels) if is_enough else 0,
        "loss": loss if known.all() or not is_enough else float("nan"),
        "histogram": histogram,
    }


def added(parts: Sequence[dict | None]) -> dict | None:
    """The sums of what centres said of one subgroup; None where none did."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return {name: sum(part[name] for part in known) for name in known[0]}


def assessed(sums: dict, classes: Sequence[str]) -> metrics.Assessed:
    """How a model does, from sums: metrics by `metrics.names`, and `auroc_error`.

    Within a bin the order of probabilities is not known, and counts half. `auroc_error` is what the
    AUROC of those who answered may therefore be off by at most. Loss and AUROC are of centres with
    enough scans, all else is of every scan counted.

    Args:
        sums: From `added`.
        classes: [K] names.
    """
    number, confusion, histogram = sums["number"], sums["confusion"], sums["histogram"]
    each = [_area(histogram[k], k) for k in range(len(classes))]
    if len(classes) == 2:
        each = each[1:]
    area, error = (float(np.mean(column)) for column in zip(*each, strict=True))
    loss = sums["loss"] / sums["answered"] if sums["answered"] else float("nan")
    found = metrics.of_sums(confusion, loss, area, classes)
    found |= {"auroc_error": error}
    if confusion.sum() < number.sum():  # a scan without a diagnosis is neither right nor wrong
        found = dict.fromkeys(found, float("nan")) | {"n": int(number.sum())}
    return metrics.Assessed(found, confusion, number)


def _area(histogram, k) -> tuple[float, float]:
    """AUROC of one class against all others, and half the share of pairs within a bin."""
    positive = histogram[k]
    negative = histogram.sum(axis=0) - positive
    pairs = positive.sum() * negative.sum()
    if not pairs:
        return float("nan"), float("nan")
    below = np.cumsum(negative) - negative
    tied = float((positive * negative).sum()) / 2
    return (float((positive * below).sum()) + tied) / pairs, tied / pairs
