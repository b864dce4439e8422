"""Results of a long job in a folder, part by part: what a kill leaves is found again.

A part is an npz file with row numbers and the leaves of a pytree; it appears only when complete.
"""

import os
import pathlib

import jax
import numpy as np


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
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, question=question, rows=rows, **leaves)
    os.replace(part, path)


def load(folder, question: str, results) -> np.ndarray:
    """Fills `results` in place with the parts of a folder; returns which rows are there.

    Args:
        folder: See `save`; may be missing.
        question: As it was saved.
        results: Pytree of NumPy arrays [R, ...].

    Returns:
        [R] bool.

    Raises:
        ValueError: A part belongs to another question; names the file.
    """
    leaves = jax.tree.leaves(results)
    done = np.zeros(len(leaves[0]), bool)
    for path in sorted(pathlib.Path(folder).glob("rows_*.npz")):
        with np.load(path) as part:
            if str(part["question"]) != question:
                raise ValueError(
                    f"{path} answers another question (data, model, masks or settings differ): "
                    "name another folder, or delete this one"
                )
            for i, leaf in enumerate(leaves):
                leaf[part["rows"]] = part[f"leaf_{i}"]
            done[part["rows"]] = True
    return done
