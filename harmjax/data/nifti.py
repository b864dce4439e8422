"""Brain scans as NIfTI files: writing, and reading onto the model's grid.

The model sees a fixed box of 160 x 192 x 160 mm in MNI space. Its edges do not move with the voxel
size, so a scan at 4 mm shows the same head as one at 1 mm.
"""

import gzip
import os
import pathlib
import zlib

import ml_dtypes
import nibabel as nib
import numpy as np
from scipy import ndimage

BOX_MM = (160.0, 192.0, 160.0)
CORNER_MM = (-80.0, -112.0, -72.0)
# A scan registered to MNI has its field of view near the box; one further away is not registered.
FAR_MM = 50.0
# Whole-voxel crops keep intensities as they were; interpolating for less than this would blur them.
SNAP_MM = 0.5 + 1e-3
ALIGNMENTS = ("world", "centre")


def write(path, array, affine):
    """Returns the path of a NIfTI file written in one step: complete under its name, or not there.

    The same input gives the same bytes (no time stamp in the gzip header).

    Args:
        path: file name ending in `.nii` or `.nii.gz`; missing folders are made.
        array: voxels [X, Y, Z]; bool becomes uint8, bfloat16 and float64 become float32.
        affine: [4, 4] from voxel index to mm (RAS).

    Raises:
        ValueError: for another file ending, or an array that is not three-dimensional.

    >>> import tempfile
    >>> name = pathlib.Path(tempfile.mkdtemp()) / "a.nii.gz"
    >>> nib.load(write(name, np.ones((2, 3, 4), np.uint8), np.eye(4))).shape
    (2, 3, 4)
    """
    path = pathlib.Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path}: a scan's file name must end in .nii or .nii.gz")
    array = np.asarray(array)
    if array.ndim != 3:
        raise ValueError(f"{path}: a scan has three axes, got shape {array.shape}")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype in (np.float64, np.float16, ml_dtypes.bfloat16):
        array = array.astype(np.float32)
    image = nib.Nifti1Image(array, np.asarray(affine, np.float64), dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=1, mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def grid(spacing_mm):
    """Returns the shape and the affine [4, 4] of the model's grid at one voxel size.

    Args:
        spacing_mm: side of a voxel in mm, 0.5 to 16. Where it does not divide the box, the last
            voxel is rounded away or filled up; the corner stays.

    Raises:
        ValueError: for a spacing outside that range.

    >>> shape, affine = grid(2)
    >>> shape, affine[:3, 3].tolist()
    ((80, 96, 80), [-79.0, -111.0, -71.0])
    """
    spacing = float(spacing_mm)
    if not 0.5 <= spacing <= 16:
        raise ValueError(f"spacing={spacing_mm} mm: expected a voxel size from 0.5 to 16 mm")
    shape = tuple(int(side / spacing + 0.5) for side in BOX_MM)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(CORNER_MM) + spacing / 2
    return shape, affine


def read(path, shape, affine, *, align="world"):
    """Returns one scan on the model's grid: float32 [X, Y, Z], intensities as in the file.

    A scan that already has the grid's voxel size and axes is cropped or padded by whole voxels, a
    shift of at most half a millimetre; any other is smoothed as far as the coarser voxels
    require and interpolated linearly. Outside the scan's field of view the result is 0.

    Args:
        path: a NIfTI file with three axes (further axes of length 1 are dropped).
        shape: three sides of the grid in voxels, from `grid`.
        affine: [4, 4] from the grid's voxel index to mm, from `grid`.
        align: 'world' trusts the file's affine (scans registered to MNI); 'centre' keeps its
            orientation and voxel size and puts its field of view's centre at the box's centre.

    Raises:
        ValueError: naming the defect and the remedy, for a file that is missing, truncated or not
            NIfTI, has a fourth axis, a singular affine, NaN, infinite or constant voxels, or
            (with 'world') no orientation or a field of view far from the box.
    """
    if align not in ALIGNMENTS:
        raise ValueError(f"align={align!r}: known are {', '.join(ALIGNMENTS)}")
    image = _open(path)
    source = _source_affine(image)
    oriented = int(image.header["sform_code"]) or int(image.header["qform_code"])
    voxels = _voxels(image, pathlib.Path(path))
    image = nib.as_closest_canonical(nib.Nifti1Image(voxels, source))
    voxels, source = np.asarray(image.dataobj), image.affine
    middle = _middle(affine, shape)
    offset = _middle(source, voxels.shape) - middle
    if align == "centre":
        source = source.copy()
        source[:3, 3] -= offset
    else:
        if not oriented:
            raise ValueError(
                "the header has no orientation (sform and qform codes are 0): register the scan to "
                "MNI space or read with align='centre'"
            )
        if np.abs(offset).max() > FAR_MM:
            raise ValueError(
                f"the field of view is centred {np.round(offset).astype(int).tolist()} mm off the "
                "model's box: register the scan to MNI space or read with align='centre'"
            )
    volume = resample(voxels, source, shape, affine)
    if volume.min() == volume.max():
        raise ValueError(f"every voxel inside the model's box is {volume.flat[0]:g}")
    return volume


def resample(voxels, source, shape, affine):
    """Returns voxels [A, B, C] with affine `source` on another grid: float32 [X, Y, Z], 0 outside.

    Before down-sampling each source axis is smoothed by a Gaussian whose full width at half
    maximum is sqrt(t^2 - s^2) for target and source voxel sizes t and s, so that a voxel of the
    result averages what a coarser scanner would have averaged.
    """
    step = np.linalg.inv(source) @ affine  # grid index to source index
    matrix, offset = step[:3, :3], step[:3, 3]
    if np.allclose(matrix, np.eye(3), atol=1e-4):
        whole = np.floor(offset + SNAP_MM)
        spacing = np.linalg.norm(source[:3, :3], axis=0)
        if (np.abs(whole - offset) * spacing).max() <= SNAP_MM:
            return _crop_or_pad(voxels, shape, whole.astype(int))
    reach = np.linalg.norm(matrix, axis=1)  # grid steps in source voxels, by source axis
    sigma = np.sqrt(np.maximum(reach**2 - 1, 0)) / np.sqrt(8 * np.log(2))
    voxels = np.asarray(voxels, np.float32)
    if reach.max() > 1.01:
        voxels = ndimage.gaussian_filter(voxels, sigma, mode="nearest", truncate=3)
    if np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-6):
        matrix = np.diag(matrix)
    return ndimage.affine_transform(
        voxels, matrix, offset, shape, np.float32, order=1, mode="grid-constant"
    )


def _open(path):
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError("no such file: check the path, or copy the scan there")
    try:
        image = nib.load(path)
    except (nib.filebasedimages.ImageFileError, EOFError, OSError, zlib.error, ValueError) as error:
        raise ValueError(f"not a readable NIfTI file ({error}): convert or copy it again") from None
    if not isinstance(image, nib.Nifti1Pair):
        raise ValueError(f"a {type(image).__name__}, not NIfTI: convert it to .nii.gz")
    return image


def _source_affine(image):
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError(
            "the affine is singular or not finite, so voxels have no place in mm: repair the "
            "header's sform and qform"
        )
    return affine


def _voxels(image, path):
    shape = image.shape
    if len(shape) < 3 or any(side != 1 for side in shape[3:]):
        raise ValueError(f"shape {shape}: expected one 3-D volume; extract it from the series")
    if image.get_data_dtype().kind not in "iuf":
        raise ValueError(f"voxels of type {image.get_data_dtype()}: expected one number per voxel")
    try:
        if path.suffix == ".gz":
            # Decompressing to the end compares the checksum, which reading the voxels alone skips.
            image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
        voxels = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:3])
    except (EOFError, OSError, zlib.error, ValueError) as error:
        raise ValueError(f"the file is truncated or damaged ({error}): copy it again") from None
    low, high = voxels.min(initial=np.inf), voxels.max(initial=-np.inf)
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(voxels.size - np.isfinite(voxels).sum())
        raise ValueError(f"{bad} voxels are NaN or infinite: repair or export the scan again")
    if low == high:
        raise ValueError(f"every voxel is {low:g}: the scan is empty")
    return voxels


def _middle(affine, shape):
    return affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3]


def _crop_or_pad(voxels, shape, offset):
    volume = np.zeros(shape, np.float32)
    into, out_of = [], []
    for side, available, start in zip(shape, voxels.shape, offset, strict=True):
        low, high = max(0, -start), min(side, available - start)
        into.append(slice(low, max(low, high)))
        out_of.append(slice(low + start, max(low, high) + start))
    volume[tuple(into)] = voxels[tuple(out_of)]
    return volume
