"""The box in MNI space, and all that is smooth in it as products of small matrices along axes."""

import jax
import jax.numpy as jnp
import numpy as np

from harmjax.data.scans import nifti


def axes(spacing):
    """Returns the voxel centres along x, y and z in MNI mm: three float64 arrays."""
    shape, affine = nifti.grid(spacing)
    return [affine[axis, 3] + spacing * np.arange(count) for axis, count in enumerate(shape)]


def positions(spacing):
    """Returns [X, Y, Z, 3] float64: every voxel centre in MNI mm."""
    return np.stack(np.meshgrid(*axes(spacing), indexing="ij"), axis=-1)


def along(matrices, volume):
    """Returns `volume` [X, Y, Z] with one matrix [X', X] applied along each of its axes."""
    for axis, matrix in enumerate(matrices):
        volume = jnp.moveaxis(jnp.tensordot(matrix, volume, (1, axis)), 0, axis)
    return volume


def smooth(key, spacing, sigma, count):
    """Returns `count` random fields [X, Y, Z] float32 of mean 0, SD 1, smooth over `sigma` mm.

    White noise on knots no further apart than sigma, spread by a Gaussian along each axis; rows
    are scaled to unit length, which makes the variance one everywhere, edges included.
    """
    spread = []
    for corner, side, axis in zip(nifti.CORNER_MM, nifti.BOX_MM, axes(spacing), strict=True):
        knots = np.arange(corner - 2 * sigma, corner + side + 2 * sigma + 1e-6, 0.9 * sigma)
        rows = np.exp(-((axis[:, None] - knots) ** 2) / (2 * sigma**2))
        spread.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    noise = jax.random.normal(key, [count] + [matrix.shape[1] for matrix in spread])
    return [along(spread, part) for part in noise]


def linear(coarse, fine):
    """Returns three [fine, coarse] float32 matrices that interpolate linearly between two spacings.

    Args:
        coarse: Spacing of the grid that is given, in mm.
        fine: Spacing of the grid that is wanted, in mm.
    """
    matrices = []
    for given, wanted in zip(axes(coarse), axes(fine), strict=True):
        place = np.clip((wanted - given[0]) / coarse, 0, len(given) - 1)
        weight = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(len(given))))
        matrices.append(weight.astype(np.float32))
    return matrices


def gaussian(axis, fwhm):
    """Returns the [n, n] matrix that blurs along one axis by a Gaussian of `fwhm` mm (traced)."""
    sigma = jnp.maximum(fwhm, 1e-3) / np.sqrt(8 * np.log(2))
    gap = (axis[:, None] - axis).astype(np.float32)
    weight = jnp.exp(-(gap**2) / (2 * sigma**2))
    return weight / weight.sum(1, keepdims=True)


def slices(axis, thickness):
    """Returns the [n, n] matrix of slices of `thickness` mm (traced) stacked along an axis.

    Each slice averages the voxels it covers; voxels between slice centres are interpolated back.
    Slices as thin as the voxels leave the image as it is.
    """
    spacing = float(axis[1] - axis[0])
    edge = axis[0] - spacing / 2
    count = len(axis) + 1
    centre = edge + thickness * (0.5 + jnp.arange(count))  # [K] mm, those past the box unused
    near = jnp.minimum(axis[:, None] + spacing / 2, centre + thickness / 2)
    far = jnp.maximum(axis[:, None] - spacing / 2, centre - thickness / 2)
    cover = jnp.maximum(0, near - far)  # [n, K] mm of each voxel inside each slice
    average = cover / jnp.maximum(cover.sum(0), 1e-6)
    back = jnp.maximum(0, 1 - jnp.abs(axis[:, None] - centre) / thickness) * (cover.sum(0) > 1e-3)
    back = back / back.sum(1, keepdims=True)
    return (back @ average.T).astype(jnp.float32)
