"""What a scan looks like, in a few numbers that know nothing of any model or diagnosis."""

import jax.numpy as jnp
import numpy as np

from harmjax.engine import precision

LEVELS = np.array([1, 20, 50, 80, 110, 140, 170, 200, 230], np.float32)
NUM_BANDS = 5
LOWEST_BAND = 0.02  # cycles per voxel; below it lies the head's overall shape
GRID = (5, 6, 3)  # cells along each axis


@precision.full
def describe(image):
    """The descriptor [D] of one sample, float32.

    Of an image: the share of voxels brighter than some levels of 0..255, mean and standard
    deviation over 255; the logarithm of its power in bands of spatial frequency, apart for the two
    axes of the slice; and the logarithm of its mean absolute slope on a coarse grid. Inversion,
    noise, ghosts, motion, spikes, blur, a bias field or swapped axes each leave their mark on one
    of them. Of a row of features: the row.

    Args:
        image: [X, Y, Z] or [X, Y, C] as stored, of any real dtype; or [F].

    Example:
        >>> describe(jnp.zeros((40, 48, 40), jnp.uint8)).shape
        (111,)
    """
    scan = image.astype(jnp.float32)
    if scan.ndim == 1:
        return scan
    if scan.ndim == 2:
        scan = scan[..., None]
    levels = jnp.mean(scan[..., None] > LEVELS, axis=(0, 1, 2))
    spread = jnp.stack([jnp.mean(scan), jnp.std(scan)]) / 255
    return jnp.concatenate([levels, spread, _bands(scan), _slopes(scan)])


def _bands(scan):
    """Log power [2 x NUM_BANDS] of the slices by frequency and by the axis it mostly runs along."""
    power = jnp.mean(jnp.abs(jnp.fft.fft2(scan, axes=(0, 1))) ** 2, axis=2)
    along_x, along_y = np.meshgrid(*map(np.fft.fftfreq, scan.shape[:2]), indexing="ij")
    radius, mostly_x = np.hypot(along_x, along_y), np.abs(along_x) > np.abs(along_y)
    width = (0.5 - LOWEST_BAND) / NUM_BANDS
    lowest = LOWEST_BAND + width * np.arange(NUM_BANDS)
    inside = [(radius >= low) & (radius < low + width) for low in lowest]
    masks = np.stack([band & axis for band in inside for axis in (mostly_x, ~mostly_x)])
    masks = masks / np.maximum(masks.sum((1, 2), keepdims=True), 1)
    return jnp.log1p(jnp.einsum("kxy,xy->k", jnp.asarray(masks, jnp.float32), power))


def _slopes(scan):
    """Log mean absolute in-plane slope in the cells of a coarse grid."""
    steep = jnp.abs(scan[1:, :-1] - scan[:-1, :-1]) + jnp.abs(scan[:-1, 1:] - scan[:-1, :-1])
    for cells in GRID:
        steep = jnp.tensordot(steep, jnp.asarray(_cells(steep.shape[0], cells)), ((0,), (0,)))
    return jnp.log1p(steep.ravel())


def _cells(size: int, cells: int) -> np.ndarray:
    """[size, cells] weights of the means over equal parts of an axis; fewer where it is short."""
    cells = min(cells, size)
    part = np.arange(size) * cells // size
    member = part[:, None] == np.arange(cells)
    return (member / member.sum(0)).astype(np.float32)
