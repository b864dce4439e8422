"""Misdiagnosis, measured on the host: error rates, AUROC and loss, overall and by subgroup."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Metrics(NamedTuple):
    """Fractions except `n` (scans) and `loss` (nats); NaN where a class is missing.

    All but `n` are NaN where a logit is: such a scan has no diagnosis, right or wrong.
    """

    n: int
    accuracy: float
    sensitivity: float
    specificity: float
    f1: float
    auroc: float
    fpr: float
    fnr: float
    loss: float


def metrics(logits, labels) -> Metrics:
    """All metrics of one group at threshold 0.5.

    Args:
        logits: [M] float.
        labels: [M] 0 or 1.

    Example:
        >>> found = metrics([2.0, -1.0, 1.0, -3.0], [1, 1, 0, 0])
        >>> found.sensitivity, found.specificity, found.auroc
        (0.5, 0.5, 0.75)
    """
    logits, labels = np.asarray(logits, float), np.asarray(labels).astype(bool)
    if np.isnan(logits).any():
        return Metrics(len(labels), *[float("nan")] * (len(Metrics._fields) - 1))
    positive = logits > 0
    tp, fp = int((positive & labels).sum()), int((positive & ~labels).sum())
    fn, tn = int((~positive & labels).sum()), int((~positive & ~labels).sum())
    loss = np.logaddexp(0, np.where(labels, -logits, logits))
    return Metrics(
        n=len(labels),
        accuracy=_ratio(tp + tn, len(labels)),
        sensitivity=_ratio(tp, tp + fn),
        specificity=_ratio(tn, tn + fp),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        auroc=auroc(logits, labels),
        fpr=_ratio(fp, fp + tn),
        fnr=_ratio(fn, fn + tp),
        loss=float(loss.mean()) if len(loss) else float("nan"),
    )


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
    sex, age = np.asarray(sex), np.asarray(age, float)
    yield "all", np.ones(len(sex), bool)
    for value in sorted(set(sex.tolist()) - {""}):
        yield f"sex={value}", sex == value
    if np.isfinite(age).any():
        yield "age<60", age < 60
        yield "age>=60", age >= 60


def _ratio(part, whole) -> float:
    return float(part / whole) if whole else float("nan")
