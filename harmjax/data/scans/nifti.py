"""Brain scans as NIfTI files: writing, and reading onto the model's grid.

The model sees a fixed box of 160 x 192 x 160 mm in MNI space. Its edges do not move with the voxel
size, so a scan at 4 mm shows the same head as one at 1 mm.
"""

import gzip
import pathlib
from typing import NamedTuple

import ml_dtypes
import nibabel as nib
import numpy as np

from harmjax import plugins, workdirs
from harmjax.data.scans import intensity, orientation, resampling, scanfile, voxels

BOX_MM = (160.0, 192.0, 160.0)
CORNER_MM = (-80.0, -112.0, -72.0)
# A scan registered to MNI has its field of view near the box; one further away is not registered.
FAR_MM = 50.0
ALIGNMENTS = ("world", "centre")
# A field of view that ends closely around a brain is three quarters of the box.
LEAST_INSIDE, WHOLE_INSIDE = 0.5, 0.9
# Between the .5th and the 99.5th percentile, of the scan's own: what a smear of a few voxels lacks.
LEAST_CONTRAST = 0.05
RANGE = (0.5, 99.5)


class Scan(NamedTuple):
    """One scan on the model's grid, and what is known about it."""

    volume: np.ndarray  # [X, Y, Z] float32, intensities as in the file
    background: float  # what surrounds the head in this scan, and fills the box outside it
    inside: float  # share of the box's voxels whose centre lies in the scan's field of view
    digest: str  # see `digest`
    notices: tuple[str, ...]  # why a person should look at a scan that is used


def write(path, array, affine):
    """Returns the path of a NIfTI file written in one step: complete under its name, or not there.

    The same input gives the same bytes (no time stamp in the gzip header).

    Args:
        path: File name ending in `.nii` or `.nii.gz`; missing folders are made.
        array: Voxels [X, Y, Z]; bool becomes uint8, bfloat16 and float64 become float32.
        affine: [4, 4] from voxel index to mm (RAS).

    Raises:
        ValueError: For another file ending, or an array that is not three-dimensional.

    Example:
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
    workdirs.write(path, content)
    return path


def grid(spacing_mm):
    """Returns the shape and the affine [4, 4] of the model's grid at one voxel size.

    Args:
        spacing_mm: Side of a voxel in mm, 0.5 to 16. Where it does not divide the box, the last
            voxel is rounded away or filled up; the corner stays.

    Raises:
        ValueError: For a spacing outside that range.

    Example:
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


def load(path, shape, affine, *, align="world"):
    """Returns one `Scan` on the model's grid.

    A scan that already has the grid's voxel size and axes is cropped or padded by whole voxels, a
    shift of at most half a millimetre; any other is smoothed as far as the coarser voxels
    require and interpolated linearly. Outside the scan's field of view the result is the scan's own
    background (`intensity.surrounding`): 0 for a skull-stripped scan, -1000 for CT in Hounsfield
    units, where 0 would be water and look like brain.

    Args:
        path: A NIfTI file with three axes (further axes of length 1 are dropped): .nii or .nii.gz,
            or either file of a pair .hdr/.img, each compressed or not.
        shape: Three sides of the grid in voxels, from `grid`.
        affine: [4, 4] from the grid's voxel index to mm, from `grid`.
        align: 'world' trusts the file's affine (scans registered to MNI); 'centre' keeps its
            orientation and voxel size and puts its field of view's centre at the box's centre.

    Raises:
        ValueError: Naming the defect and the remedy, whatever is wrong: the file (missing, of
            another kind, truncated, damaged), a field of its header, its voxels (NaN, infinite,
            constant), or what the box would show of it (a field of view far from the box with
            'world', less than half of the box, hardly any contrast).
    """
    plugins.one_of("align", align, ALIGNMENTS)
    return _guarded(_load, path, shape, affine, align)


def digest(path):
    """Returns what identifies the content that is read, two hexadecimal words joined by '.'.

    The first is the BLAKE2b of shape and voxels (canonical axes, float32), the same for an image
    copied, linked, compressed again or saved with other texts in its header; the second that of its
    place in mm, to a ten-thousandth. It does not depend on the grid.

    Raises:
        ValueError: Where the voxels or the orientation cannot be read.
    """
    return _guarded(lambda: voxels.digest(*voxels.canonical(path)[1:]))


def image_digest(digest):
    """Returns the part of a `digest` that tells one image from another, wherever it lies.

    Example:
        >>> image_digest("f00d.beef")
        'f00d'
    """
    return digest.split(".")[0]


def files(path):
    """Returns the paths of the files that reading a scan opens: two for a pair, else one."""
    return scanfile.files(path)


def _guarded(function, *args):
    """Returns `function(*args)`; whatever else is raised becomes a ValueError in words."""
    try:
        with np.errstate(all="ignore"):  # every number is checked where it is used
            return function(*args)
    except ValueError:
        raise
    except MemoryError:
        raise ValueError(
            "not enough memory to read it: read fewer at once, or resample it"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot be read ({reason}): make it readable, or copy it") from None
    except Exception as error:
        raise ValueError(f"cannot be read ({type(error).__name__}: {error})") from error


def _load(path, shape, affine, align):
    header, values, source = voxels.canonical(path)
    notices = orientation.agreement(header, align)
    found = voxels.digest(values, source)
    voxels.check(values)
    offset = _middle(source, values.shape) - _middle(affine, shape)
    if align == "centre":
        source = source.copy()
        source[:3, 3] -= offset
    elif np.abs(offset).max() > FAR_MM:
        raise ValueError(
            f"the field of view is centred {np.round(offset).astype(int).tolist()} mm off the "
            "model's box: register the scan to MNI space or read with align='centre'"
        )
    inside = resampling.inside(values.shape, source, shape, affine)
    if inside < LEAST_INSIDE:
        raise ValueError(
            f"the field of view covers {inside:.0%} of the model's box, less than "
            f"{LEAST_INSIDE:.0%}: use a scan of the whole head"
        )
    if inside < WHOLE_INSIDE:
        notices += (f"the field of view covers {inside:.0%} of the model's box",)
    background = intensity.surrounding(values)
    volume = resampling.resample(values, source, shape, affine, background)
    _contrasted(volume, values)
    return Scan(volume, background, inside, found, notices)


def _contrasted(volume, values):
    low, high = _range(volume)
    if low == high:
        share = 1 - np.mean(volume == low)
        raise ValueError(
            f"only {share:.2%} of the voxels inside the model's box differ from {low:g}: look at "
            "the scan, its field of view or its masking is wrong"
        )
    least, most = _range(values)
    if high - low < LEAST_CONTRAST * (most - least):
        raise ValueError(
            f"the model's box shows {(high - low) / (most - least):.1%} of the scan's contrast "
            f"({low:g} to {high:g} of {least:g} to {most:g}): look at the scan, its voxel size "
            "(pixdim, srow) or its place is wrong"
        )


def _range(values):
    # Every second or third voxel of a fine scan tells as much, in a tenth of the time.
    step = tuple(slice(None, None, max(1, side // 64)) for side in values.shape)
    return np.percentile(values[step], RANGE)


def _middle(affine, shape):
    return affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3]
