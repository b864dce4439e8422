"""Normalisation layers that a sample of weight 0 cannot reach, and dropout keyed per sample."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from harmjax import plugins, types

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
    def __call__(self, moments_fn, offset, weight, train):
        size = offset.shape
        scale, bias = _affine(self, size)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, size)
        running_var = self.variable("batch_stats", "var", jnp.ones, size)
        if not train:
            factor = scale * jax.lax.rsqrt(running_var.value + EPSILON)
            shift = bias + (offset - running_mean.value) * factor
            return factor, shift
        mean, var = moments_fn()
        mean, var = weighted_moments(mean, var, weight)
        if not self.is_initializing():
            step = jnp.where(weight.sum() > 0, 1 - self.momentum, 0.0)
            running_mean.value += step * (mean + offset - running_mean.value)
            running_var.value += step * (var - running_var.value)
        factor = scale * jax.lax.rsqrt(var + EPSILON)
        return factor, bias - mean * factor  # the offset cancels


class GroupNorm(nn.Module):
    """Group normalisation: each sample by itself, in at most 8 groups of at least 8 channels.

    References:
        Wu & He, Group normalization, 2018, arXiv 1803.08494.
    """

    @nn.compact
    def __call__(self, moments_fn, offset, weight, train):
        del weight, train
        (size,) = offset.shape
        scale, bias = _affine(self, (size,))
        mean, var = moments_fn()
        grouped = (mean + offset).reshape(len(mean), math.gcd(size, min(8, max(1, size // 8))), -1)
        centre = grouped.mean(-1, keepdims=True)
        spread = var.reshape(grouped.shape) + jnp.square(grouped - centre)
        inverse = jax.lax.rsqrt(spread.mean(-1, keepdims=True) + EPSILON)
        factor = scale * jnp.broadcast_to(inverse, grouped.shape).reshape(mean.shape)
        centre = jnp.broadcast_to(centre, grouped.shape).reshape(mean.shape)
        return factor, bias + (offset - centre) * factor


class Identity(nn.Module):
    """No normalisation."""

    @nn.compact
    def __call__(self, moments_fn, offset, weight, train):
        del moments_fn, weight, train
        return jnp.ones_like(offset), offset


def _affine(module, shape):
    scale = module.param("scale", nn.initializers.ones, shape)
    bias = module.param("bias", nn.initializers.zeros, shape)
    return scale, bias


def layer(kind: str, name: str | None = None, momentum: float = MOMENTUM) -> nn.Module:
    """A normalisation layer, in the form that can be applied after pooling.

    It is called with (moments_fn, offset, weight, train): a function that returns mean and variance
    [B, C] of what is to be normalised, the `offset` [C] still to be added to it (a bias), `weight`
    [B]. It returns (factor, shift), [C] or [B, C]: `x * factor + shift`, once they are `spread`, is
    `x + offset` normalised.

    Args:
        kind: `'batch'`, `'group'` or `'none'`.
        name: Its name among the parameters.
        momentum: Of the running statistics of `'batch'`.

    Raises:
        ValueError: Another kind.
    """
    plugins.one_of("norm", kind, KINDS)
    if kind == "batch":
        return BatchNorm(momentum=momentum, name=name)
    return {"group": GroupNorm, "none": Identity}[kind](name=name)


def moments(x: types.Array) -> tuple[types.Array, types.Array]:
    """Mean and biased variance of every sample and channel over all other axes, float32 [B, C]."""
    x = x.astype(jnp.float32).reshape(len(x), -1, x.shape[-1])
    mean = x.mean(1)
    return mean, jnp.square(x - mean[:, None]).mean(1)


def spread(values: types.Array, x: types.Array) -> types.Array:
    """`values` [C] or [B, C] in a shape that broadcasts to `x` [B, ..., C]."""
    ones = (1,) * (x.ndim - 2)
    return values.reshape(*(values.shape[:-1] or (1,)), *ones, values.shape[-1])


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
        rate: Fraction, 0 <= rate < 1.

    References:
        Srivastava et al., Dropout, JMLR 15, 2014.
    """
    if rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)
