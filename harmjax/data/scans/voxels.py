"""The voxels of a scan's file and what identifies them, whatever grid they are then read onto."""

import contextlib
import hashlib
import pathlib

import nibabel as nib
import numpy as np

from harmjax.data.scans import headers, orientation, scanfile

# What float32 resolves between the darkest and the brightest voxel, as many levels as one byte has.
FEWEST_STEPS = 256


def canonical(path):
    """Returns (header, voxels [A, B, C] float32, affine [4, 4]), the axes as near RAS as can be.

    Raises:
        ValueError: Naming the defect of the file, or the field of its header, and the remedy.
    """
    header_path, voxels_path = scanfile.parts(path)
    with _naming(header_path, path):
        single = header_path == voxels_path
        header = headers.parse(scanfile.head(header_path), single)
        affine = orientation.affine(header)
    with _naming(voxels_path, path):
        voxels = _stored(header, voxels_path)
    turn = nib.io_orientation(affine)
    turned = nib.apply_orientation(voxels, turn)
    return header, turned, affine @ nib.orientations.inv_ornt_aff(turn, voxels.shape)


def digest(voxels, affine):
    """Returns the digest of voxels on canonical axes and of where they lie, see `nifti.digest`."""
    image = hashlib.blake2b(repr(voxels.shape).encode(), digest_size=16)
    image.update(np.ascontiguousarray(voxels.T).data)
    place = hashlib.blake2b(repr(voxels.shape).encode(), digest_size=8)
    place.update(np.rint(affine[:3] * 1e4).astype("<i8").tobytes())
    return f"{image.hexdigest()}.{place.hexdigest()}"


def check(voxels):
    """Raises ValueError for voxels that are not finite, or hold nothing; returns nothing."""
    low, high = voxels.min(), voxels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(voxels.size - np.isfinite(voxels).sum())
        raise ValueError(
            f"{bad} voxels are NaN or infinite, stored or after scl_slope and scl_inter: repair or "
            "export the scan again"
        )
    if low == high:
        raise ValueError(f"every voxel is {low:g}: the scan is empty")
    if high - low < FEWEST_STEPS * np.spacing(max(abs(low), abs(high))):
        raise ValueError(
            f"voxels from {low:g} to {high:g} lie too far from 0 for their contrast to be kept: "
            "correct scl_inter, or export the scan again"
        )


def _stored(header, path):
    count = int(np.prod(header.shape))
    content = scanfile.body(path, header.offset, count * header.dtype.itemsize)
    stored = content.view(header.dtype).reshape(header.shape, order="F")
    if (header.slope, header.inter) == (1, 0):
        return stored.astype(np.float32)
    voxels = np.empty(header.shape, np.float32, order="F")
    for k in range(header.shape[2]):
        voxels[:, :, k] = stored[:, :, k] * np.float64(header.slope) + header.inter
    return voxels


@contextlib.contextmanager
def _naming(file, listed):
    """Puts a file's name before its defect where it is the other half of a pair."""
    try:
        yield
    except ValueError as error:
        name = pathlib.Path(file).name
        raise ValueError(
            f"{name}: {error}" if file != pathlib.Path(listed) else str(error)
        ) from None
