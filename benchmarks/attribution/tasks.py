"""Real data with planted harm: what every library gets, and the truth it does not get."""

from typing import NamedTuple

import numpy as np
from sklearn import datasets

from harmjax.data import ingest, splits, tabular

SITES = 10
SEEN = ("x", "y", "vx", "vy", "centre", "seed")  # by the libraries


class Cell(NamedTuple):
    """One task under one corruption: N training, M verification and L test samples."""

    x: np.ndarray  # [N, F] float32
    y: np.ndarray  # [N] 0 or 1
    vx: np.ndarray  # [M, F] verification
    vy: np.ndarray  # [M]
    tx: np.ndarray  # [L, F] test, untouched
    ty: np.ndarray  # [L]
    centre: np.ndarray  # [N] int
    held_centre: np.ndarray  # [M] int
    corrupted: np.ndarray  # [N] bool
    seed: np.ndarray  # []


def digits(seed):
    """Odd against even handwritten digits, 8x8 pixels from 0 to 1, dealt to ten sites."""
    bunch = datasets.load_digits()
    return _dealt(np.float32(bunch.data / 16), bunch.target % 2, (600, 300, 400), seed)


def cancer(seed):
    """Malignant against benign, 30 features of cell nuclei, dealt to ten sites."""
    bunch = datasets.load_breast_cancer()
    cell = _dealt(np.float32(bunch.data), 1 - bunch.target, (300, 100, 169), seed)
    return _standardised(cell, cell.x.std(axis=0))


def heart(seed):
    """Heart disease at four hospitals, each of which is a centre."""
    scans = splits.assign(tabular.heart().records, (0.6, 0.2, 0.2), seed=seed)
    cohort, _ = tabular.load(scans, names=tabular.HEART_FEATURES, missing=tabular.HEART_MISSING)
    cohort, _ = tabular.prepare(
        cohort, names=tabular.HEART_FEATURES, categorical=tabular.HEART_CATEGORICAL
    )
    a, b, c = (ingest.samples(cohort, split) for split in ("train", "verification", "test"))
    clean = np.zeros(len(a.label), bool)
    arrays = (a.image, a.label, b.image, b.label, c.image, c.label, a.centre, b.centre)
    return Cell(*map(np.asarray, arrays), clean, np.array(seed))


TASKS = {"digits": digits, "cancer": cancer, "heart": heart}
CORRUPTIONS = {
    "digits": ("flips 20%", "flips 10%", "inverted 10%", "noise 10%", "bad site", "one bad sample"),
    "cancer": ("flips 20%", "flips 10%", "bad site", "one bad sample"),
    "heart": ("flips 20%", "flips 10%", "bad site", "one bad sample"),
}
VERIFICATION = {"clean": 0.0, "noisy": 0.2}  # share of verification labels that are flipped


def planted(task: str, corruption: str, verification: str, seed: int) -> Cell:
    """The task with its harm; a bad site or sample is inverted (digits) or mislabelled.

    Everyone gets the features less their training means, over one standard deviation of all.

    Args:
        task: Of TASKS.
        corruption: Of CORRUPTIONS[task].
        verification: Of VERIFICATION.
        seed: Decides about the split, the harm and every library's randomness.
    """
    cell = TASKS[task](seed)
    rng = np.random.default_rng([seed, 1])
    number = len(cell.y)
    corrupted = np.zeros(number, bool)
    if corruption == "bad site":
        sizes = np.bincount(cell.centre)
        fit = np.flatnonzero(sizes <= 0.2 * number)  # a bad majority would define what is good
        corrupted = cell.centre == rng.choice(fit)
    elif corruption == "one bad sample":
        corrupted[rng.integers(number)] = True
    else:
        share = float(corruption.split()[1].rstrip("%")) / 100
        corrupted[rng.permutation(number)[: round(share * number)]] = True
    x, y = cell.x.copy(), cell.y.copy()
    if corruption.startswith("noise"):
        x[corrupted] = rng.uniform(size=x[corrupted].shape)
    elif corruption.startswith("flips") or task != "digits":
        y[corrupted] = 1 - y[corrupted]
    else:
        x[corrupted] = 1 - x[corrupted]
    wrong = np.zeros(len(cell.vy), bool)
    wrong[rng.permutation(len(wrong))[: round(VERIFICATION[verification] * len(wrong))]] = True
    cell = cell._replace(x=x, y=y, vy=np.where(wrong, 1 - cell.vy, cell.vy), corrupted=corrupted)
    return _standardised(cell, x.std())


def _dealt(x, y, sizes, seed) -> Cell:
    rng = np.random.default_rng(seed)
    parts = np.split(rng.permutation(len(x)), np.cumsum(sizes))[:3]
    pairs = [array for part in parts for array in (x[part], y[part].astype(np.int32))]
    centre = rng.permutation(np.arange(sizes[0]) % SITES)
    held_centre = rng.permutation(np.arange(sizes[1]) % SITES)
    return Cell(*pairs, centre, held_centre, np.zeros(sizes[0], bool), np.array(seed))


def _standardised(cell: Cell, sd) -> Cell:
    mean = cell.x.mean(axis=0)
    return cell._replace(**{name: (getattr(cell, name) - mean) / sd for name in ("x", "vx", "tx")})
