"""From a Flax module to a classifier of pure functions."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from harmjax import types
from harmjax.models.ops import conv, first, pool
from harmjax.models.ops import norm as norms


def classifier(module: nn.Module) -> types.Classifier:
    """The classifier behind a module called with (image, weight, keys, train).

    Args:
        module: Returns (logits [B, K], features [B, F]); its variables are `params` and, with batch
            norm, `batch_stats`.
    """

    def init(key, image):
        weight = jnp.ones(image.shape[:1], jnp.float32)
        variables = module.init(key, image, weight, None, False)
        return types.Variables(variables["params"], variables.get("batch_stats", {}))

    def apply(variables, image, weight, keys, train):
        tree = {"params": variables.params, "batch_stats": variables.batch_stats}
        if not train:
            logits, features = module.apply(tree, image, weight, keys, False)
            return logits, features, variables
        (logits, features), updated = module.apply(
            tree, image, weight, keys, True, mutable=["batch_stats"]
        )
        batch_stats = updated.get("batch_stats", variables.batch_stats)
        return logits, features, types.Variables(variables.params, batch_stats)

    return types.Classifier(init, apply)


class Network(nn.Module):
    """What every network here is told, see the factories."""

    width: float
    norm: str
    momentum: float
    dropout: float
    dtype: str
    classes: int


class Block(nn.Module):
    """Convolution with bias, normalisation, max-pooling by 2 unless `pooled` is off, ReLU.

    Pooling comes before the normalisation's affine map, on an eighth of the numbers: the maximum
    of x a + b is that of x times a, plus b, if a is not negative, and the sign of a goes into x.
    """

    channels: int
    side: int
    norm: str
    pooled: bool
    momentum: float = norms.MOMENTUM
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: types.Array, weight: types.Array, train: bool) -> types.Array:
        """`x` [B, ..., I], perhaps uint8, to [B, ..., channels] in `dtype`; `weight` is [B]."""
        shape = (*(self.side,) * (x.ndim - 2), x.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape).astype(self.dtype)
        as_stored = x.dtype == jnp.uint8 and self.pooled and first.suits(x.shape, shape)
        x = x if as_stored else x.astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        layer = norms.layer(self.norm, "norm", self.momentum)
        if not self.pooled:
            x = conv.convolve(x, kernel)
            factor, shift = layer(functools.partial(norms.moments, x), bias, weight, train)
            return nn.relu(_affine(x, factor, shift))
        fixed = not train and self.norm in norms.FIXED  # asks for no moments
        if fixed or first.suits(x.shape, shape):
            moments = functools.partial(first.moments, x, kernel)
            factor, shift = layer(moments, bias, weight, train)
            sign = _sign(factor)
            x = conv.convolve_and_pool(x, kernel * sign.astype(kernel.dtype))
        else:
            x = conv.convolve(x, kernel)
            factor, shift = layer(functools.partial(norms.moments, x), bias, weight, train)
            sign = _sign(factor)
            x = pool.max_pool(x * sign.astype(x.dtype))
        return nn.relu(_affine(x, factor * sign, shift))


def _affine(x, factor, shift):
    return (x * norms.spread(factor, x) + norms.spread(shift, x)).astype(x.dtype)


def _sign(factor):
    """-1 or 1 [C], of factors [C] or [B, C]: that of the scale, the same for all samples."""
    return jnp.where(factor.reshape(-1, factor.shape[-1])[0] < 0, -1, 1)


class Dense(nn.Module):
    """A dense layer with bias, in its input's dtype: `x` [B, I] to [B, units]."""

    units: int

    @nn.compact
    def __call__(self, x: types.Array) -> types.Array:
        shape = (x.shape[-1], self.units)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.units,)).astype(x.dtype)
        return x @ kernel + bias


def head(module: Network, features: types.Array, keys, train: bool):
    """Logits [B, K] of float32 features [B, F] by a dense layer, and the features after dropout.

    Of two classes the layer has one unit, the published logit z, and the logits are `[0, z]`.

    Args:
        module: Whose `__call__` is compact.
        features: [B, F] float32.
        keys: [B] typed keys of the dropout; unused unless `train`.
        train: Whether features are dropped.
    """
    if train:
        features = norms.dropout(features, keys, module.dropout)
    found = Dense(1 if module.classes == 2 else module.classes, name="head")(features)
    return (jnp.pad(found, ((0, 0), (1, 0))) if module.classes == 2 else found), features


def scaled(channels: int, width: float) -> int:
    """A layer's channels at a width: at least one."""
    return max(1, round(channels * width))
