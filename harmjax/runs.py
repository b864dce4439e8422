"""Finished runs: their config and their delivered model, for prediction and evaluation."""

import json
import pathlib

import jax
import jax.numpy as jnp
import ml_collections

from harmjax import checkpoints, training, types


def config(workdir) -> ml_collections.ConfigDict:
    """The resolved config of a run.

    Raises:
        ValueError: The folder holds no run.
    """
    path = pathlib.Path(workdir) / "config.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: {workdir} is not the workdir of a run")
    return ml_collections.ConfigDict(json.loads(path.read_text(encoding="utf-8"))["config"])


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
    return learner, checkpoints.restore(folder, "final", like)
