"""NIfTI files written field by field, so that each can be wrong on its own."""

import gzip
import struct

import numpy as np

# name: (format, offset) in NIfTI-1 and NIfTI-2, from nifti1.h and nifti2.h
FIELDS = (
    {
        "sizeof_hdr": ("i", 0),
        "dim": ("8h", 40),
        "intent_code": ("h", 68),
        "datatype": ("h", 70),
        "bitpix": ("h", 72),
        "slice_start": ("h", 74),
        "pixdim": ("8f", 76),
        "vox_offset": ("f", 108),
        "scl_slope": ("f", 112),
        "scl_inter": ("f", 116),
        "xyzt_units": ("B", 123),
        "cal_max": ("f", 124),
        "descrip": ("80s", 148),
        "qform_code": ("h", 252),
        "sform_code": ("h", 254),
        "quatern": ("3f", 256),
        "qoffset": ("3f", 268),
        "srow": ("12f", 280),
        "intent_name": ("16s", 328),
        "magic": ("4s", 344),
    },
    {
        "sizeof_hdr": ("i", 0),
        "magic": ("8s", 4),
        "datatype": ("h", 12),
        "bitpix": ("h", 14),
        "dim": ("8q", 16),
        "pixdim": ("8d", 104),
        "vox_offset": ("q", 168),
        "scl_slope": ("d", 176),
        "scl_inter": ("d", 184),
        "cal_max": ("d", 192),
        "slice_start": ("q", 224),
        "descrip": ("80s", 240),
        "qform_code": ("i", 344),
        "sform_code": ("i", 348),
        "quatern": ("3d", 352),
        "qoffset": ("3d", 376),
        "srow": ("12d", 400),
        "xyzt_units": ("i", 500),
        "intent_code": ("i", 504),
        "intent_name": ("16s", 508),
    },
)
INERT = ("intent_code", "bitpix", "slice_start", "cal_max", "descrip", "intent_name")
CODES = {
    **{"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64},
    **{"i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280},
}


def fields(voxels, affine, *, version=1, pair=False, sform=1, qform=0, unit=2, per_mm=1.0):
    """Returns the fields of a header that says where `voxels` lie.

    Args:
        voxels: stored array [A, B, C], of a dtype of `CODES`.
        affine: [4, 4] from index to mm.
        version: 1 or 2.
        pair: whether the voxels lie in an .img.
        sform: its code; the matrix is written where it is not 0.
        qform: its code; the quaternion is written where it is not 0, without shear.
        unit: the code in xyzt_units.
        per_mm: units in a mm, 0.001 for metres.
    """
    affine = np.asarray(affine, np.float64) * per_mm
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    b, c, d, qfac = quaternion(affine[:3, :3] / zooms)
    start = 0 if pair else (352, 544)[version - 1]
    name = b"ni" if pair else b"n+"
    return {
        "sizeof_hdr": (348, 540)[version - 1],
        "magic": name + (b"1\0" if version == 1 else b"2\0\r\n\x1a\n"),
        "dim": (3, *voxels.shape, 1, 1, 1, 1),
        "datatype": CODES[voxels.dtype.str[1:]],
        "bitpix": 8 * voxels.dtype.itemsize,
        "pixdim": (qfac, *zooms, 0, 0, 0, 0),
        "vox_offset": start,
        "scl_slope": 1.0,
        "scl_inter": 0.0,
        "xyzt_units": unit,
        "sform_code": sform,
        "qform_code": qform,
        "srow": tuple(affine[:3].ravel()) if sform else (0.0,) * 12,
        "quatern": (b, c, d) if qform else (0.0,) * 3,
        "qoffset": tuple(affine[:3, 3]) if qform else (0.0,) * 3,
    }


def quaternion(turn):
    """Returns (b, c, d, qfac) of a matrix of orthonormal columns [3, 3], by its eigenvector."""
    qfac = 1.0 if np.linalg.det(turn) > 0 else -1.0
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn * (1, 1, qfac)
    matrix = [  # Bar-Itzhack 2000, doi 10.2514/2.4654
        [xx - yy - zz, yx + xy, zx + xz, zy - yz],
        [yx + xy, yy - xx - zz, zy + yz, xz - zx],
        [zx + xz, zy + yz, zz - xx - yy, yx - xy],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz],
    ]
    b, c, d, a = np.linalg.eigh(np.array(matrix))[1][:, -1]
    return (*np.array([b, c, d]) * (1 if a >= 0 else -1), qfac)


def header(values, *, order="<", version=1):
    """Returns the bytes of a header, with the four of the (absent) extensions."""
    content = bytearray((352, 544)[version - 1])
    for name, value in values.items():
        form, at = FIELDS[version - 1][name]
        value = value if isinstance(value, tuple) else (value,)
        struct.pack_into(order + form, content, at, *value)
    return bytes(content)


def stored(voxels, order="<"):
    """Returns the bytes of an array, first axis fastest."""
    return voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")


def write(path, head, body, *, packed=False):
    """Returns the path; .hdr and .img are written where the name ends in .img."""
    squeeze = gzip.compress if packed else bytes
    if ".img" in path.name:
        path.with_name(path.name.replace(".img", ".hdr")).write_bytes(squeeze(head))
        path.write_bytes(squeeze(body))
    else:
        path.write_bytes(squeeze(head + body))
    return path
