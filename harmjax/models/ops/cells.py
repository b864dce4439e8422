"""What 2 x 2 x 2 results of the first layer depend on: 4 x 4 x 4 voxels of its only channel.

All of a convolution [3, 3, 3, 1, O] is then one matrix product, `columns [64, windows].T @ matrix
[64, 8 O]`, with a window's results beside each other, ready for their maximum; and the moments of
the results follow from those of the columns.
"""

import itertools

import jax.numpy as jnp

from harmjax import types
from harmjax.models.ops import slices

OFFSETS = tuple(itertools.product(range(2), repeat=3))  # places in a window
VOXELS = tuple(itertools.product(range(4), repeat=3))


def fit(image: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Whether images and kernels of these shapes are of this kind: [B, X, Y, Z, 1], even sides."""
    volume = len(image) == 5 and image[-1] == 1 and all(side % 2 == 0 for side in image[1:-1])
    return volume and kernel[:3] == (3, 3, 3)


def columns(padded: types.Array) -> types.Array:
    """The voxels that each window depends on, [64, B windows].

    Args:
        padded: [B, X + 2, Y + 2, Z + 2], images with a margin of one voxel.
    """
    half = [side // 2 - 1 for side in padded.shape[1:]]
    phases = padded.reshape(len(padded), *(n for side in half for n in (side + 1, 2)))
    phases = phases.transpose(2, 4, 6, 0, 1, 3, 5)
    taps = [
        slices.window(phases[tuple(v % 2 for v in voxel)], [v // 2 for v in voxel], [0, *half])
        for voxel in VOXELS
    ]
    return jnp.stack(taps).reshape(len(VOXELS), -1)


def matrix(kernel: types.Array) -> types.Array:
    """What each voxel adds to each result of a window, [64, 8, O], of a kernel [3, 3, 3, 1, O]."""
    rows = [
        jnp.pad(kernel[..., 0, :], [*((o, 1 - o) for o in offset), (0, 0)]) for offset in OFFSETS
    ]
    return jnp.stack(rows, 3).reshape(len(VOXELS), len(OFFSETS), -1)


def moments(mean: types.Array, covariance: types.Array, matrix: types.Array):
    """Mean [O] and biased variance [O] of all results, from those of the columns.

    Args:
        mean: [64].
        covariance: [64, 64], biased.
        matrix: [64, 8, O].
    """
    part = jnp.tensordot(mean, matrix, 1)  # [8, O]
    centre = part.mean(0)
    within = jnp.einsum("vwo,vwo->wo", matrix, jnp.tensordot(covariance, matrix, 1))
    return centre, (within + jnp.square(part - centre)).mean(0)
