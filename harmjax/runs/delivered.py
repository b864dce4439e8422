"""The model that a finished run delivered, for prediction and evaluation."""

import pathlib

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.runs import checkpoints, recorded, training


def model(workdir, settings, image) -> tuple[types.Learner, types.Model]:
    """The learner and the delivered model of a run.

    Args:
        workdir: Of a finished run.
        settings: Its config.
        image: [1, *S] one image, for the shapes.

    Raises:
        ValueError: No delivered model, one of a classifier that was given, or images of another
            shape.
    """
    if (recorded.read(workdir) or {}).get("classifier"):
        raise ValueError(
            f"{workdir} is of a run with a classifier of its own, which its config.json cannot "
            "name: ask for its model in the program that gave it, by harmjax.train"
        )
    learner = training.build_learner(settings)
    like = jax.eval_shape(learner.init, jax.random.key(0), jnp.asarray(image))
    folder = pathlib.Path(workdir) / "checkpoints"
    return learner, checkpoints.restore_model(folder, "final", like)
