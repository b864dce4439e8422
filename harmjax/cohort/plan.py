"""Who is in the cohort: centres, their sizes, and one row per scan."""

import csv
import zlib
from typing import NamedTuple

import numpy as np

from harmjax import shipped

SPLITS = ("train", "verification", "test")
CLASSES = {
    1: ("control", "patient"),
    2: ("control", "nigrostriatal", "hippocampal"),  # by the structures that a disease changes
}
COLUMNS = ("centre", "train_hc", "train_pd", "test_hc", "test_pd")


class Centre(NamedTuple):
    """Scans a centre holds, controls first, patients second."""

    name: str
    train: tuple[int, int]
    test: tuple[int, int]


class Row(NamedTuple):
    """One scan of one person; `place` tells it apart from every other of any cohort."""

    subject: str
    centre: str
    split: str
    label: int  # 0 = control, d = the d-th disease
    sex: str  # F or M
    age: float  # years, one decimal
    place: tuple[int, int, int, int]  # centre hash, split, label, count


def centres(which="83", *, seed=0):
    """Returns the `Centre`s of a cohort, a list.

    Args:
        which: '83', the table of the published 83-centre cohort; a smaller number, that many
            centres chosen to represent it; or the path of a CSV with the columns centre, train_hc,
            train_pd, test_hc, test_pd, or `package:NAME` for one that is shipped.
        seed: An int, of the choice.

    Raises:
        ValueError: For a number out of range, a missing file or column, a count that is no whole
            number, or a centre named twice.

    Example:
        >>> table = centres("83")
        >>> len(table), sum(sum(centre.train) for centre in table)
        (83, 1410)
    """
    which = str(which)
    if not which.lstrip("+-").isdigit():
        path = shipped.path(which)
        if not path.is_file():
            raise ValueError(
                f"centres={which!r}: no such file; give a number of centres from 2 to 83 or the "
                f"path of a CSV with the columns {', '.join(COLUMNS)}"
            )
        return _read(path)
    table = _read(shipped.FILES / "centre_sizes_83.csv")
    if not 2 <= int(which) <= len(table):
        raise ValueError(f"centres={which}: the table has {len(table)}, choose from 2 to that many")
    return table if int(which) == len(table) else represent(table, int(which), seed)


def represent(table, count, seed):
    """Returns `count` centres of `table`, large to tiny, as mixed and as single-class as the table.

    One centre is drawn from each of `count` equal runs of the table sorted by size. Of 500 such
    draws the one closest to the table in the share of patients in train and test scans, of
    controls-only and patients-only centres, and in scans per centre is taken.
    """
    table = sorted(table, key=lambda centre: -sum(centre.train))
    rng = np.random.default_rng(seed)
    runs = np.array_split(np.arange(len(table)), count)
    target = _character(table)
    best = min(
        ([int(rng.choice(run)) for run in runs] for _ in range(500)),
        key=lambda draw: float(np.abs(_character([table[i] for i in draw]) - target).sum()),
    )
    return [table[i] for i in best]


def rows(centres, *, seed=0, min_verification=0, min_test=0, age_gap=0.0, diseases=1):
    """Returns one `Row` per scan, in the order of centres, then split, then class.

    Verification scans are as many as test scans, at the same centres, but other people. Ages are
    of a typical Parkinson's cohort, alike in all classes unless `age_gap` says otherwise;
    62 % of patients and 50 % of controls are men.

    Args:
        centres: List of `Centre`.
        seed: An int; rows of the same seed agree between cohorts that share a centre.
        min_verification: Fewest verification scans per class over all centres; more than the table
            gives are drawn at the centres that train on that class, in proportion.
        min_test: The same for test scans.
        age_gap: Years by which patients are older.
        diseases: 1, or 2, to which the patients of every centre are dealt evenly; an odd one has
            either, by the name of its centre.

    Raises:
        ValueError: Another number of diseases, or a least number of scans that nobody can hold.

    Example:
        >>> [row.split for row in rows([Centre("A", (2, 1), (1, 0))])]
        ['train', 'train', 'train', 'verification', 'test']
    """
    if diseases not in CLASSES:
        raise ValueError(f"diseases={diseases}: 1 or 2 can be simulated")
    train, test = (
        np.asarray([_dealt(centre, part, diseases) for centre in centres])
        for part in ("train", "test")
    )
    classes = CLASSES[diseases]
    counts = {
        "train": train,
        "verification": _at_least(train, test, min_verification, "min_verification", classes),
        "test": _at_least(train, test, min_test, "min_test", classes),
    }
    places = [
        (centre.name, split, label, count)
        for number, centre in enumerate(centres)
        for split in SPLITS
        for label in range(len(classes))
        for count in range(counts[split][number, label])
    ]
    digits = max(4, len(str(len(places))))
    return [
        _row(f"sub-{number:0{digits}}", place, seed, age_gap)
        for number, place in enumerate(places, start=1)
    ]


def _row(subject, place, seed, age_gap):
    centre, split, label, count = place
    where = (zlib.crc32(centre.encode()), SPLITS.index(split), label, count)
    site = np.random.default_rng((seed, where[0]))
    person = np.random.default_rng((seed, *where))
    centre_age = 61.0 + 3.0 * site.standard_normal()
    age = np.clip(centre_age + 9.0 * person.standard_normal() + age_gap * min(label, 1), 35.0, 90.0)
    sex = "M" if person.random() < (0.62 if label else 0.50) else "F"
    return Row(subject, centre, split, label, sex, round(float(age), 1), where)


def _dealt(centre, part, diseases):
    """Returns a centre's scans of every class in 'train' or 'test'."""
    controls, patients = getattr(centre, part)
    if diseases == 1:
        return controls, patients
    odd = zlib.crc32(f"{centre.name} {part}".encode()) % 2
    first = (patients + odd) // 2
    return controls, first, patients - first


def _at_least(train, test, least, name, classes):
    """Returns test counts [C, K], raised to `least` per class by largest remainders."""
    counts = test.copy()
    called = ("controls", "patients") if len(classes) == 2 else classes
    for label, what in enumerate(called):
        extra = int(least) - counts[:, label].sum()
        if extra <= 0:
            continue
        if not train[:, label].any():
            raise ValueError(f"{name}={least}: no centre trains on {what}, so none can hold more")
        share = extra * train[:, label] / train[:, label].sum()
        counts[:, label] += np.floor(share).astype(int)
        left = int(least) - counts[:, label].sum()
        counts[np.argsort(-(share % 1), kind="stable")[:left], label] += 1
    return counts


def _character(table):
    train = np.asarray([centre.train for centre in table])
    test = np.asarray([centre.test for centre in table])
    return np.asarray([
        train[:, 1].sum() / train.sum(),
        test[:, 1].sum() / max(test.sum(), 1),
        (train[:, 1] == 0).mean(),
        (train[:, 0] == 0).mean(),
        np.log(train.sum() / len(table)) / 2,
    ])  # fmt: skip


def _read(path):
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}: no column {', '.join(missing)}; needed: {', '.join(COLUMNS)}"
            )
        table = [_centre(line, f"{path}: row {number}") for number, line in enumerate(reader, 2)]
    names = [centre.name for centre in table]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not table:
        raise ValueError(f"{path}: {'centre named twice: ' + twice[0] if twice else 'no centres'}")
    return table


def _centre(line, where):
    numbers = []
    for column in COLUMNS[1:]:
        text = (line[column] or "").strip()
        if not text.isdigit():
            raise ValueError(f"{where}: {column}={text!r}, expected a whole number of scans")
        numbers.append(int(text))
    return Centre(line["centre"].strip(), (numbers[0], numbers[1]), (numbers[2], numbers[3]))
