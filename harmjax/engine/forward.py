"""Forward passes over any number of images, a few at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types


def logits(
    learner: types.Learner, chunk: int = 64
) -> Callable[[types.Model, types.AnyArray], np.ndarray]:
    """A function of a model and images [M, *S]: their logits [M, K], `chunk` scans at a time."""
    forward = jax.jit(learner.logits)

    def evaluate(model, images):
        size = max(min(chunk, len(images)), 1)
        parts = []
        for start in range(0, len(images), size):
            ids = np.minimum(np.arange(start, start + size), len(images) - 1)
            parts.append(np.asarray(forward(model, jnp.asarray(images[ids]))))
        if not parts:
            return np.zeros((0, learner.task.num_classes), np.float32)
        return np.concatenate(parts)[: len(images)]

    return evaluate
