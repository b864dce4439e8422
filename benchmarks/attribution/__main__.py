"""Runs the benchmark; see the package's docstring."""

import argparse
import itertools
import os
import pathlib
import platform
import subprocess
import sys
from importlib import metadata

import jax
import numpy as np
import tqdm

import harmjax
from benchmarks.attribution import exchange, ours, report, retrained, tasks
from harmjax import metrics, tables
from harmjax.counterfactual import values

HERE = pathlib.Path(__file__).parent
PEERS = ("cleanlab", "pydvl", "dattri", "opendataval")
COLUMNS = (
    *("library", "method", "task", "corruption", "verification", "seed"),
    *("auroc", "average_precision", "recall", "accuracy_after", "lds", *exchange.COSTS),
    *("version", "device"),
)
TRUTH = (ours.LEARNER, ours.CYCLES, ours.BATCH)  # what is trained to measure all methods alike


def main():
    """Scores, measures and writes the table, the plot and the text."""
    arguments = parsed()
    cells, scores = arguments.workdir / "cells", arguments.workdir / "scores"
    chosen = write_cells(arguments, cells)
    score_ours(chosen, scores / "harmjax", arguments.progress)
    for peer in arguments.peers:
        run_peer(peer, cells, scores / peer)
    versions = {"harmjax": harmjax.__version__} | {peer: version(peer) for peer in arguments.peers}
    device = f"{jax.devices()[0].platform}, {os.cpu_count()} cores"
    rows = [
        [*row, versions.get(row[0], ""), device]
        for row in evaluate(chosen, scores, arguments.workdir, arguments.progress)
        if row[0] in ("", *versions)
    ]
    arguments.results.mkdir(parents=True, exist_ok=True)
    tables.write(arguments.results / "attribution.csv", COLUMNS, rows)
    report.plot(rows, arguments.results / "attribution.png")
    missing = [peer for peer in PEERS if peer not in {row[0] for row in rows}]
    text = report.text(rows, missing=missing, machine=machine(), versions=versions)
    (arguments.results / "attribution.txt").write_text(text + "\n")
    print(text)


def parsed():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution")
    parser.add_argument("--tasks", nargs="+", default=list(tasks.TASKS), choices=tasks.TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    named = [peer for peer in PEERS if interpreter(peer)]
    parser.add_argument("--peers", nargs="*", default=named, choices=PEERS)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/attribution"))
    parser.add_argument("--results", type=pathlib.Path, default=HERE.parent / "results")
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def write_cells(arguments, folder) -> dict:
    """All cells by name; what the libraries may see of each goes into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {}
    for seed, task in itertools.product(arguments.seeds, arguments.tasks):
        for corruption, verification in itertools.product(
            tasks.CORRUPTIONS[task], tasks.VERIFICATION
        ):
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


def version(peer) -> str:
    """The library's version in its own environment."""
    code = f"from importlib import metadata; print(metadata.version({peer!r}))"
    return subprocess.check_output([interpreter(peer), "-c", code], text=True).strip()


def run_peer(peer, cells, folder):
    """Lets a library score the cells in its own environment, on one thread."""
    if not interpreter(peer):
        sys.exit(f"{peer}: name its interpreter in HARMJAX_PEER_{peer.upper()}")
    print(f"{peer}: scoring into {folder}", file=sys.stderr)
    command = [interpreter(peer), str(HERE / f"peer_{peer}.py"), str(cells), str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(folder / "log.txt", "a") as log:
        done = subprocess.run(
            command, stdout=log, stderr=log, check=False, env=os.environ | one_thread
        )
    if done.returncode:
        sys.exit(f"{peer} failed with exit code {done.returncode}; see {folder / 'log.txt'}")


def evaluate(chosen, scores, workdir, progress) -> list[list]:
    """One row per library, method and cell, and two per cell for removing nothing and the truth."""
    rows = []
    for name, (key, cell) in tqdm.tqdm(chosen.items(), desc="retraining", disable=not progress):
        found = {
            (path.parent.name, method): scored
            for path in sorted(scores.glob(f"*/{name}.npz"))
            for method, scored in exchange.scores(path).items()
        }
        ours_found = {m: scored for (library, m), scored in found.items() if library == "harmjax"}
        combinations = ours.combinations(ours_found, cell.centre)
        found |= {("harmjax", method): scored for method, scored in combinations.items()}
        harms = {method: harm for method, (harm, _) in found.items()}
        accuracy = accuracies(cell, harms, workdir / "accuracies" / f"{name}.npz")
        masks, losses = subsets(cell, key, workdir / "subsets")
        bad = cell.corrupted
        for (library, method), (harm, cost) in found.items():
            measures = (
                metrics.auroc(harm, bad),
                metrics.average_precision(harm, bad),
                bad[removed(harm, bad.sum())].mean(),
                accuracy[f"{library} {method}"],
                values.linear_datamodelling_score(harm, masks, losses),
            )
            numbers = [*measures, *(cost.get(kind) for kind in exchange.COSTS)]
            rows.append([library, method, *key, *map(_rounded, numbers)])
        for method in ("none", "oracle"):
            nothing = [None] * (1 + len(exchange.COSTS))
            rows.append(["", method, *key, None, None, None, accuracy[f" {method}"], *nothing])
    return rows


def _rounded(number):
    return None if number is None else round(float(number), 4)


def removed(harm, number):
    """Indices of the `number` most suspicious samples."""
    return np.argsort(-harm, kind="stable")[:number]


def accuracies(cell, harms, path) -> dict:
    """Test accuracy after removing as many suspects as there are corrupted samples, by method."""
    known = dict(np.load(path)) if path.exists() else {}
    masks = {" none": np.ones(len(cell.y), bool), " oracle": ~cell.corrupted}
    for (library, method), harm in harms.items():
        mask = np.ones(len(harm), bool)
        mask[removed(harm, cell.corrupted.sum())] = False
        masks[f"{library} {method}"] = mask
    new = {name: mask for name, mask in masks.items() if name not in known}
    if new:
        kept = np.stack(list(new.values()))
        known |= dict(zip(new, retrained.accuracies(cell, *TRUTH, kept), strict=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        exchange.save(path, known)
    return {name: float(value) for name, value in known.items()}


def subsets(cell, key, folder):
    """Masks and test losses of subset retrainings; the verification samples play no part."""
    task, corruption, _, seed = key
    path = folder / f"{task}_{corruption}_{seed}.npz".replace(" ", "-").replace("%", "")
    if not path.exists():
        masks, losses = retrained.subsets(cell, *TRUTH)
        folder.mkdir(parents=True, exist_ok=True)
        exchange.save(path, {"masks": masks, "losses": losses})
    with np.load(path) as file:
        return file["masks"], file["losses"]


def machine() -> str:
    device = jax.devices()[0]
    return (
        f"{device.platform} {device.device_kind}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, jax {jax.__version__}, numpy {metadata.version('numpy')}"
    )


if __name__ == "__main__":
    main()
