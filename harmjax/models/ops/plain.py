"""Convolutions by `lax.conv_general_dilated`."""

import jax

from harmjax import types
from harmjax.models.ops import pool


def convolution(x: types.Array, kernel: types.Array) -> types.Array:
    """`x` [B, X, Y, Z, I] convolved with `kernel` [a, b, c, I, O]: [B, X, Y, Z, O]."""
    layout = ("NXYZC", "XYZIO", "NXYZC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=layout)


def pooled(x: types.Array, kernel: types.Array) -> types.Array:
    """Maxima of `convolution(x, kernel)` over windows of 2: [B, X/2, Y/2, Z/2, O], rounded up."""
    return pool.max_pool(convolution(x.astype(kernel.dtype), kernel))


def weights(x: types.Array, g: types.Array, sides: tuple[int, ...]) -> types.Array:
    """The kernel's gradient [*sides, I, O], for `x` [B, X, Y, Z, I] and `g` [B, X, Y, Z, O]."""
    shape = jax.ShapeDtypeStruct((*sides, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: convolution(x, kernel), shape)(g)[0]
