"""A volume as its slices: shifted copies of them, and a convolution in 3-D as one in 2-D."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from harmjax import types


def convolution(x: types.Array, kernel: types.Array, conv2d: Callable) -> types.Array:
    """`x` [B, X, Y, Z, I] convolved with `kernel` [a, b, c, I, O]: [B, X, Y, Z, O].

    One 2-D convolution of all slices, with the shifts along X among its channels. The shifts join
    the smaller side: as input channels, or as output channels summed afterwards, in float32.

    Args:
        x: As above.
        kernel: As above, of odd sides.
        conv2d: (x [N, Y, Z, C], kernel [b, c, C, D]) -> [N, Y, Z, D], 'same'.
    """
    batch, depth, *plane, inputs = x.shape
    side, outputs = kernel.shape[0], kernel.shape[-1]
    if inputs <= outputs:
        x = shifts(x, side)
        kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], side * inputs, outputs)
        return conv2d(x.reshape(-1, *x.shape[2:]), kernel).reshape(batch, depth, *plane, outputs)
    kernel = jnp.moveaxis(kernel, 0, 3).reshape(*kernel.shape[1:4], side * outputs)
    parts = conv2d(x.reshape(-1, *plane, inputs), kernel)
    parts = margin(parts.reshape(batch, depth, *plane, side, outputs), side)
    parts = [parts[:, start : start + depth, :, :, start] for start in range(side)]
    return sum(part.astype(jnp.float32) for part in parts).astype(x.dtype)


def shifts(x: types.Array, *sides: int, axis: int = 1) -> types.Array:
    """`x` [B, X, Y, Z, C] and its shifts along the axes from `axis` on, as channels."""
    x = margin(x, *sides, axis=axis)
    shape = list(x.shape)
    for place, side in enumerate(sides, axis):
        shape[place] -= side - 1
    offsets = itertools.product(*map(range, sides))
    return jnp.concatenate([window(x, offset, shape, axis) for offset in offsets], -1)


def margin(x: types.Array, *sides: int, axis: int = 1) -> types.Array:
    """`x` with a margin of zeros for kernels of these sides, along the axes from `axis` on."""
    wide = [(side // 2, side // 2) for side in sides]
    return jnp.pad(x, [*((0, 0),) * axis, *wide, *((0, 0),) * (x.ndim - axis - len(sides))])


def window(x: types.Array, offset, shape, axis: int = 1) -> types.Array:
    """The part of `x` that starts at `offset`, of the sides of `shape`, from `axis` on."""
    for place, start in enumerate(offset, axis):
        x = jax.lax.slice_in_dim(x, start, start + shape[place], axis=place)
    return x
