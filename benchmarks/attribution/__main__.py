"""Runs the benchmark; see the package's docstring."""

import argparse
import os
import pathlib
import platform
import subprocess
import sys
from importlib import metadata

import jax
import numpy as np
import tqdm

from benchmarks.attribution import exchange, ours, report, tasks
from harmjax import metrics, tables

HERE = pathlib.Path(__file__).parent
PEERS = ("cleanlab", "pydvl", "dattri", "opendataval")
COLUMNS = (
    *("library", "method", "task", "corruption", "verification", "seed"),
    *("auroc", "average_precision", "recall", "accuracy_after", "seconds"),
)


def main():
    arguments = parsed()
    cells, scores = arguments.workdir / "cells", arguments.workdir / "scores"
    chosen = write_cells(arguments, cells)
    score_ours(chosen, scores / "harmjax", arguments.progress)
    for peer in PEERS:
        run_peer(peer, cells, scores / peer)
    rows = evaluate(chosen, scores, arguments.workdir / "rows", arguments.progress)
    arguments.results.mkdir(parents=True, exist_ok=True)
    tables.write(arguments.results / "attribution.csv", COLUMNS, rows)
    report.plot(rows, arguments.results / "attribution.png")
    text = report.text(rows, missing=[p for p in PEERS if not interpreter(p)], machine=machine())
    (arguments.results / "attribution.txt").write_text(text + "\n")
    print(text)


def parsed():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution")
    parser.add_argument("--tasks", nargs="+", default=list(tasks.TASKS), choices=tasks.TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/attribution"))
    parser.add_argument("--results", type=pathlib.Path, default=HERE.parent / "results")
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def write_cells(arguments, folder) -> dict:
    """All cells by name; what the libraries may see of each goes into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {}
    for task in arguments.tasks:
        for corruption in tasks.CORRUPTIONS[task]:
            for verification in tasks.VERIFICATION:
                for seed in arguments.seeds:
                    key = (task, corruption, verification, seed)
                    name = "_".join(map(str, key)).replace(" ", "-").replace("%", "")
                    cell = tasks.planted(*key)
                    seen = {field: getattr(cell, field) for field in tasks.SEEN}
                    exchange.save(folder / f"{name}.npz", seen)
                    chosen[name] = (key, cell)
    return chosen


def score_ours(chosen, folder, progress):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, cell) in tqdm.tqdm(chosen.items(), desc="harmjax", disable=not progress):
        path = folder / f"{name}.npz"
        if not path.exists():
            exchange.save(path, ours.score(cell))


def interpreter(peer) -> str:
    return os.environ.get(f"HARMJAX_PEER_{peer.upper()}", "")


def run_peer(peer, cells, folder):
    """Lets a library score the cells in its own environment."""
    if not interpreter(peer):
        return
    print(f"{peer}: scoring into {folder}", file=sys.stderr)
    command = [interpreter(peer), str(HERE / f"peer_{peer}.py"), str(cells), str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "a") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.exit(f"{peer} failed with exit code {done.returncode}; see {folder / 'log.txt'}")


def evaluate(chosen, scores, folder, progress) -> list[list]:
    """One row per library, method and cell, and two per cell for removing nothing and the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (key, cell) in tqdm.tqdm(chosen.items(), desc="retraining", disable=not progress):
        found, seconds = {}, {}
        for path in sorted(scores.glob(f"*/{name}.npz")):
            with np.load(path) as file:
                for method in file.files:
                    if not method.endswith(":seconds"):
                        found[path.parent.name, method] = file[method]
                        seconds[path.parent.name, method] = float(file[f"{method}:seconds"])
        accuracy = accuracies(cell, found, folder / f"{name}.npz")
        bad = cell.corrupted
        for (library, method), harm in found.items():
            measures = (
                metrics.auroc(harm, bad),
                metrics.average_precision(harm, bad),
                bad[removed(harm, bad.sum())].mean(),
            )
            rest = (accuracy[f"{library} {method}"], seconds[library, method])
            rows.append([library, method, *key, *measures, *rest])
        for method in ("none", "oracle"):
            rows.append(["", method, *key, None, None, None, accuracy[f" {method}"], None])
    return rows


def removed(harm, number):
    """Indices of the `number` most suspicious samples."""
    return np.argsort(-harm, kind="stable")[:number]


def accuracies(cell, found, path) -> dict:
    """Test accuracy after removing as many suspects as there are corrupted samples, by method."""
    known = dict(np.load(path)) if path.exists() else {}
    masks = {" none": np.ones(len(cell.y), bool), " oracle": ~cell.corrupted}
    for (library, method), harm in found.items():
        mask = np.ones(len(harm), bool)
        mask[removed(harm, cell.corrupted.sum())] = False
        masks[f"{library} {method}"] = mask
    new = {name: mask for name, mask in masks.items() if name not in known}
    if new:
        known |= dict(zip(new, ours.accuracies(cell, np.stack(list(new.values()))), strict=True))
        exchange.save(path, known)
    return {name: float(value) for name, value in known.items()}


def machine() -> str:
    device = jax.devices()[0]
    return (
        f"{device.platform} {device.device_kind}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, jax {jax.__version__}, numpy {metadata.version('numpy')}"
    )


if __name__ == "__main__":
    main()
