"""The first layer of a volume on CPU: the product of `cells`, a few planes at a time.

Its results then stay in the cache, and a backward pass computes them again instead of reading O
times the image.
"""

import functools

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.models.ops import cells, pool

WINDOWS = 4096  # computed at once, at most; their results stay in the cache


def moments(x: types.Array, kernel: types.Array) -> tuple[types.Array, types.Array]:
    """As `first.moments`."""
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)

    def sample(image):
        columns = _columns(jnp.pad(image, [(1, 1), (0, 0), (0, 0), (0, 0)]))
        mean = columns.mean(1)
        off = columns - mean[:, None]
        return mean, off @ off.T / columns.shape[1]

    mean, covariance = jax.lax.map(sample, x)
    return jax.vmap(cells.moments, (0, 0, None))(mean, covariance, cells.matrix(kernel))


def pooled(x: types.Array, kernel: types.Array) -> types.Array:
    """As `first.pooled`."""
    half = [side // 2 for side in x.shape[1:4]]
    dtype, x, kernel = kernel.dtype, x.astype(jnp.float32), kernel.astype(jnp.float32)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def part(planes):
        matrix = cells.matrix(kernel)
        results = _columns(planes).T @ matrix.reshape(len(cells.VOXELS), -1)
        return pool.maximum(jnp.split(results, len(cells.OFFSETS), axis=1))

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


def _columns(planes):
    """The columns of planes [2 n + 2, Y, Z, 1]."""
    return cells.columns(jnp.pad(planes[None, ..., 0], [(0, 0), (0, 0), (1, 1), (1, 1)]))
