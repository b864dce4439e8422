"""Metrics of the models that a run kept."""

import pathlib

import jax
import numpy as np

from harmjax import checkpoints, metrics, preparation, programs, runs, training, types

HEADER = ("model", "cycle", "split", "group", *metrics.Metrics._fields)
PHASES = ("warmup", "control", "delivery")


def evaluate(run, split: str, workdir) -> list[list]:
    """Rows of evaluation.csv: every kept checkpoint and the delivered model, by subgroup.

    Args:
        run: Workdir of a finished run.
        split: 'test' or 'verification'.
        workdir: Where the manifest of this evaluation goes.

    Raises:
        ValueError: No finished run.
    """
    config, folder = runs.config(run), pathlib.Path(run) / "checkpoints"
    study = preparation.prepare(config, workdir)
    samples = getattr(study, split)
    learner, delivered = runs.model(run, config, samples.image[:1])
    logits = programs.logits(learner, config.train.verification_batch)
    models = []
    for phase in PHASES:
        for cycle in checkpoints.cycles(folder, phase):
            models.append(
                (phase, cycle, _travelled(config, study, folder, phase, cycle, delivered))
            )
    models.append(("final", config.train.cycles - 1, delivered))
    return [
        [name, *row]
        for name, cycle, model in models
        for row in _rows(cycle, split, logits(model, samples.image), samples, study)
    ]


def _travelled(config, study, folder, phase, cycle, like) -> types.Model:
    """The model of a traveller's checkpoint."""
    if phase == "control":
        state = training.build_policy(config, study).init(
            len(study.names), types.Counts(*(np.int32(1),) * 4)
        )
    else:
        state = np.ones(len(study.names), bool)
    abstract = jax.eval_shape(lambda: types.Travel(like, jax.tree.map(jax.numpy.asarray, state)))
    return checkpoints.restore(folder, checkpoints.name(phase, cycle), abstract).model


def _rows(cycle, split, logits, samples, study):
    for name, members in study.groups[split]:
        yield [cycle, split, name, *metrics.metrics(logits[members], samples.label[members])]
