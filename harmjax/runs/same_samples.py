"""Whose samples the checkpoints of a workdir are about: masks and states are held by position.

`manifest.csv` says what was read; this says what was trained on, whoever prepared it, and still
does when the manifest was lost or samples were given as arrays.
"""

import hashlib
import pathlib

import jax
import numpy as np

from harmjax import tables

NAME = "samples.csv"
HEADER = ("split", "name", "centre", "label", "digest")
SPLITS = ("train", "verification")


def check(workdir, study) -> None:
    """Writes samples.csv into a new workdir; where there is one, the samples must be those in it.

    The content of images that are mapped from disk is left to the manifest, and so is that of
    samples that a person has dropped, which may be gone. Planted harm may differ in its last bits
    between devices: there only name, centre and label count.

    Args:
        workdir: Of a run.
        study: A `preparation.Study`.

    Raises:
        ValueError: The workdir is of a run on other samples, or has checkpoints and no record of
            whose.
    """
    folder, rows = pathlib.Path(workdir), _rows(study)
    path = folder / NAME
    anew = "put back what it was, or train anew in another workdir"
    if not path.exists():
        if any((folder / "checkpoints").glob("*")):
            raise ValueError(f"{folder} has checkpoints and no {NAME} to say of whom: {anew}")
        tables.write(path, HEADER, rows)
        return
    other = _differences(tables.read(path), rows)
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise ValueError(
            f"{folder} is of a run on other samples: {'; '.join(other[:3])}{more}; {anew}"
        )


def same(workdir, other) -> bool:
    """Whether two workdirs are of runs on the same samples, as far as both say."""
    one, two = (tables.read(pathlib.Path(folder) / NAME) for folder in (workdir, other))
    rows = [[row[name] for name in HEADER] for row in two]
    return not (one and two) or not _differences(one, rows)


def _rows(study) -> list[list[str]]:
    rows = []
    for split in SPLITS:
        samples = getattr(study, split)
        trained = split == "train"
        names = study.names if trained else map(str, samples.identity)
        hidden = study.corrupted | study.drop if trained else np.zeros(len(samples.label), bool)
        hidden = hidden | isinstance(samples.image, (np.memmap, jax.ShapeDtypeStruct))
        for i, name in enumerate(names):
            centre = study.centres[int(samples.centre[i])]
            digest = "" if hidden[i] else _digest(samples.image[i])
            rows.append([split, name, centre, str(int(samples.label[i])), digest])
    return rows


def _digest(image) -> str:
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=8).hexdigest()


def _differences(before, rows) -> list[str]:
    """What differs, in words; a digest counts where both have one."""
    if len(before) != len(rows):
        return [f"{len(before)} were there and {len(rows)} are"]
    found = []
    for old, row in zip(before, rows, strict=True):
        new = dict(zip(HEADER, row, strict=True))
        for name in HEADER[1:]:
            hidden = name == "digest" and not (old[name] and new[name])
            if old.get(name) != new[name] and not hidden:
                said = (
                    "its content changed"
                    if name == "digest"
                    else (f"{name} was {old.get(name)!r} and is now {new[name]!r}")
                )
                found.append(f"{new['split']} sample {new['name']}: {said}")
                break
    return found
