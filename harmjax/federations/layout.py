"""How held-out scans lie in batches: by centre, so that no network changes a sum."""

import numpy as np

from harmjax.federations import permitted, statistics


def batches(statistic: str, centre, fold=None, *, minimum: int, chunk: int, width: int):
    """Ids [P, W] of the scans that answer, in batches, and of whom each batch is, [P].

    Sums of whole numbers depend on no order: their scans are packed, as if of one centre.

    Args:
        statistic: As in `permitted.answering`.
        centre: [M] int.
        fold: As in `permitted.answering`.
        minimum: As in `permitted.answering`.
        chunk: Scans of a batch where they are packed, at most.
        width: Scans of a batch where each centre has its own, see `by_centre`.
    """
    answer = permitted.answering(statistic, centre, fold, minimum)
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
