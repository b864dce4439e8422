"""Which held-out scans may be summed over: all of a centre, or a fold, and not too few.

`layout.batches` asks here for every sum. A `survey` is no sum: every held-out scan answers it.
"""

import numpy as np

from harmjax.federations import statistics


def answering(statistic: str, centre, fold=None, minimum: int = 5) -> np.ndarray:
    """Which held-out scans [M] bool answer: of centres with enough scans among those meant.

    Args:
        statistic: Name of a function of `harmjax/federations/statistics.py`.
        centre: [M] int, who holds each scan.
        fold: 0 or 1, that of the scans that are meant; all by default.
        minimum: Fewest of them at a centre; `statistics.EVERY_CENTRE` are answered by all.

    Raises:
        ValueError: Another subset is asked for: over all scans but one, sums would show that one.
    """
    if fold is not None and not (isinstance(fold, int) and fold in (0, 1)):
        raise ValueError(f"fold={fold!r} of held-out scans; known: 0, 1, or None for all of them")
    centre = np.asarray(centre)
    meant = np.ones(len(centre), bool) if fold is None else folds(centre) == fold
    if statistic in statistics.EVERY_CENTRE:
        return meant
    _, group = np.unique(centre, return_inverse=True)
    return meant & (np.bincount(group, weights=meant)[group] >= minimum)


def folds(centre) -> np.ndarray:
    """Which fold [M], 0 or 1, each held-out scan is in: every other one of its centre.

    Example:
        >>> folds([7, 3, 7, 7]).tolist()
        [0, 0, 1, 0]
    """
    return _place(centre) % 2


def _place(centre) -> np.ndarray:
    """[M] int32, how many scans of the same centre come before each."""
    centre = np.asarray(centre)
    order = np.argsort(centre, kind="stable")
    ordered = centre[order]
    place = np.empty(len(centre), np.int32)
    place[order] = np.arange(len(centre)) - np.searchsorted(ordered, ordered)
    return place
