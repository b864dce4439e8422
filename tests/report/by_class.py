"""A run on three classes, as the program makes it; at one of three centres all labels are wrong."""

import json

import numpy as np

from harmjax import defaults, metrics, types, workdirs
from harmjax.report import page
from harmjax.runs import preparation, training

CLASSES = ("HC", "MCI", "AD")
CENTRES = ("Aix", "Bonn", "Cork")
NUM_FEATURES = 4


def config(policy: str):
    made = defaults.get_config()
    made.data.classes = CLASSES
    made.data.features = tuple(f"f{i}" for i in range(NUM_FEATURES))
    made.model.name, made.model.norm, made.model.dropout = "mlp", "none", 0.0
    made.train.learning_rate, made.train.decay = 0.1, 0.02
    made.train.warmup_cycles, made.train.cycles = 2, 5
    made.train.warmup_on, made.train.minimum_group = "as_is", 2
    made.policy.name = policy
    made.scenario.name, made.scenario.harm = "centres", ("label_flip",)
    return made


def study() -> preparation.Study:
    """36 training, 54 verification and 27 test samples; at Cork every label is the next class."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, NUM_FEATURES)) * 1.5

    def samples(number, wrong=False):
        label, centre = np.arange(number) % 3, np.arange(number) // 3 % 3
        image = (centres[label] + rng.normal(size=(number, NUM_FEATURES))).astype(np.float32)
        label = np.where(wrong & (centre == 2), (label + 1) % 3, label)
        identity = rng.integers(0, 2**32, number, dtype=np.uint32)
        return types.Samples(image, label.astype(np.int32), centre.astype(np.int32), identity)

    train, verification, test = samples(36, wrong=True), samples(54), samples(27)
    return preparation.Study(
        train=train,
        verification=verification,
        test=test,
        names=tuple(f"p{i:02d}" for i in range(36)),
        centres=CENTRES,
        groups={
            split: list(metrics.groups(np.resize(["F", "M"], number), np.full(number, np.nan)))
            for split, number in (("verification", 54), ("test", 27))
        },
        simulated=True,
        corrupted=train.centre == 2,
        kind=tuple("label_flip" if c == 2 else "" for c in train.centre),
        word=np.zeros(36, np.int8),
        text="",
        classes=CLASSES,
    )


def run(workdir, policy: str) -> tuple[preparation.Study, training.Outcome]:
    """Trains, writes the page and returns what was trained on and what came of it."""
    made, samples = config(policy), study()
    outcome = training.train(made, workdir, study=samples, progress=False)
    content = {"config": json.loads(made.to_json_best_effort()), "devices": ["cpu:0"]}
    workdirs.write_json(workdir / "config.json", content)
    page.write(workdir, samples)
    return samples, outcome
