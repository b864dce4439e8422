"""The first layer of a volume on GPU: the product of `cells`, of whole arrays.

A convolution with one input channel leaves tensor cores idle: on an H200, at 160x192x160, batch 5,
1 -> 32 channels, bfloat16, the kernel's gradient by `lax.conv` took 49 of a training step's 68 ms.
"""

import functools

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.engine import precision
from harmjax.models.ops import cells


def moments(x: types.Array, kernel: types.Array) -> tuple[types.Array, types.Array]:
    """As `first.moments`.

    The columns' second moments are a product of theirs, in which uint8 is exact in any precision.
    They are summed by plane: one product of all windows would be too few blocks for a GPU.
    """
    voxels, half = len(cells.VOXELS), x.shape[1] // 2
    columns = _columns(x, kernel.dtype).reshape(voxels, len(x), half, -1)
    products = jax.lax.dot_general(
        columns,
        columns,
        (((3,), (3,)), ((1, 2), (1, 2))),
        preferred_element_type=jnp.float32,
    )
    second = products.sum(1) / (half * columns.shape[-1])
    mean = _means(_padded(x).astype(kernel.dtype).astype(jnp.float32))
    matrix = cells.matrix(kernel.astype(jnp.float32))

    @precision.full
    def sample(mean, second):
        centre, var = cells.moments(mean, second - jnp.outer(mean, mean), matrix)
        return centre, jnp.maximum(var, 0)  # a difference, which rounding takes below

    return jax.vmap(sample)(mean, second)


def pooled(x: types.Array, kernel: types.Array) -> types.Array:
    """As `first.pooled`."""
    half = [side // 2 for side in x.shape[1:4]]
    matrix = cells.matrix(kernel).reshape(len(cells.VOXELS), -1)
    results = jax.lax.dot_general(_columns(x, kernel.dtype), matrix, (((0,), (0,)), ((), ())))
    results = results.reshape(-1, len(cells.OFFSETS), kernel.shape[-1])
    return _maxima(results).reshape(len(x), *half, -1)


@jax.custom_jvp
def _maxima(results):
    """The maxima of windows [W, 8, O]: [W, O]. The derivative as in `pool.max_pool`."""
    return functools.reduce(jnp.maximum, _places(results))


@_maxima.defjvp
def _maxima_jvp(primals, tangents):
    """A bit for every place that is a maximum: the backward pass reads one byte for eight results.

    Without the barrier XLA would compare again, and keep all of them until then.
    """
    (results,), (changes,) = primals, tangents
    maxima = _maxima(results)
    equal = [(part == maxima).astype(jnp.uint8) for part in _places(results)]
    bits = sum(one << place for place, one in enumerate(equal))
    maxima, bits = jax.lax.optimization_barrier((maxima, bits))
    places = jnp.arange(len(equal), dtype=jnp.uint8)[:, None]
    chosen = (bits[:, None] >> places) & 1 == 1
    ties = jax.lax.population_count(bits).astype(changes.dtype)
    return maxima, jnp.where(chosen, changes, 0).sum(1) / ties


def _places(results):
    return [results[:, place] for place in range(results.shape[1])]


def _padded(x):
    return jnp.pad(x[..., 0], [(0, 0)] + [(1, 1)] * 3)


def _columns(x, dtype):
    return cells.columns(_padded(x)).astype(dtype)


def _means(padded):
    """The columns' means [B, 64], of images [B, X + 2, Y + 2, Z + 2]: an axis after the other."""
    for axis in (1, 2, 3):
        last = padded.shape[axis] - 3
        starts = [
            jax.lax.slice_in_dim(padded, start, start + last, 2, axis).mean(axis)
            for start in range(4)
        ]
        padded = jnp.stack(starts, axis)
    return padded.reshape(len(padded), -1)
