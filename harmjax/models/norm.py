"""Normalisation layers that a sample of weight 0 cannot reach, and dropout keyed per sample."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.models import along

MOMENTUM = 0.99
EPSILON = 1e-3
KINDS = ("batch", "group", "none")
FIXED = ("batch", "none")  # under running statistics, maps that do not depend on the images


class BatchNorm(nn.Module):
    """Batch normalisation with a weight per sample, which may be any float >= 0.

    mean = sum_b w_b m_b / sum_b w_b over the samples' means m_b; the biased variance likewise, so
    both are differentiable in w. Running statistics move by 1 - momentum towards the batch's; if
    all weights are zero they stay as they are, and the output is finite but means nothing.

    References:
        Ioffe & Szegedy, Batch normalization, 2015, arXiv 1502.03167.
    """

    momentum: float = MOMENTUM

    @nn.compact
    def __call__(self, x, offset, weight, train, batch=0, channel=-1):
        size = offset.shape[-1:]
        scale, bias = _affine(self, size)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, size)
        running_var = self.variable("batch_stats", "var", jnp.ones, size)
        if not train:
            factor = scale * jax.lax.rsqrt(running_var.value + EPSILON)
            shift = bias + (offset - running_mean.value) * factor
            return _spread(factor, x, batch, channel), _spread(shift, x, batch, channel)
        mean, var = weighted_moments(*moments(x, batch, channel), weight)
        if not self.is_initializing():
            step = jnp.where(weight.sum() > 0, 1 - self.momentum, 0.0)
            offset = offset.reshape(-1, *size)[0]  # the same for all samples
            running_mean.value += step * (mean + offset - running_mean.value)
            running_var.value += step * (var - running_var.value)
        factor = scale * jax.lax.rsqrt(var + EPSILON)
        shift = bias - mean * factor  # the offset cancels
        return _spread(factor, x, batch, channel), _spread(shift, x, batch, channel)


class GroupNorm(nn.Module):
    """Group normalisation: each sample by itself, in at most 8 groups of at least 8 channels.

    References:
        Wu & He, Group normalization, 2018, arXiv 1803.08494.
    """

    @nn.compact
    def __call__(self, x, offset, weight, train, batch=0, channel=-1):
        del weight, train
        size = offset.shape[-1]
        scale, bias = _affine(self, (size,))
        mean, var = moments(x, batch, channel)
        grouped = (mean + offset).reshape(len(mean), math.gcd(size, min(8, max(1, size // 8))), -1)
        centre = grouped.mean(-1, keepdims=True)
        spread = var.reshape(grouped.shape) + jnp.square(grouped - centre)
        inverse = jax.lax.rsqrt(spread.mean(-1, keepdims=True) + EPSILON)
        factor = scale * jnp.broadcast_to(inverse, grouped.shape).reshape(mean.shape)
        centre = jnp.broadcast_to(centre, grouped.shape).reshape(mean.shape)
        shift = bias + (offset - centre) * factor
        return _spread(factor, x, batch, channel), _spread(shift, x, batch, channel)


class Identity(nn.Module):
    """No normalisation."""

    @nn.compact
    def __call__(self, x, offset, weight, train, batch=0, channel=-1):
        del weight, train
        factor = jnp.ones_like(offset)
        return _spread(factor, x, batch, channel), _spread(offset, x, batch, channel)


def _affine(module, shape):
    scale = module.param("scale", nn.initializers.ones, shape)
    bias = module.param("bias", nn.initializers.zeros, shape)
    return along.vector(module, "scale", scale), along.vector(module, "bias", bias)


def layer(kind: str, name: str | None = None, momentum: float = MOMENTUM) -> nn.Module:
    """A normalisation layer, in the form that can be applied after pooling.

    It is called with (x, offset, weight, train, batch=0, channel=-1): `x` of any layout with the
    axes of its samples and channels, the `offset` [C] or [B, C] still to be added to it (a bias),
    `weight` [B]. It returns (factor, shift) that broadcast to `x`: `x * factor + shift` is
    `x + offset` normalised.

    Args:
        kind: `'batch'`, `'group'` or `'none'`.
        name: its name among the parameters.
        momentum: of the running statistics of `'batch'`.

    Raises:
        ValueError: another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"norm={kind!r}: known are {', '.join(KINDS)}")
    if kind == "batch":
        return BatchNorm(momentum=momentum, name=name)
    return {"group": GroupNorm, "none": Identity}[kind](name=name)


def moments(x: types.Array, batch: int = 0, channel: int = -1) -> tuple[types.Array, types.Array]:
    """Mean and biased variance of every sample and channel over all other axes, float32 [B, C]."""
    channel %= x.ndim
    x = x.astype(jnp.float32)
    others = [axis for axis in range(x.ndim) if axis not in (batch, channel)]
    mean = x.mean(others, keepdims=True)
    var = jnp.square(x - mean).mean(others, keepdims=True)
    shape = (x.shape[batch], x.shape[channel])
    if batch < channel:
        return mean.reshape(shape), var.reshape(shape)
    return mean.reshape(shape[::-1]).T, var.reshape(shape[::-1]).T


def _spread(values, x, batch, channel):
    """`values` [C] or [B, C] in a shape that broadcasts to C channels laid out as those of `x`."""
    shape = [1] * x.ndim
    shape[channel] = values.shape[-1]
    if values.ndim == 2:
        shape[batch] = len(values)
        values = values if batch < channel % x.ndim else values.T
    return values.reshape(shape)


def weighted_moments(
    mean: types.Array, var: types.Array, weight: types.Array
) -> tuple[types.Array, types.Array]:
    """Mean [C] and biased variance [C] of a weighted batch, from those of its samples.

    Args:
        mean: [B, C].
        var: [B, C], biased.
        weight: [B], float >= 0. All zero gives zeros, not NaN.
    """
    total = weight.sum()
    share = (weight / jnp.where(total > 0, total, 1.0)).astype(jnp.float32)
    centre = share @ mean
    return centre, share @ (var + jnp.square(mean - centre))


def dropout(x: types.Array, keys: types.Array, rate: float) -> types.Array:
    """`x` [B, ...] with a fraction `rate` of each sample's entries zeroed, the rest scaled up.

    Args:
        x: [B, ...].
        keys: [B] typed PRNG keys; the mask of a sample depends on its own key only.
        rate: fraction, 0 <= rate < 1.

    References:
        Srivastava et al., Dropout, JMLR 15, 2014.
    """
    if rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)
