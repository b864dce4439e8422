"""Is a hospital convicted whose labels were wrong from the first cycle? Heart data, split anew.

    python -m benchmarks.hospitals folds
    python -m benchmarks.hospitals delivered

Every label of one of the four hospitals is flipped before the warm-up (as is), each in turn, and
none. `folds` asks `screen` with `folds=4` after a warm-up of six cycles: how often the flipped
hospital is convicted, and how many good ones are. `delivered` compares whole runs of sixteen
cycles: test AUROC of the delivered model, and the flipped patients and the good ones eliminated.
"""

import argparse
import pathlib
import tempfile

import numpy as np
import tqdm

from benchmarks import record
from configs import heart
from harmjax.runs import preparation, training

HOSPITALS = (None, "Cleveland", "Hungary", "LongBeachVA", "Switzerland")
SEEDS = {
    "folds": tuple(range(200, 216)),
    "delivered": (200, 201, 202),
}  # 100 to 102 were for tuning
POLICIES = {
    "none": ("none", {}),
    "oracle": ("oracle", {}),
    "verify_revisit": ("verify_revisit", {}),
    "screen": ("screen", {}),
    "screen, folds": ("screen", {"folds": 4}),
    "screen, folds and shadow": ("screen", {"folds": 4, "shadow": True}),
}


def main(part, seeds):
    with tempfile.TemporaryDirectory() as folder:
        rows = PARTS[part](pathlib.Path(folder), seeds or SEEDS[part])
    record.show(rows)
    record.keep("hospitals", part, rows)


def config(hospital, seed):
    """A run on one split, a hospital's labels flipped or none."""
    made = heart.get_config()
    made.seed = made.data.split_seed = seed
    made.train.warmup_cycles, made.train.warmup_on = 6, "as_is"
    made.report = False
    if hospital:
        made.scenario.name, made.scenario.harm = "centres", ("label_flip",)
        made.scenario.centres = (hospital,)
    return made


def trained(made, folder):
    """The study and the outcome of a run."""
    folder.mkdir()
    study = preparation.prepare(made, folder, progress=False)
    return study, training.train(made, folder, study=study, progress=False)


def folds(folder, seeds) -> list[dict]:
    rows = []
    for hospital in tqdm.tqdm(HOSPITALS):
        found, accused = 0, 0
        for seed in seeds:
            made = config(hospital, seed)
            made.policy.name, made.policy.screen.folds = "screen", 4
            made.train.cycles, made.train.deliver = 7, "last"
            study, outcome = trained(made, folder / f"{hospital}-{seed}")
            centre, gone = np.asarray(study.train.centre), outcome.verdicts.eliminated
            whole = {study.centres[c] for c in set(centre) if gone[centre == c].all()}
            found += hospital in whole
            accused += len(whole - {hospital})
        good = len(seeds) * (4 - bool(hospital))
        rows.append(
            {
                "flipped": hospital or "none",
                "splits": len(seeds),
                "convicted": found if hospital else "",
                "good": good,
                "good_convicted": accused,
            }
        )
    return rows


def delivered(folder, seeds) -> list[dict]:
    rows = []
    for name, (policy, settings) in tqdm.tqdm(POLICIES.items()):
        auroc, found, planted, lost, good = [], 0, 0, 0, 0
        for hospital in HOSPITALS[1:]:
            for seed in seeds:
                made = config(hospital, seed)
                made.policy.name, made.train.cycles = policy, 16
                made.policy.screen.update(settings)
                study, outcome = trained(made, folder / f"{name}-{hospital}-{seed}")
                gone, bad = outcome.verdicts.eliminated, study.corrupted
                auroc.append(outcome.metrics["auroc"])
                found, planted = found + int((gone & bad).sum()), planted + int(bad.sum())
                lost, good = lost + int((gone & ~bad).sum()), good + int((~bad).sum())
        rows.append(
            {
                "policy": name,
                "runs": len(auroc),
                "auroc": record.rounded(np.mean(auroc)),
                "sd": record.rounded(np.std(auroc, ddof=1)),
                "lowest": record.rounded(min(auroc)),
                "flipped": planted,
                "found": found,
                "good": good,
                "lost": lost,
            }
        )
    return rows


PARTS = {"folds": folds, "delivered": delivered}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="*", help="splits; by default those reported")
    arguments = parser.parse_args()
    main(arguments.part, arguments.seeds)
