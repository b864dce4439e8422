"""The model that a finished run delivered, for prediction and evaluation."""

import pathlib

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.runs import checkpoints, training


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
