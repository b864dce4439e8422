"""Convolutions on CPU: sums that XLA computes fast there, with the numbers of `lax.conv`.

GF/s of useful arithmetic inside a loop, batch 5, two cores of an EPYC with AVX-512 where matrix
products peak at 480; a reduction that reads the result is included, a repeat can differ by a fifth:

| image, channels     | lax.conv | slices | a row more | and pooled | `pooled` | kernel gradient |
|---------------------|----------|--------|------------|------------|----------|-----------------|
| 40x48x40, 1 -> 8    | 2        |        | 11         | 114        | 140      | 39              |
| 40x48x40, 1 -> 32   | 9        |        | 34         | 103        | 189      | 100             |
| 40x48x40, 8 -> 16   | 29       | 113    | 151        | 140        | 261      | 98              |
| 20x24x20, 8 -> 16   | 30       | 183    | 208        | 201        | 314      | 160             |
| 20x24x20, 16 -> 8   | 15       | 134    | 162        | 190        | 216      | 67              |
| 10x12x10, 16 -> 32  | 56       | 227    | 292        | 287        | 377      | 228             |
| 20x24x20, 32 -> 64  | 100      | 226    | 330        | 317        | 446      | 237             |
| 20x24x20, 64 -> 32  | 57       | 222    | 339        | 342        | 357      | 156             |
| 10x12x10, 64 -> 128 | 164      | 422    | 342        | 396        | 430      | 337             |
| 5x6x5, 128 -> 256   | 238      | 457    | 386        | 371        | 441      | 375             |

`lax.conv` has 2 to 4 for the kernel's gradient inside a loop. One input channel is a sum of shifted
copies, which XLA fuses with what reads it.
"""

import itertools

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.models.ops import slices


def convolution(x: types.Array, kernel: types.Array) -> types.Array:
    """`x` [B, X, Y, Z, I] convolved with `kernel` [a, b, c, I, O]: [B, X, Y, Z, O]."""
    return _taps(x, kernel) if x.shape[-1] == 1 else slices.convolution(x, kernel, _conv2d)


def _taps(x, kernel):
    """A sum of shifted copies of the only input channel, which XLA fuses into one loop."""
    padded = slices.margin(x, *kernel.shape[:3])
    offsets = itertools.product(*map(range, kernel.shape[:3]))
    return sum(slices.window(padded, offset, x.shape) * kernel[offset][0] for offset in offsets)


def _conv2d(x, kernel):
    """A convolution with one row too many, which is cut off again.

    XLA hands convolutions to YNNPACK, which runs those without a reduction behind them on a single
    core; but it keeps those that have more rows than their input.
    """
    y, z = (side // 2 for side in kernel.shape[:2])
    pads = [(y, y + 1), (z, z)]
    return _conv(x, kernel, pads)[:, : x.shape[1]]


def _conv(x, kernel, pads):
    layout = ("NYZC", "YZIO", "NYZC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=layout)


def pooled(x: types.Array, kernel: types.Array) -> types.Array:
    """Maxima of `convolution(x, kernel)` over windows of 2: [B, X/2, Y/2, Z/2, O], rounded up.

    The 2-D convolution of all slices and the maxima within them run as one, on all cores, if there
    are more than 16 channels; so a single input channel is cut into overlapping groups of slices.
    """
    batch, depth, *plane, inputs = x.shape
    side, outputs = kernel.shape[0], kernel.shape[-1]
    group = 1 if inputs > 1 else min(8, 2 * (16 // (2 * outputs) + 1))
    count = -(-depth // group)
    wide = [(0, 0)] * 3
    x = jnp.pad(x, [(0, 0), (side // 2, side // 2 + count * group - depth), *wide])
    last = (count - 1) * group + 1
    each = [jax.lax.slice_in_dim(x, s, s + last, group, 1) for s in range(group + side - 1)]
    x = jnp.concatenate(each, -1).reshape(batch * count, *plane, -1)
    kernels = [jnp.pad(kernel, [(s, group - 1 - s), (0, 0), *wide]) for s in range(group)]
    kernel = jnp.moveaxis(jnp.stack(kernels, -2), 0, 2)
    y = _conv(x, kernel.reshape(*kernel.shape[:2], x.shape[-1], -1), "SAME")
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    y = jnp.where(y == -jnp.inf, jnp.nan, y)  # of NaN alone; this maximum passes over it
    y = jnp.moveaxis(y.reshape(batch, count, *y.shape[1:3], group, outputs), 4, 2)
    y = y.reshape(batch, count * group, *y.shape[3:])[:, :depth]
    y = jnp.pad(y, [(0, 0), (0, depth % 2), *wide], constant_values=-jnp.inf)
    return jnp.maximum(y[:, ::2], y[:, 1::2])


def weights(x: types.Array, g: types.Array, sides: tuple[int, ...]) -> types.Array:
    """The kernel's gradient [*sides, I, O], for `x` [B, X, Y, Z, I] and `g` [B, X, Y, Z, O].

    One matrix product: patches of `x` within the slices, by shifts of `g` across them.
    """
    inputs, outputs = x.shape[-1], g.shape[-1]
    if inputs == 1:
        return _tap_weights(x, g, sides)
    columns = slices.shifts(x, *sides[1:], axis=2).reshape(-1, sides[1] * sides[2] * inputs)
    rows = slices.shifts(g, sides[0]).reshape(-1, sides[0] * outputs)
    product = (columns.T @ rows).reshape(*sides[1:], inputs, sides[0], outputs)
    # Moving g one way is moving x the other way.
    return jnp.moveaxis(jnp.flip(product, 3), 3, 0)


def _tap_weights(x, g, sides):
    """A row per shifted copy of the only input channel; one sample's copies stay in the cache."""

    def sample(pair):
        x, g = pair
        padded = slices.margin(x[..., 0], *sides, axis=0)
        offsets = itertools.product(*map(range, sides))
        rows = jnp.stack([slices.window(padded, offset, g.shape, axis=0) for offset in offsets])
        return rows.reshape(len(rows), -1) @ g.reshape(-1, g.shape[-1])

    return jax.lax.map(sample, (x, g)).sum(0).reshape(*sides, 1, g.shape[-1])
