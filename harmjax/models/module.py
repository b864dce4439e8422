"""Somebody's own Flax module as a classifier."""

import inspect
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from harmjax import types


def of_module(module: nn.Module) -> types.Classifier:
    """The classifier behind any linen module, called as `module(image)` or with `train=...` too.

    It returns logits [B, K], or of two classes also [B] or [B, 1], the second's less the first's;
    or a pair of logits and features [B, F]. Without features the logits stand in for them.
    Variables may be `params` and `batch_stats`; dropout gets a key. Samples of weight 0 reach the
    batch statistics of a foreign module, which knows nothing of weights; use group or layer norm,
    or `harmjax.models`, where that matters.

    Args:
        module: Its `__call__` takes images [B, *S] as they are stored, and `train` if it has batch
            norm or dropout.

    Example:
        >>> import jax
        >>> linear = of_module(nn.Dense(1))
        >>> variables = linear.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> linear.apply(variables, jnp.zeros((2, 3)), None, None, False)[0].shape
        (2, 2)
    """
    takes_train = "train" in inspect.signature(module.__call__).parameters

    def flags(train) -> dict[str, Any]:
        return {"train": train} if takes_train else {}

    def call(tree, image, train, **options):
        return module.apply(tree, image.astype(jnp.float32), **flags(train), **options)

    def init(key, image):
        variables = module.init(key, image.astype(jnp.float32), **flags(False))
        return types.Variables(variables["params"], variables.get("batch_stats", {}))

    def apply(variables, image, weight, keys, train):
        del weight
        tree = {"params": variables.params, "batch_stats": variables.batch_stats}
        if not train:
            return *_outputs(call(tree, image, False)), variables
        found, updated = call(tree, image, True, mutable=["batch_stats"], rngs={"dropout": keys[0]})
        after = variables._replace(batch_stats=updated.get("batch_stats", variables.batch_stats))
        return *_outputs(found), after

    return types.Classifier(init, apply)


def _outputs(found):
    """(logits [B, K], features [B, F]) of what a module returned."""
    logits, features = found if isinstance(found, tuple) else (found, None)
    logits = logits.reshape(len(logits), -1).astype(jnp.float32)
    features = logits if features is None else features.astype(jnp.float32)
    if logits.shape[1] == 2:
        logits = logits[:, 1:] - logits[:, :1]
    return jnp.pad(logits, ((0, 0), (1, 0))) if logits.shape[1] == 1 else logits, features
