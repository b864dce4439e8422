"""The files between the benchmark and a library: one .npz of data in, one .npz of scores out.

Needs NumPy alone, since every library imports it in its own environment.
"""

import pathlib
import sys
import time
import warnings

import numpy as np


def score_all(methods):
    """Scores every cell of the folder argv[1] into argv[2]; what is there already stays.

    Args:
        methods: name -> function of a cell (a dict of arrays: x, y, vx, vy, centre, seed) that
            returns suspicion [N], higher where a sample looks harmful. A method that fails is left
            out, and said so on stderr.
    """
    cells, out = map(pathlib.Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(cells.glob("*.npz")):
        if (out / path.name).exists():
            continue
        with np.load(path) as file:
            cell = dict(file)
        found = {}
        for name, method in methods.items():
            began = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    score = np.asarray(method(cell), np.float64).reshape(-1)
            except Exception as error:
                print(f"{path.stem}: {name}: {error!r}", file=sys.stderr)
                continue
            found[name] = score
            found[f"{name}:seconds"] = time.perf_counter() - began
        save(out / path.name, found)


def save(path, arrays):
    """Writes an .npz whole or not at all."""
    part = pathlib.Path(path).with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)
