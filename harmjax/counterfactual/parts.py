"""Results of a long job in a folder, part by part: what a kill leaves is found again.

A part is an npz file with row numbers and the leaves of a pytree; it appears only when complete.
"""

import pathlib
import zipfile

import jax
import numpy as np

from harmjax import workdirs


def save(folder, question: str, rows, kept) -> None:
    """Writes one part.

    Args:
        folder: Made if it is not there.
        question: What the results answer; parts of another question are refused by `load`.
        rows: [K] int, which rows of all results these are.
        kept: Pytree of arrays [K, ...].
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = {f"leaf_{i}": leaf for i, leaf in enumerate(jax.tree.leaves(kept))}
    path = folder / f"rows_{int(rows[0]):07d}.npz"
    with workdirs.replacing(path) as file:
        np.savez(file, question=question, rows=rows, **leaves)


def load(folder, question: str, results) -> np.ndarray:
    """Fills `results` in place with the parts of a folder; returns which rows are there.

    Args:
        folder: See `save`; may be missing.
        question: As it was saved.
        results: Pytree of NumPy arrays [R, ...].

    Returns:
        [R] bool.

    Raises:
        ValueError: A part belongs to another question, or is damaged; names the file.
    """
    leaves = jax.tree.leaves(results)
    done = np.zeros(len(leaves[0]), bool)
    for path in sorted(pathlib.Path(folder).glob("rows_*.npz")):
        part = _read(path)
        if str(part["question"]) != question:
            raise ValueError(
                f"{path} answers another question (data, model, masks or settings differ): "
                "name another folder, or delete this one"
            )
        for i, leaf in enumerate(leaves):
            leaf[part["rows"]] = part[f"leaf_{i}"]
        done[part["rows"]] = True
    return done


def _read(path) -> dict:
    try:
        with path.open("rb") as file, np.load(file) as part:
            return dict(part)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and it is made again") from error
