"""Misdiagnosis, measured on the host: error rates, AUROC and loss, overall and by subgroup."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harmjax import types

BINARY = ("accuracy", "sensitivity", "specificity", "f1", "auroc", "fpr", "fnr", "loss")


def names(classes: Sequence[str]) -> tuple[str, ...]:
    """What `metrics` measures of these classes, in the order of tables.

    Example:
        >>> names(("HC", "MCI", "AD"))[4:]
        ('loss', 'sensitivity_HC', 'sensitivity_MCI', 'sensitivity_AD')
    """
    if len(classes) == 2:
        return "n", *BINARY
    each = (f"sensitivity_{name}" for name in classes)
    return "n", "accuracy", "balanced_accuracy", "auroc", "loss", *each


def metrics(logits, labels, classes: Sequence[str] = types.BINARY) -> dict[str, float]:
    """All metrics of one group, by `names`: fractions, except `n` (scans) and `loss` (nats).

    The class with the highest logit is the diagnosis. Of two classes the second is the disease.
    The AUROC of K classes is the mean over classes of one against all others by its probability.
    NaN where a class is missing; all but `n` where a logit is NaN: such a scan has no diagnosis,
    right or wrong.

    Args:
        logits: [M, K] float.
        labels: [M] int.
        classes: [K] names.

    Example:
        >>> found = metrics([[0, 2.0], [0, -1.0], [0, 1.0], [0, -3.0]], [1, 1, 0, 0])
        >>> found["sensitivity"], found["specificity"], found["auroc"]
        (0.5, 0.5, 0.75)
    """
    num_classes = len(classes)
    logits = np.asarray(logits, float).reshape(-1, num_classes)
    labels = np.asarray(labels).astype(int)
    if np.isnan(logits).any():
        return {name: float("nan") for name in names(classes)} | {"n": len(labels)}
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    loss = -log_p[np.arange(len(labels)), labels]
    if num_classes == 2:
        area = auroc(logits[:, 1] - logits[:, 0], labels == 1)
    else:
        area = float(np.mean([auroc(log_p[:, k], labels == k) for k in range(num_classes)]))
    counts = confusion(logits, labels, num_classes)
    return of_sums(counts, float(loss.mean()) if len(loss) else float("nan"), area, classes)


def confusion(logits, labels, num_classes: int) -> np.ndarray:
    """How often [K, K] a scan of the class of each row was taken for that of each column.

    Args:
        logits: [M, K] float; a scan with a NaN among them has no diagnosis and counts nowhere.
        labels: [M] int.
        num_classes: K.

    Example:
        >>> confusion([[0, 2.0], [0, -1.0], [np.nan, 0]], [1, 1, 0], 2).tolist()
        [[0, 0], [1, 1]]
    """
    logits = np.asarray(logits, float).reshape(-1, num_classes)
    known = ~np.isnan(logits).any(axis=1)
    found = np.zeros((num_classes, num_classes), int)
    np.add.at(found, (np.asarray(labels)[known], logits[known].argmax(axis=1)), 1)
    return found


class Assessed(NamedTuple):
    """How a model does on some scans."""

    measured: dict[str, float]  # by `names`
    confusion: np.ndarray  # [K, K] int, see `confusion`
    number: np.ndarray  # [K] int, scans of each class, those without a diagnosis included


def by_group(logits, labels, groups, classes: Sequence[str]) -> dict[str, Assessed]:
    """How a model does on every subgroup, by its name.

    Args:
        logits: [M, K] float.
        labels: [M] int.
        groups: Pairs of name and members [M] bool, see `groups`.
        classes: [K] names.
    """
    labels = np.asarray(labels)

    def assessed(logits, labels):
        return Assessed(
            metrics(logits, labels, classes),
            confusion(logits, labels, len(classes)),
            np.bincount(labels, minlength=len(classes)),
        )

    return {name: assessed(logits[who], labels[who]) for name, who in groups}


def of_sums(confusion, loss: float, area: float, classes: Sequence[str]) -> dict[str, float]:
    """The same from what centres add up.

    Args:
        confusion: [K, K] int, rows are the true classes.
        loss: Mean, nats.
        area: AUROC.
        classes: [K] names.
    """
    confusion = np.asarray(confusion)
    number, right = int(confusion.sum()), confusion.diagonal()
    found = {"n": number, "accuracy": _ratio(right.sum(), number), "auroc": area, "loss": loss}
    if len(classes) > 2:
        each = [_ratio(r, n) for r, n in zip(right, confusion.sum(axis=1), strict=True)]
        found |= {"balanced_accuracy": float(np.mean(each))}
        found |= {f"sensitivity_{name}": share for name, share in zip(classes, each, strict=True)}
    else:
        (tn, fp), (fn, tp) = confusion.tolist()
        found |= {
            "sensitivity": _ratio(tp, tp + fn),
            "specificity": _ratio(tn, tn + fp),
            "f1": _ratio(2 * tp, 2 * tp + fp + fn),
            "fpr": _ratio(fp, fp + tn),
            "fnr": _ratio(fn, fn + tp),
        }
    return {name: found[name] for name in names(classes)}


def auroc(scores, labels) -> float:
    """Area under the ROC curve: how often a positive outranks a negative, ties counting half.

    Args:
        scores: [M] float, higher means more likely positive.
        labels: [M] bool or 0/1.

    Returns:
        Fraction, NaN if a class is missing.

    Example:
        >>> auroc([0.1, 0.4, 0.4, 0.8], [0, 1, 0, 1])
        0.875
    """
    labels = np.asarray(labels).astype(bool)
    _, inverse, size = np.unique(np.asarray(scores, float), return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[inverse]
    positives = int(labels.sum())
    negatives = len(labels) - positives
    above = float(rank[labels].sum()) - positives * (positives + 1) / 2
    return _ratio(above, positives * negatives)


def average_precision(scores, labels) -> float:
    """Mean precision at the rank of every positive; equal scores are one step.

    Args:
        scores: [M] float, higher means more likely positive.
        labels: [M] bool or 0/1.

    Example:
        >>> average_precision([0.9, 0.8, 0.7], [1, 0, 1])
        0.8333333333333333
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels).astype(bool)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    last = np.append(np.diff(scores[order]) != 0, True)
    precision = hits[last] / (np.flatnonzero(last) + 1)
    gained = np.diff(hits[last], prepend=0)
    return _ratio(float((precision * gained).sum()), int(labels.sum()))


def precision_at(scores, labels, recalls) -> np.ndarray:
    """The highest precision [R] of any threshold that finds at least these shares of the positives.

    Args:
        scores: [M] float, higher means more likely positive.
        labels: [M] bool or 0/1, at least one of them positive.
        recalls: [R] fractions in (0, 1].

    Example:
        >>> precision_at([0.9, 0.8, 0.7], [1, 0, 1], [0.5, 1.0]).round(2).tolist()
        [1.0, 0.67]
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels).astype(bool)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(labels[order])[last]
    best = np.maximum.accumulate((hits / (last + 1))[::-1])[::-1]
    needed = np.asarray(recalls, float) * labels.sum()
    return best[np.searchsorted(hits, needed - 1e-9)]


def groups(sex: Sequence[str], age: Sequence[float]) -> Iterator[tuple[str, np.ndarray]]:
    """Pairs of a subgroup's name and its members [M] bool: `all`, by sex, by age around 60."""
    sexes, years = np.asarray(sex), np.asarray(age, float)
    yield "all", np.ones(len(sexes), bool)
    for value in sorted(set(sexes.tolist()) - {""}):
        yield f"sex={value}", sexes == value
    if np.isfinite(years).any():
        yield "age<60", years < 60
        yield "age>=60", years >= 60


def _ratio(part, whole) -> float:
    return float(part / whole) if whole else float("nan")
