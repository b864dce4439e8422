"""Convolutions on GPU: sums that cuDNN computes fast there, with the numbers of `lax.conv`.

TFLOP/s of `lax.conv` / of one 2-D convolution of all slices, one H200 (jax 0.11.2, cuDNN 9.19),
batch 5, where products of matrices reach 661 in bfloat16 and 363 in float32 (TF32):

| image, channels      | bfloat16  | kernel's gradient | float32   | kernel's gradient |
|----------------------|-----------|-------------------|-----------|-------------------|
| 80x96x80, 32 -> 64   | 213 / 382 | 130 / 319         | 122 / 188 | 61 / 82           |
| 80x96x80, 64 -> 32   | 155 / 191 |                   | 85 /      |                   |
| 40x48x40, 64 -> 128  | 342 / 472 | 327 / 486         | 215 / 304 | 103 / 136         |
| 20x24x20, 128 -> 256 | 347 / 504 | 401 / 483         | 260 / 308 | 130 / 161         |

In the second row the shifts were input channels; as output channels, the fewer, they gave a faster
step. Products of shifted copies (im2col, or one product per tap) lose everywhere. With one input
channel, `lax.conv` needs 49 ms for the kernel's gradient at 160x192x160: see `first_gpu`.
"""

import itertools

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.models.ops import cells, first_gpu, plain, pool, slices


def convolution(x: types.Array, kernel: types.Array) -> types.Array:
    """`x` [B, X, Y, Z, I] convolved with `kernel` [a, b, c, I, O]: [B, X, Y, Z, O]."""
    if x.shape[-1] == 1:
        return plain.convolution(x, kernel)
    return slices.convolution(x, kernel, _conv2d)


def pooled(x: types.Array, kernel: types.Array) -> types.Array:
    """Maxima of `convolution(x, kernel)` over windows of 2: [B, X/2, Y/2, Z/2, O], rounded up."""
    if cells.fit(x.shape, kernel.shape):
        return first_gpu.pooled(x, kernel)
    return pool.max_pool(convolution(x.astype(kernel.dtype), kernel))


def weights(x: types.Array, g: types.Array, sides: tuple[int, ...]) -> types.Array:
    """The kernel's gradient [*sides, I, O], for `x` [B, X, Y, Z, I] and `g` [B, X, Y, Z, O]."""
    inputs, outputs = x.shape[-1], g.shape[-1]
    if inputs == 1:
        return _tap_weights(x, g, sides)
    x = slices.shifts(x, sides[0])
    x = x.reshape(-1, *x.shape[2:])
    g = g.reshape(-1, *g.shape[2:])
    shape = jax.ShapeDtypeStruct((*sides[1:], x.shape[-1], outputs), x.dtype)
    found = jax.linear_transpose(lambda kernel: _conv2d(x, kernel), shape)(g)[0]
    return jnp.moveaxis(found.reshape(*sides[1:], sides[0], inputs, outputs), 2, 0)


def _conv2d(x, kernel):
    layout = ("NYZC", "YZIO", "NYZC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def _tap_weights(x, g, sides):
    """One product of a row per shifted copy of the only input channel."""
    padded = slices.margin(x[..., 0], *sides)
    offsets = itertools.product(*map(range, sides))
    rows = jnp.stack([slices.window(padded, offset, g.shape).reshape(-1) for offset in offsets])
    return (rows @ g.reshape(-1, g.shape[-1])).reshape(*sides, 1, g.shape[-1])
