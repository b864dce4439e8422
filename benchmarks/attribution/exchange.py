"""The files between the benchmark and a library: one .npz of data in, one .npz of scores out.

Needs NumPy alone, since every library imports it in its own environment.
"""

import pathlib
import sys
import time
import warnings

import numpy as np

COSTS = ("seconds", "forward", "gradient", "jvp")  # passes in samples


def score_all(methods, *, passes=None, blind=()):
    """Scores every cell of the folder argv[1] into argv[2]; methods that are there already stay.

    Args:
        methods: Name -> function of a cell (a dict of arrays: x, y, vx, vy, centre, seed) that
            returns suspicion [N], higher where a sample looks harmful. A method that fails is left
            out, and said so on stderr.
        passes: Name -> function of a cell that returns passes in samples by COSTS, where a method
            counts in them.
        blind: Methods that never look at the verification samples. They are asked once for the
            cells that differ in these alone.
    """
    cells, out = map(pathlib.Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(cells.glob("*.npz"), key=_seed_first):
        found = _load(out / path.name)
        if methods.keys() <= found.keys():
            continue
        with np.load(path) as file:
            cell = dict(file)
        twin = _load(out / path.name.replace("_noisy_", "_clean_"))
        found |= {name: a for name, a in twin.items() if name.split(":")[0] in blind}
        for name in [name for name in methods if name not in found]:
            found |= _scored(name, methods[name], cell, path.stem)
            for cost, number in passes[name](cell).items() if passes else ():
                found[f"{name}:{cost}"] = number
        save(out / path.name, found)


def _seed_first(path):
    cell, seed = path.stem.rsplit("_", 1)
    return int(seed), cell


def _scored(name, method, cell, place):
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score = np.asarray(method(cell), np.float64).reshape(-1)
    except Exception as error:
        print(f"{place}: {name}: {error!r}", file=sys.stderr)
        return {}
    return {name: score, f"{name}:seconds": time.perf_counter() - began}


def _load(path):
    if not path.exists():
        return {}
    with np.load(path) as file:
        return dict(file)


def scores(path) -> dict:
    """Method -> (suspicion [N], cost -> number) of one cell."""
    arrays = _load(path)
    return {
        name: (score, {c: float(arrays[f"{name}:{c}"]) for c in COSTS if f"{name}:{c}" in arrays})
        for name, score in arrays.items()
        if ":" not in name
    }


def save(path, arrays):
    """Writes an .npz whole or not at all."""
    part = pathlib.Path(path).with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)
