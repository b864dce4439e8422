"""More than two classes: what every policy finds of planted harm, and what its model then errs.

    harmjax make_cohort --config=classes:runlocal --workdir=runs/classes12
    python -m benchmarks.classes

Ten classes: handwritten digits of 8 x 8 pixels, dealt to ten sites. Three classes: the severity of
heart disease at three hospitals (`configs/heart.py:severity`), and controls and two diseases in
semi-synthetic scans at 12 centres (`configs/classes.py:runlocal`). Harm is planted in single scans
or in whole centres and is there from the first cycle. `heart, all` plants nothing: Hungary's table
knows only 0 and 1 where the others know five degrees, which is a discrepancy that was found and not
made; the columns then count Hungary's samples. A few minutes each on two shared CPU cores.
"""

import argparse
import pathlib
import tempfile

import numpy as np

from benchmarks import record
from configs import classes as cohort
from configs import heart
from harmjax import defaults, metrics, types
from harmjax.harms import plan, scenario
from harmjax.runs import preparation, training

POLICIES = ("none", "verify_revisit", "screen", "oracle")
SITES = 10
SPLITS = (897, 500, 400)  # training, verification and test digits


def digits(planted, seed, harms=("label_flip", "inversion"), singles=40):
    """(config, Study) of ten digits at ten sites."""
    from sklearn import datasets

    config = defaults.get_config()
    config.data.classes = tuple(map(str, range(10)))
    config.model.name, config.model.norm = "cnn2d", "group"
    config.train.learning_rate = 3e-3
    config.train.warmup_cycles, config.train.cycles = 6, 14
    config.train.verification_batch = 256
    bunch = datasets.load_digits()
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(bunch.target))
    image = (bunch.images[order] * 15).astype(np.uint8)[..., None]
    edges = np.cumsum(SPLITS)

    def samples(first, last):
        number = last - first
        where, identity = np.arange(number) % SITES, np.arange(first, last, dtype=np.uint32)
        label = bunch.target[order][first:last].astype(np.int32)
        return types.Samples(image[first:last], label, where.astype(np.int32), identity)

    train, verification, test = map(samples, (0, *edges[:-1]), edges)
    corrupted, kind = np.zeros(len(train.label), bool), [""] * len(train.label)
    if planted != "none":
        train, corrupted, kind = scenario.plant(
            train,
            plan.Choice(planted, count=singles if planted == "singles" else 2),
            harms,
            seed=seed,
            classes=10,
        )
    groups = {
        split: list(metrics.groups([""] * len(s.label), [np.nan] * len(s.label)))
        for split, s in (("verification", verification), ("test", test))
    }
    return config, preparation.Study(
        train=train,
        verification=verification,
        test=test,
        names=tuple(map(str, range(len(train.label)))),
        centres=tuple(f"site {i}" for i in range(SITES)),
        groups=groups,
        simulated=True,
        corrupted=corrupted,
        kind=tuple(kind),
        word=np.zeros(len(train.label), np.int8),
        text="",
        classes=tuple(config.data.classes),
    )


def severity(planted, seed):
    """(config, Study) of heart disease in three degrees at three hospitals."""
    config = heart.get_config("severity")
    config.scenario.harm, config.scenario.max_fraction = ("label_flip",), 0.5
    return prepared(config, planted, seed, {"singles": 30, "centres": 1})


def discrepancy(planted, seed):
    """(config, Study) of the same with Hungary, whose samples count as planted."""
    del planted
    config, study = prepared(heart.get_config("severity_all"), "none", seed, {})
    hungary = study.train.centre == study.centres.index("Hungary")
    return config, study._replace(corrupted=hungary, simulated=True)


def diseases(planted, seed):
    """(config, Study) of controls and two diseases in semi-synthetic scans."""
    config = cohort.get_config("runlocal")
    config.scenario.harm = config.detect.harms[0]
    return prepared(config, planted, seed, {"singles": 8, "centres": 4})


def prepared(config, planted, seed, count):
    """(config, Study) with harm planted by a seed."""
    config.seed = config.scenario.seed = seed
    config.scenario.name, config.scenario.count = planted, count.get(planted, 0)
    with tempfile.TemporaryDirectory() as folder:
        return config, preparation.prepare(config, folder, progress=False)


SETTINGS = {
    "digits": (digits, ("none", "singles", "centres")),
    "heart": (severity, ("none", "singles", "centres")),
    "heart, all": (discrepancy, ("found",)),
    "two diseases": (diseases, ("none", "singles", "centres")),
}


def measure(setting, planted, seed) -> list[dict]:
    """A row per policy, all from one warm-up on everything."""
    config, study = SETTINGS[setting][0](planted, seed)
    config.train.warmup_on, rows = "as_is", []
    bad = study.corrupted
    with tempfile.TemporaryDirectory() as folder:
        first = None
        for policy in POLICIES:
            config.policy.name = policy
            workdir = pathlib.Path(folder) / policy
            found = training.train(config, workdir, study=study, warmup=first, progress=False)
            first = first or workdir
            gone, test = found.verdicts.eliminated, found.metrics
            rows.append(
                {
                    "setting": setting,
                    "classes": len(study.classes),
                    "planted in": planted,
                    "seed": seed,
                    "policy": policy,
                    "planted": int(bad.sum()),
                    "found": int((gone & bad).sum()),
                    "good": int((~bad).sum()),
                    "wrongly eliminated": int((gone & ~bad).sum()),
                    "test error": round(1 - test["accuracy"], 4),
                    "test error, mean of classes": round(1 - test["balanced_accuracy"], 4),
                    "test AUROC": round(test["auroc"], 4),
                }
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", nargs="*", default=tuple(SETTINGS), choices=SETTINGS)
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    chosen = parser.parse_args()
    for setting in chosen.settings:
        rows = []
        for planted in SETTINGS[setting][1]:
            for seed in chosen.seeds:
                rows += measure(setting, planted, seed)
        record.show(rows)
        record.keep("classes", setting, rows)


if __name__ == "__main__":
    main()
