"""The first layer on CPU: one input channel, results in windows of 2, ready for max-pooling.

With few channels, loops over the last axis are short and slow; here the last axes are space. Scans
a second in training an SFCN of quarter width (8 channels), batch 5, with this file and without: 28
and 20 at 80x96x80, 219 and 210 at 40x48x40. At full width steps gain less than a tenth, and scoring
in the step costs .65 of one instead of .3.
"""

import itertools

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.models import cpu


def suits(image: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Whether tiles are the faster way for an image and a kernel of these shapes."""
    even = all(side % 2 == 0 for side in image[1:-1])
    narrow = kernel[-1] % 16 != 0  # does not fill vectors of 16 floats
    fits = image[-1] == 1 and even and set(kernel[:-2]) == {3} and narrow
    return fits and jax.default_backend() == "cpu"


def channels_last(x: types.Array) -> types.Array:
    """`x` [C, ...] with its channels last.

    As a product with the identity: exact, and a transposition that XLA cannot fuse into a loop with
    strided reads, which took four times as long.
    """
    return jnp.tensordot(x, jnp.eye(len(x), dtype=x.dtype), (0, 0), precision="highest")


def convolve(x: types.Array, kernel: types.Array) -> types.Array:
    """`conv.convolve` for one input channel, with the result in windows of 2.

    Each window of 2^d results depends on 4^d voxels: one matrix product [2^d O, 4^d] by
    [4^d, windows], with long contiguous rows whatever the number of channels.

    Args:
        x: [B, X, Y, Z, 1] or [B, X, Y, 1], even sides.
        kernel: [3, 3, 3, 1, O] or [3, 3, 1, O].

    Returns:
        [2^d, O, B, X/2, Y/2, Z/2] or [2^d, O, B, X/2, Y/2].
    """
    dims = x.ndim - 2
    half = [side // 2 for side in x.shape[1:-1]]
    padded = jnp.pad(x[..., 0], [(0, 0), *((1, 1),) * dims])
    phases = padded.reshape(len(x), *(n for side in half for n in (side + 1, 2)))
    phases = jnp.transpose(phases, (*range(2, 2 * dims + 1, 2), 0, *range(1, 2 * dims, 2)))
    taps = []
    for offset in itertools.product(range(4), repeat=dims):
        part = phases[tuple(o % 2 for o in offset)]
        taps.append(cpu.window(part, [o // 2 for o in offset], (len(x), *half)))
    columns = jnp.stack(taps).reshape(4**dims, -1)
    outputs = kernel.shape[-1]
    rows = [
        jnp.pad(kernel[..., 0, :], [*((o, 1 - o) for o in offset), (0, 0)])
        for offset in itertools.product(range(2), repeat=dims)
    ]
    matrix = jnp.moveaxis(jnp.stack(rows), -1, 1).reshape(2**dims * outputs, 4**dims)
    return (matrix @ columns).reshape(2**dims, outputs, len(x), *half)
