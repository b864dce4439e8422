"""How held-out scans lie in batches: by centre, so that no network changes a sum."""

import numpy as np

from harmjax.federations import statistics


def folds(centre) -> np.ndarray:
    """Which fold [M], 0 or 1, each held-out scan is in: every other one of its centre.

    Example:
        >>> folds([7, 3, 7, 7]).tolist()
        [0, 0, 1, 0]
    """
    return _place(centre) % 2


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


def batches(statistic: str, centre, fold=None, *, minimum: int, chunk: int, width: int):
    """Ids [P, W] of the scans that answer, in batches, and of whom each batch is, [P].

    Sums of whole numbers depend on no order: their scans are packed, as if of one centre.

    Args:
        statistic: As in `answering`.
        centre: [M] int.
        fold: As in `answering`.
        minimum: As in `answering`.
        chunk: Scans of a batch where they are packed, at most.
        width: Scans of a batch where each centre has its own, see `by_centre`.
    """
    answer = answering(statistic, centre, fold, minimum)
    if statistic not in statistics.WHOLE_NUMBERS:
        return by_centre(centre, answer, width)
    rows = packed(np.flatnonzero(answer), max(min(chunk, len(centre)), 1), len(centre))
    return rows, np.zeros(len(rows), int)


def width(centre, most: int) -> int:
    """Scans of one batch: of 1, 2, 4, ... and `most` what pads the centres' scans least.

    A batch counts as one scan more, for what it costs beside its scans.

    Example:
        >>> width([0] * 40 + [1] * 3, 64), width([0] * 4 + [1] * 3, 64)
        (8, 4)
    """
    size = np.bincount(np.asarray(centre))
    known = sorted({min(2**i, most) for i in range(int(most).bit_length() + 1)})

    def cost(width):
        return int((-(-size // width)).sum()) * (width + 1)

    return min(known, key=cost)


def packed(ids, width: int, padding: int) -> np.ndarray:
    """Ids [P, W] of scans in rows of `width`, the last one padded; one empty row of no scans."""
    size = max(1, -(-len(ids) // width)) * width
    return np.append(ids, np.full(size - len(ids), padding)).astype(np.int32).reshape(-1, width)


def by_centre(centre, chosen, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids [P, W] of the chosen scans, those of one centre in rows of their own, and its index [P].

    Centres come in the order of their index. Empty slots hold M; if no scan is chosen there is one
    empty row.

    Args:
        centre: [M] int.
        chosen: [M] bool.
        width: W.
    """
    centre = np.asarray(centre)
    rows, owner = [], []
    for own in np.unique(centre[chosen]):
        some = packed(np.flatnonzero(chosen & (centre == own)), width, len(centre))
        rows.append(some)
        owner += [own] * len(some)
    if not rows:
        return np.full((1, width), len(centre), np.int32), np.zeros(1, int)
    return np.concatenate(rows), np.array(owner)


def _place(centre) -> np.ndarray:
    """[M] int32, how many scans of the same centre come before each."""
    centre = np.asarray(centre)
    order = np.argsort(centre, kind="stable")
    ordered = centre[order]
    place = np.empty(len(centre), np.int32)
    place[order] = np.arange(len(centre)) - np.searchsorted(ordered, ordered)
    return place
