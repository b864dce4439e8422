"""The first layer of a volume on CPU: one input channel, pooled, without its full-size result.

A window of 2 x 2 x 2 results depends on 4 x 4 x 4 voxels, so all of them are one matrix product
`columns [64, windows].T @ matrix [64, 8 O]`, a few planes at a time, small enough for the cache.
What batch norm has to know of the results, their mean and variance, follows from those of the
columns; and a backward pass computes the results again instead of reading O times the image.
"""

import functools
import itertools

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.models import cpu, pool

OFFSETS = tuple(itertools.product(range(2), repeat=3))  # places in a window
VOXELS = tuple(itertools.product(range(4), repeat=3))
WINDOWS = 4096  # computed at once, at most; their results stay in the cache


def suits(image: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Whether this is a way for images and kernels of these shapes, on this platform."""
    volume = len(image) == 5 and image[-1] == 1 and all(side % 2 == 0 for side in image[1:-1])
    return volume and kernel[:3] == (3, 3, 3) and jax.default_backend() == "cpu"


def moments(x: types.Array, kernel: types.Array) -> tuple[types.Array, types.Array]:
    """Mean [B, O] and biased variance [B, O] of `conv.convolve(x, kernel)`, by sample and channel.

    Args:
        x: [B, X, Y, Z, 1], even sides.
        kernel: [3, 3, 3, 1, O].
    """
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)

    def sample(image):
        columns = _columns(jnp.pad(image, [(1, 1), (0, 0), (0, 0), (0, 0)]))
        mean = columns.mean(1)
        off = columns - mean[:, None]
        return mean, off @ off.T / columns.shape[1]

    mean, covariance = jax.lax.map(sample, x)

    def combined(mean, covariance, matrix):
        part = jnp.tensordot(mean, matrix, 1)  # [8, O]
        centre = part.mean(0)
        within = jnp.einsum("vwo,vwo->wo", matrix, jnp.tensordot(covariance, matrix, 1))
        return centre, (within + jnp.square(part - centre)).mean(0)

    return jax.vmap(combined, (0, 0, None))(mean, covariance, _matrix(kernel))


def pooled(x: types.Array, kernel: types.Array) -> types.Array:
    """Maxima of `conv.convolve(x, kernel)` over windows of 2: [B, X/2, Y/2, Z/2, O].

    The derivative is shared evenly among equal maxima, as in `pool.max_pool`.

    Args:
        x: [B, X, Y, Z, 1], even sides.
        kernel: [3, 3, 3, 1, O].
    """
    half = [side // 2 for side in x.shape[1:4]]
    dtype, x, kernel = x.dtype, x.astype(jnp.float32), kernel.astype(jnp.float32)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def part(planes):
        matrix = _matrix(kernel)
        results = _columns(planes).T @ matrix.reshape(len(VOXELS), -1)
        return pool.maximum(jnp.split(results, len(OFFSETS), axis=1))

    return jax.lax.map(part, _parts(x)).reshape(len(x), *half, -1).astype(dtype)


def _parts(x):
    """`x` in parts of a few planes with the next on either side, [parts, planes + 2, Y, Z, 1]."""
    half = [side // 2 for side in x.shape[1:4]]
    fits = max(1, WINDOWS // (half[1] * half[2]))
    planes = 2 * max(n for n in range(1, half[0] + 1) if half[0] % n == 0 and n <= fits)
    x = jnp.pad(x, [(0, 0), (1, 1), *[(0, 0)] * 3])
    starts = range(0, 2 * half[0], planes)
    parts = [jax.lax.slice_in_dim(x, s, s + planes + 2, axis=1) for s in starts]
    return jnp.stack(parts, 1).reshape(-1, planes + 2, *x.shape[2:])


def _columns(image):
    """The voxels that each window depends on, [64, windows], of planes [2 n + 2, Y, Z, 1]."""
    half = (len(image) // 2 - 1, image.shape[1] // 2, image.shape[2] // 2)
    padded = jnp.pad(image[..., 0], [(0, 0), (1, 1), (1, 1)])
    phases = padded.reshape([n for side in half for n in (side + 1, 2)])
    phases = phases.transpose(1, 3, 5, 0, 2, 4)
    taps = [
        cpu.window(phases[tuple(v % 2 for v in voxel)], [v // 2 for v in voxel], half, axis=0)
        for voxel in VOXELS
    ]
    return jnp.stack(taps).reshape(len(VOXELS), -1)


def _matrix(kernel):
    """What each voxel adds to each result of a window, [64, 8, O]."""
    rows = [
        jnp.pad(kernel[..., 0, :], [*((o, 1 - o) for o in offset), (0, 0)]) for offset in OFFSETS
    ]
    return jnp.stack(rows, 3).reshape(len(VOXELS), len(OFFSETS), -1)
