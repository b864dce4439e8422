"""Metrics of the models that a run kept."""

import pathlib
from typing import NamedTuple

from harmjax import metrics
from harmjax.engine import forward
from harmjax.runs import checkpoints, delivered, preparation, recorded, trajectories

KEYS = ("model", "cycle", "split", "group")
PHASES = ("warmup", "control", "delivery")


class Evaluation(NamedTuple):
    """What the models of a run do on one split."""

    header: tuple[str, ...]  # of evaluation.csv
    rows: list[list]
    text: str  # what a person should know about the data, '' for nothing


def evaluate(run, split: str) -> Evaluation:
    """Every kept checkpoint and the delivered model of a run, by subgroup.

    The scans are those that the run began with; see `preparation.held_out`.

    Args:
        run: Workdir of a finished run.
        split: 'test' or 'verification'.

    Raises:
        ValueError: No finished run, or one whose data has changed or is gone.
    """
    config, folder = recorded.config(run), pathlib.Path(run) / "checkpoints"
    held_out = preparation.held_out(config, run, split)
    samples = held_out.samples
    learner, final = delivered.model(run, config, samples.image[:1])
    logits = forward.logits(learner, config.train.verification_batch)
    phases = PHASES[-1:] if trajectories.has_shadow(config) else PHASES  # its metrics tell nothing
    models = [
        (phase, cycle, checkpoints.restore_model(folder, checkpoints.name(phase, cycle), final))
        for phase in phases
        for cycle in checkpoints.cycles(folder, phase)
    ]
    models.append(("final", config.train.cycles - 1, final))

    def measured(logits, labels):
        return metrics.metrics(logits, labels, held_out.classes).values()

    rows = []
    for name, cycle, model in models:
        found = logits(model, samples.image)
        rows += [
            [name, cycle, split, group, *measured(found[members], samples.label[members])]
            for group, members in held_out.groups
        ]
    return Evaluation((*KEYS, *metrics.names(held_out.classes)), rows, held_out.text)
