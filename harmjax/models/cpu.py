"""Convolutions on CPU: sums that XLA computes fast there, with the numbers of `lax.conv`.

GF/s of useful arithmetic inside `lax.scan`, batch 3 to 5, two cores of a Xeon with AVX-512 where
matrix products peak at 300; the machine was shared, a repeat can differ by a quarter:

| image, channels     | lax.conv 3-D | slices | Winograd in slices | product of patches |
|---------------------|--------------|--------|--------------------|--------------------|
| 20x24x20, 8 -> 16   | 20           | 120    | 64 *               | 120                |
| 20x24x20, 16 -> 8   | 11           | 100    | 43 *               | 50                 |
| 10x12x10, 16 -> 32  | 19           | 140    | 110 *              | 190                |
| 20x24x20, 32 -> 64  | 69           | 120    | 155                | 115                |
| 20x24x20, 64 -> 32  | 39           | 110    | 150                | 105                |
| 10x12x10, 64 -> 128 | 110          | 260    | 175                | 190-240            |
| 5x6x5, 128 -> 256   | 140          | 200-280| 80 *               | 210-260            |
| 40x48x40, 32 -> 64  |              | 105    | 160                | 100                |

(* an earlier variant, a sample at a time.) So: slices, with Winograd's products where slices are
large and channels many. The kernel's gradient is a product of patches: 35-150, where `lax.conv` has
10-45 by itself and below 3 inside a scan. One input channel is a sum of shifted copies: 40-110,
`lax.conv` 2-7.
"""

import itertools

import jax
import jax.numpy as jnp

from harmjax import types


def convolution(x: types.Array, kernel: types.Array) -> types.Array:
    """`x` [B, X, Y, Z, I] convolved with `kernel` [a, b, c, I, O]: [B, X, Y, Z, O]."""
    return (_taps if x.shape[-1] == 1 else _slices)(x, kernel)


def _taps(x, kernel):
    """A sum of shifted copies of the only input channel, which XLA fuses into one loop."""
    padded = margin(x, *kernel.shape[:3])
    offsets = itertools.product(*map(range, kernel.shape[:3]))
    return sum(window(padded, offset, x.shape) * kernel[offset][0] for offset in offsets)


def _slices(x, kernel):
    """One 2-D convolution of all slices, with the shifts along X among its channels.

    The shifts join the smaller side: as input channels, or as output channels summed afterwards.
    """
    batch, depth, *plane, inputs = x.shape
    side, outputs = kernel.shape[0], kernel.shape[-1]
    if inputs <= outputs:
        x = _shifts(x, side)
        kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], side * inputs, outputs)
        return _conv2d(x.reshape(-1, *x.shape[2:]), kernel).reshape(batch, depth, *plane, outputs)
    kernel = jnp.moveaxis(kernel, 0, 3).reshape(*kernel.shape[1:4], side * outputs)
    parts = _conv2d(x.reshape(-1, *plane, inputs), kernel)
    parts = margin(parts.reshape(batch, depth, *plane, side, outputs), side)
    return sum(parts[:, start : start + depth, :, :, start] for start in range(side))


def _conv2d(x, kernel):
    wide = min(kernel.shape[-2:]) >= 64 and max(kernel.shape[-2:]) >= 96
    if wide and kernel.shape[:2] == (3, 3) and x.shape[1] * x.shape[2] >= 256:
        return _winograd(x, kernel)
    layout = ("NYZC", "YZIO", "NYZC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def _winograd(x, kernel):
    """Winograd's F(2x2, 3x3): 16 products for 4 results instead of 36, a few slices at a time.

    References:
        Lavin & Gray, Fast algorithms for convolutional neural networks, 2015, arXiv 1509.09308.
    """
    count, *plane, inputs = x.shape
    outputs = kernel.shape[-1]
    halves = [-(-side // 2) for side in plane]
    group = max(size for size in range(1, 11) if count % size == 0)  # stays in the cache
    margins = [(1, 1 + 2 * half - side) for half, side in zip(halves, plane, strict=True)]
    spread = jnp.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], x.dtype)
    matrices = jnp.einsum("ay,bz,yzio->abio", spread, spread, kernel).reshape(16, inputs, outputs)

    def slices(x):
        x = jnp.pad(x, [(0, 0), *margins, (0, 0)])
        x = jnp.stack([part for row in _differences(x, 1) for part in _differences(row, 2)])
        x = jnp.einsum("tni,tio->tno", x.reshape(16, -1, inputs), matrices)
        rows = _recombined(x.reshape(4, 4, group, *halves, outputs))
        x = jnp.stack([jnp.stack(_recombined(row), 3) for row in rows], 2)
        return x.reshape(group, *(2 * half for half in halves), outputs)

    result = jax.lax.map(slices, x.reshape(-1, group, *x.shape[1:]))
    return result.reshape(count, *result.shape[2:])[:, : plane[0], : plane[1]]


def _differences(x, axis):
    last = x.shape[axis] - 3
    a, b, c, d = (jax.lax.slice_in_dim(x, s, s + last, 2, axis) for s in range(4))
    return a - c, b + c, c - b, b - d


def _recombined(x):
    return x[0] + x[1] + x[2], x[1] - x[2] - x[3]


def weights(x: types.Array, g: types.Array, sides: tuple[int, ...]) -> types.Array:
    """The kernel's gradient [*sides, I, O], for `x` [B, X, Y, Z, I] and `g` [B, X, Y, Z, O].

    One matrix product: patches of `x` within the slices, by shifts of `g` across them.
    """
    inputs, outputs = x.shape[-1], g.shape[-1]
    if inputs == 1:
        return _tap_weights(x, g, sides)
    columns = _shifts(x, *sides[1:], axis=2).reshape(-1, sides[1] * sides[2] * inputs)
    rows = _shifts(g, sides[0]).reshape(-1, sides[0] * outputs)
    product = (columns.T @ rows).reshape(*sides[1:], inputs, sides[0], outputs)
    # Moving g one way is moving x the other way.
    return jnp.moveaxis(jnp.flip(product, 3), 3, 0)


def _tap_weights(x, g, sides):
    """A row per shifted copy of the only input channel; one sample's copies stay in the cache."""

    def sample(pair):
        x, g = pair
        padded = margin(x[..., 0], *sides, axis=0)
        offsets = itertools.product(*map(range, sides))
        rows = jnp.stack([window(padded, offset, g.shape, axis=0) for offset in offsets])
        return rows.reshape(len(rows), -1) @ g.reshape(-1, g.shape[-1])

    return jax.lax.map(sample, (x, g)).sum(0).reshape(*sides, 1, g.shape[-1])


def _shifts(x, *sides, axis=1):
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


def window(x, offset, shape, axis: int = 1) -> types.Array:
    """The part of `x` that starts at `offset`, of the sides of `shape`, from `axis` on."""
    for place, start in enumerate(offset, axis):
        x = jax.lax.slice_in_dim(x, start, start + shape[place], axis=place)
    return x
