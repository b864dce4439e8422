"""Finished runs: their config and their delivered model, for prediction and evaluation."""

import pathlib

import jax
import jax.numpy as jnp
import ml_collections

from harmjax import types, workdirs
from harmjax.runs import checkpoints, training


def config(workdir) -> ml_collections.ConfigDict:
    """The resolved config of a run.

    Raises:
        ValueError: The folder holds no run, or one of another format.
    """
    content = workdirs.recorded(workdir)
    if content is None:
        raise ValueError(f"{workdir}/config.json is missing: {workdir} is not the workdir of a run")
    return ml_collections.ConfigDict(content["config"])


def model(workdir, settings, image) -> tuple[types.Learner, types.Model]:
    """The learner and the delivered model of a run.

    Args:
        workdir: Of a finished run.
        settings: Its config.
        image: [1, *S] one image, for the shapes.

    Raises:
        ValueError: No delivered model, or images of another shape.
    """
    learner = training.build_learner(settings)
    like = jax.eval_shape(learner.init, jax.random.key(0), jnp.asarray(image))
    folder = pathlib.Path(workdir) / "checkpoints"
    return learner, checkpoints.restore_model(folder, "final", like)
