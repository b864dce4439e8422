"""From a scan's own voxels to the model's grid, for `nifti.load`.

Whoever changes a voxel raises `ingest.FORMAT`, so that stored images are made again.
"""

import numpy as np
from scipy import ndimage

# Whole-voxel crops keep intensities as they were; interpolating for less than this would blur them.
SNAP_MM = 0.5 + 1e-3


def resample(voxels, source, shape, affine, background=0.0):
    """Returns voxels [A, B, C] with affine `source` on another grid: float32 [X, Y, Z].

    Before down-sampling each source axis is smoothed by a Gaussian whose full width at half
    maximum is sqrt(t^2 - s^2) for target and source voxel sizes t and s, so that a voxel of the
    result averages what a coarser scanner would have averaged. Outside the field of view lies
    `background`, into which its edge blends.
    """
    matrix, offset, whole = _step(source, affine)
    if whole is not None:
        return _crop_or_pad(voxels, shape, whole, background)
    reach = np.linalg.norm(matrix, axis=1)  # grid steps in source voxels, by source axis
    sigma = np.sqrt(np.maximum(reach**2 - 1, 0)) / np.sqrt(8 * np.log(2))
    voxels = np.asarray(voxels, np.float32)
    if background:
        # Sums of zeros are 0 exactly; sums of -1000 are not -1000, and no mask would find them.
        voxels = voxels - np.float32(background)
    if reach.max() > 1.01:
        voxels = ndimage.gaussian_filter(voxels, sigma, mode="nearest", truncate=3)
    if np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-6):
        matrix = np.diag(matrix)
    volume = ndimage.affine_transform(
        voxels, matrix, offset, shape, np.float32, order=1, mode="grid-constant"
    )
    return volume + np.float32(background) if background else volume


def inside(available, source, shape, affine):
    """Returns the share of a grid's voxels whose centre lies in a scan's field of view.

    Args:
        available: The scan's shape (A, B, C).
        source: Its affine [4, 4].
        shape: The grid's shape (X, Y, Z).
        affine: Its affine [4, 4].
    """
    matrix, offset, whole = _step(source, affine)
    if whole is not None:
        matrix, offset = np.eye(3), whole
    places = np.ogrid[tuple(slice(0, side) for side in shape)]
    within = np.True_
    for row, start, side in zip(matrix, offset, available, strict=True):
        steps = (np.float64(m) * p for m, p in zip(row, places, strict=True) if abs(m) > 1e-9)
        index = start + sum(steps, np.zeros((1, 1, 1)))
        # Of centres on both edges one counts, so that n voxels are worth n.
        within = within & (index >= -0.5 - 1e-6) & (index < side - 0.5 - 1e-6)
    return float(np.broadcast_to(within, shape).mean())


def _step(source, affine):
    """Returns (matrix [3, 3], offset [3]) from grid to source index, and whole voxels if that."""
    step = np.linalg.inv(source) @ affine
    matrix, offset = step[:3, :3], step[:3, 3]
    if np.allclose(matrix, np.eye(3), atol=1e-4):
        whole = np.floor(offset + SNAP_MM)
        spacing = np.linalg.norm(source[:3, :3], axis=0)
        if (np.abs(whole - offset) * spacing).max() <= SNAP_MM:
            return matrix, offset, whole.astype(int)
    return matrix, offset, None


def _crop_or_pad(voxels, shape, offset, background):
    volume = np.full(shape, background, np.float32)
    into, out_of = [], []
    for side, available, start in zip(shape, voxels.shape, offset, strict=True):
        low, high = max(0, -start), min(side, available - start)
        into.append(slice(low, max(low, high)))
        out_of.append(slice(low + start, max(low, high) + start))
    volume[tuple(into)] = voxels[tuple(out_of)]
    return volume
