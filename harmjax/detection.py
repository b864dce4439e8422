"""Scenarios x harms x seeds x policies: who was found or wrongly dropped, and what it cost."""

import itertools
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from harmjax import metrics, preparation, tables, training

HEADER = (
    *("scenario", "harm", "seed", "policy", "planted", "eliminated", "hits", "recall", "good"),
    *("wrongly_eliminated", "false_rate", "auroc", "average_precision"),
    *("test_auroc", "test_fpr", "test_fnr", "forward_equivalents", "seconds"),
)
KEY = HEADER[:4]
SHOWN = (
    *("scenario", "harm", "seed", "policy", "planted", "hits", "wrongly_eliminated", "good"),
    *("test_auroc", "test_fpr", "test_fnr", "forward_equivalents", "seconds"),
)


class Case(NamedTuple):
    """One planted cohort; all policies run on it from the same warm-up."""

    scenario: str
    harm: tuple[str, ...]
    seed: int


def cases(config) -> list[Case]:
    """The cases of `config.detect`; a clean cohort appears once per seed, whatever the harms."""
    detect = config.detect
    grid = itertools.product(detect.seeds, detect.scenarios, detect.harms)
    planted = (Case(name, tuple(harm) if name != "none" else (), s) for s, name, harm in grid)
    return list(dict.fromkeys(planted))


def name(case: Case) -> str:
    """The case's folder, such as `centres-inversion-0`."""
    return "-".join(filter(None, (case.scenario, "+".join(case.harm), str(case.seed))))


def detect(
    config, workdir, *, say: Callable, finished: Callable, progress: bool = True
) -> list[dict]:
    """Runs every case under every policy and returns the rows of detection.csv.

    Rows that the table has already are not run again; a run that was interrupted resumes.

    Args:
        config: See `configs/`, group `detect`.
        workdir: Gets detection.csv and a folder per case with a workdir per policy.
        say: Called with a line of text before a run.
        finished: Called with a run's workdir and study after it.
        progress: Whether to draw progress bars.
    """
    workdir = pathlib.Path(workdir)
    path = workdir / "detection.csv"
    rows = tables.read(path)
    done = {tuple(row[c] for c in KEY) for row in rows}
    for case in cases(config):
        keys = {p: _key(case, p) for p in config.detect.policies}
        if done.issuperset(keys.values()):
            continue
        folder = workdir / name(case)
        folder.mkdir(parents=True, exist_ok=True)
        study = preparation.prepare(_config(config, case, "none"), folder, progress=progress)
        first = None
        for policy in config.detect.policies:
            if keys[policy] not in done:
                say(f"{name(case)}: {policy}")
                rows.append(_row(config, case, policy, study, folder, first, progress))
                finished(folder / policy, study)
                tables.write(path, HEADER, [[row[c] for c in HEADER] for row in rows])
            first = first or folder / policy
    return tables.read(path)


def _key(case, policy):
    return case.scenario, "+".join(case.harm), str(case.seed), policy


def _config(config, case, policy):
    """The config of one run."""
    one = config.copy_and_resolve_references()
    with one.unlocked():
        one.seed = one.scenario.seed = case.seed
        one.scenario.name, one.scenario.harm = case.scenario, case.harm
        one.scenario.count = config.detect.count[case.scenario]
        one.policy.name = policy
    return one


def _row(config, case, policy, study, folder, warmup, progress) -> dict:
    one = _config(config, case, policy)
    began = time.perf_counter()
    outcome = training.train(one, folder / policy, study=study, warmup=warmup, progress=progress)
    gone, planted = np.asarray(outcome.verdicts.eliminated), study.corrupted
    harm = _ranked(np.asarray(outcome.verdicts.harm))
    scenario, harms, seed, _ = _key(case, policy)
    cost = outcome.cost["phases"]
    found = {
        "scenario": scenario,
        "harm": harms,
        "seed": seed,
        "policy": policy,
        "planted": int(planted.sum()),
        "eliminated": int(gone.sum()),
        "hits": int((gone & planted).sum()),
        "recall": _share(gone & planted, planted),
        "good": int((~planted).sum()),
        "wrongly_eliminated": int((gone & ~planted).sum()),
        "false_rate": _share(gone & ~planted, ~planted),
        "auroc": metrics.auroc(harm, planted),
        "average_precision": metrics.average_precision(harm, planted),
        "test_auroc": outcome.metrics.auroc,
        "test_fpr": outcome.metrics.fpr,
        "test_fnr": outcome.metrics.fnr,
        "forward_equivalents": sum(
            cost[phase]["forward_equivalents"] for phase in ("train", "verify", "score")
        ),
        "seconds": round(time.perf_counter() - began, 2),
    }
    return found


def _ranked(harm):
    """Harm with samples that never had a score below all others."""
    known = harm[np.isfinite(harm)]
    return np.where(np.isfinite(harm), harm, known.min() - 1 if len(known) else 0.0)


def _share(part, whole) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")


def summary(rows) -> str:
    """detection.csv as a person reads it."""

    def value(text):
        try:
            return int(text)
        except ValueError:
            pass
        try:
            return float(text)
        except ValueError:
            return text

    header = [column.replace("_", " ") for column in SHOWN]
    return tables.aligned(header, [[value(row[c]) for c in SHOWN] for row in rows])
