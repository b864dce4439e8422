"""What a NIfTI header says: sizes, units and orientation, refused by field where they contradict.

The header is parsed here, and not by nibabel, which mends some fields in silence (unknown codes,
negative voxel sizes) and ignores the unit. References: Cox et al., NIfTI-1, 2004; NIfTI-2, 2011,
nifti.nimh.nih.gov.
"""

import struct
from typing import NamedTuple

import numpy as np

from harmjax.data.scans import orientation, scanfile

# name: (format and offset in NIfTI-1, in NIfTI-2)
FIELDS = {
    "dim": ("8h", 40, "8q", 16),
    "datatype": ("h", 70, "h", 12),
    "pixdim": ("8f", 76, "8d", 104),
    "vox_offset": ("f", 108, "q", 168),
    "scl_slope": ("f", 112, "d", 176),
    "scl_inter": ("f", 116, "d", 184),
    "xyzt_units": ("B", 123, "i", 500),
    "qform_code": ("h", 252, "i", 344),
    "sform_code": ("h", 254, "i", 348),
    "quatern": ("3f", 256, "3d", 352),
    "qoffset": ("3f", 268, "3d", 376),
    "srow": ("12f", 280, "12d", 400),
}
DTYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
OTHER_DTYPES = {
    **{0: "unknown", 1: "binary", 32: "complex64", 128: "RGB", 1536: "float128"},
    **{1792: "complex128", 2048: "complex256", 2304: "RGBA"},
}
UNITS = {0: ("unknown", 1.0), 1: ("metres", 1e3), 2: ("mm", 1.0), 3: ("microns", 1e-3)}
MOST_VOXELS = 1024**3


class Header(NamedTuple):
    """The fields that decide what is read, lengths in mm."""

    shape: tuple[int, int, int]
    dtype: np.dtype  # as stored, with its byte order
    offset: int  # bytes before the first voxel
    slope: float  # voxel = stored * slope + inter
    inter: float
    unit: str  # as xyzt_units says
    pixdim: np.ndarray  # [3] voxel sizes
    qfac: float  # pixdim[0], the direction of the qform's third axis
    sform_code: int
    qform_code: int
    sform: np.ndarray | None  # [4, 4] voxel index to mm (RAS), None where its code is 0
    qform: np.ndarray | None  # the same from the quaternion


def parse(content, single):
    """Returns the `Header`.

    Args:
        content: The first 540 bytes of the header's file, at least 348.
        single: Whether the voxels follow in the same file, else they lie in an .img.

    Raises:
        ValueError: Naming the field, its value and the remedy; or what the file is instead.
    """
    order, version = _version(content, single)
    field = _fields(content, order, version)
    shape = _shape(field["dim"])
    dtype = _dtype(field["datatype"]).newbyteorder(order)
    slope, inter = _scaling(field["scl_slope"], field["scl_inter"])
    code = field["xyzt_units"] & 7
    if code not in UNITS:
        raise ValueError(
            f"xyzt_units: {code} is no unit of length: set 1 (metres), 2 (mm) or 3 (microns)"
        )
    unit, mm = UNITS[code]
    pixdim = np.array(field["pixdim"][1:4]) * mm
    if not (np.isfinite(pixdim) & (pixdim > 0)).all():
        raise ValueError(
            f"pixdim: voxel sizes {orientation.listed(field['pixdim'][1:4])}, expected positive "
            "numbers: convert the scan again"
        )
    for name in ("sform_code", "qform_code"):
        if field[name] not in (0, *orientation.SPACES):
            raise ValueError(f"{name} is {field[name]}, expected 0 to 5: convert the scan again")
    sform = orientation.sform(field["srow"], mm) if field["sform_code"] else None
    qform = orientation.qform(field, pixdim, mm) if field["qform_code"] else None
    offset = _offset(field["vox_offset"], single, version)
    codes = field["sform_code"], field["qform_code"]
    sizes = pixdim, field["pixdim"][0]
    return Header(shape, dtype, offset, slope, inter, unit, *sizes, *codes, sform, qform)


def _version(content, single):
    """Returns (byte order, 1 or 2)."""
    for version, size, at in ((1, 348, 344), (2, 540, 4)):
        for order in "<>":
            if content[:4] != struct.pack(order + "i", size):
                continue
            if len(content) < size:
                raise ValueError(
                    f"the header is truncated: {len(content)} of {size} bytes: copy it again"
                )
            if version == 1 and content[at : at + 4] in (b"n+1\0", b"ni1\0"):
                _is_single(content[at : at + 3], single)
                return order, 1
            if version == 2 and content[at : at + 8] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n"):
                _is_single(content[at : at + 3], single)
                return order, 2
            magic = bytes(content[at : at + 4])
            if version == 1 and magic == bytes(4):
                raise ValueError(
                    "Analyze 7.5 (magic is empty), whose left and right are unknown: convert the "
                    "original DICOM series with dcm2niix"
                )
            raise ValueError(f"magic is {magic!r}: not NIfTI, or damaged: copy or convert it again")
    if content[344:348] in (b"n+1\0", b"ni1\0") or content[4:7] in (b"n+2", b"ni2"):
        size = int.from_bytes(content[:4], "little")
        raise ValueError(f"sizeof_hdr is {size}, expected 348 or 540: copy or convert it again")
    what, remedy = scanfile.kind(content)
    raise ValueError(f"{what}: {remedy}")


def _is_single(magic, single):
    if (magic[1:2] == b"+") != single:
        told, named = ("a pair", ".nii") if single else ("one file", ".hdr/.img")
        raise ValueError(
            f"magic {magic.decode()!r} says the voxels lie in {told}, the name says {named}: "
            "convert the scan again"
        )


def _fields(content, order, version):
    found = {}
    for name, (form1, at1, form2, at2) in FIELDS.items():
        form, at = (form1, at1) if version == 1 else (form2, at2)
        values = struct.unpack_from(order + form, content, at)
        found[name] = values if len(values) > 1 else values[0]
    return found


def _shape(dim):
    if not 1 <= dim[0] <= 7:
        raise ValueError(f"dim[0] is {dim[0]}, expected 3 axes: copy or convert it again")
    shape = dim[1 : 1 + dim[0]]
    if min(shape) < 1:
        raise ValueError(f"dim: shape {shape}, expected positive sides: convert the scan again")
    if len(shape) < 3 or any(side != 1 for side in shape[3:]):
        raise ValueError(f"dim: shape {shape}, expected one 3-D volume: extract it from the series")
    if shape[0] * shape[1] * shape[2] > MOST_VOXELS:
        raise ValueError(
            f"dim: shape {shape[:3]} has more than {MOST_VOXELS:,} voxels: copy the scan again, or "
            "resample it"
        )
    return tuple(shape[:3])


def _dtype(code):
    if code not in DTYPES:
        raise ValueError(
            f"datatype is {code} ({OTHER_DTYPES.get(code, 'not of NIfTI')}), expected one whole or "
            "real number per voxel: convert the scan"
        )
    return np.dtype(DTYPES[code])


def _scaling(slope, inter):
    """Returns (slope, inter); a slope of 0 means none, and NaN for both is how none is written."""
    if slope == 0 or (np.isnan(slope) and (np.isnan(inter) or inter == 0)):
        return 1.0, 0.0
    if not np.isfinite(slope) or not np.isfinite(inter):
        raise ValueError(
            f"scl_slope {slope:g} with scl_inter {inter:g}: expected two finite numbers, or 0 "
            "for none: convert the scan again"
        )
    return float(slope), float(inter)


def _offset(offset, single, version):
    least = (352 if version == 1 else 544) if single else 0
    if not least <= offset < 2**40 or offset != int(offset):
        raise ValueError(
            f"vox_offset is {offset:g}, expected a whole number from {least}: convert it again"
        )
    return int(offset)
