"""The volume that bytes mean, voxel by voxel in float64: slow, plain, and apart from harmjax.

`volume` says where every voxel of the box comes from; `decoded` reads what mutated bytes mean by
the standard, or says that nobody may read them.
"""

import itertools
import struct

import numpy as np
from scipy.spatial import transform

from tests.fuzz import forge

DTYPES = {code: name for name, code in forge.CODES.items()}


class Refusal(Exception):
    """Bytes that have no meaning, or more than one."""


def background(voxels):
    """The value of more than half of the faces' voxels, else their lower quartile."""
    faces = [np.take(voxels, at, axis).ravel().tolist() for axis in range(3) for at in (0, -1)]
    ranked = sorted(itertools.chain.from_iterable(faces))
    middle = ranked[(len(ranked) - 1) // 2]
    common = 2 * ranked.count(middle) > len(ranked)
    return middle if common else ranked[(len(ranked) - 1) // 4]


def volume(voxels, source, shape, affine):
    """Returns (volume [X, Y, Z] float64, the share of it inside the field of view: least, most).

    Args:
        voxels: [A, B, C] in any orientation.
        source: [4, 4] from their index to mm.
        shape: the grid's.
        affine: the grid's, to mm.
    """
    fill = background(voxels)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    at = (place - source[:3, 3]) @ np.linalg.inv(source[:3, :3]).T
    beyond = np.maximum(-0.5 - at, at - np.array(voxels.shape) + 0.5).max(1)
    whole = _whole(at, source, affine)
    values = voxels.astype(np.float64) - fill
    if whole is None:
        values = _blurred(values, source, affine)
    else:
        at = whole
    low = np.floor(at).astype(int)
    found = np.zeros(len(at))
    for corner in itertools.product((0, 1), repeat=3):
        where = low + corner
        weight = np.prod(np.where(corner, at - low, 1 - (at - low)), axis=1)
        known = ((where >= 0) & (where < voxels.shape)).all(1)
        found[known] += weight[known] * values[tuple(where[known].T)]
    share = np.mean(beyond < -1e-5), np.mean(beyond < 1e-5)
    return found.reshape(shape) + fill, share


def _whole(at, source, affine):
    """The indices moved to whole voxels where axes and sizes agree and half a mm does, or None."""
    turn = np.linalg.inv(source[:3, :3]) @ affine[:3, :3]
    if np.abs(np.abs(turn) - np.rint(np.abs(turn))).max() > 1e-4 or np.abs(turn).max() > 1.5:
        return None
    size = np.linalg.norm(source[:3, :3], axis=0)
    axis = np.abs(turn).argmax(1)
    sign = np.sign(turn[np.arange(3), axis])
    # Halves are rounded towards the right, the front and the top.
    moved = np.where(sign > 0, np.floor(at + 0.501), np.ceil(at - 0.501))
    return moved if (np.abs(moved - at)[0] * size <= 0.501).all() else None


def _blurred(values, source, affine):
    step = np.linalg.inv(source[:3, :3]) @ affine[:3, :3]
    reach = np.sqrt((step**2).sum(1))
    if reach.max() <= 1.01:
        return values
    for axis in range(3):
        sd = np.sqrt(max(reach[axis] ** 2 - 1, 0) / (8 * np.log(2)))
        far = int(3 * sd + 0.5)
        taps = np.exp(-0.5 * (np.arange(-far, far + 1) / (sd or 1)) ** 2)
        side = values.shape[axis]
        total = 0
        for k, weight in zip(range(-far, far + 1), taps / taps.sum(), strict=True):
            total = total + weight * values.take(np.clip(np.arange(side) + k, 0, side - 1), axis)
        values = total
    return values


def decoded(head, body=None):
    """Returns (voxels [A, B, C] float64, affine [4, 4] in mm) that a file's bytes mean.

    Args:
        head: the content of a .nii, or of a pair's header.
        body: the content of a pair's .img.

    Raises:
        Refusal: for what the standard forbids, and for what leaves left and right open.
    """
    field, order, version = _header(head)
    single = field["magic"][1:2] == b"+"
    _refuse(single != (body is None), "magic and name differ")
    shape = _shape(field["dim"])
    _refuse(field["datatype"] not in DTYPES, "datatype")
    dtype = np.dtype(order + DTYPES[field["datatype"]])
    start = field["vox_offset"]
    least = (352, 544)[version - 1] if single else 0
    _refuse(not (start >= least and np.isfinite(start) and start == int(start)), "vox_offset")
    stored = (head if single else body)[int(start) :]
    size = dtype.itemsize * int(np.prod(shape))
    _refuse(len(stored) < size, "too short")
    _refuse(len(stored) > size, "too long")
    voxels = np.frombuffer(stored[:size], dtype).reshape(shape[::-1]).transpose()
    voxels = _scaled(voxels.astype(np.float64), field["scl_slope"], field["scl_inter"])
    _refuse(not np.isfinite(voxels.astype(np.float32)).all(), "voxels")
    return voxels.astype(np.float32).astype(np.float64), _affine(field)


def _refuse(wrong, what):
    if wrong:
        raise Refusal(what)


def _header(head):
    for order, version in itertools.product("<>", (1, 2)):
        size = (348, 540)[version - 1]
        if len(head) < size or struct.unpack_from(order + "i", head)[0] != size:
            continue
        field = {}
        for name, (form, at) in forge.FIELDS[version - 1].items():
            value = struct.unpack_from(order + form, head, at)
            field[name] = value if len(value) > 1 else value[0]
        known = (b"n+1\0", b"ni1\0"), (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")
        _refuse(field["magic"] not in known[version - 1], "magic")
        return field, order, version
    raise Refusal("sizeof_hdr")


def _shape(dim):
    _refuse(not 3 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1, "dim")
    _refuse(any(side != 1 for side in dim[4 : dim[0] + 1]), "dim: a series")
    return dim[1:4]


def _scaled(voxels, slope, inter):
    if slope == 0 or (np.isnan(slope) and (np.isnan(inter) or inter == 0)):
        return voxels
    _refuse(not (np.isfinite(slope) and np.isfinite(inter)), "scl")
    return voxels * slope + inter


def _affine(field):
    code = field["xyzt_units"] % 8
    _refuse(code > 3, "xyzt_units")
    mm = (1, 1000, 1, 0.001)[code]
    forms = {}
    for name in ("sform", "qform"):
        _refuse(not 0 <= field[f"{name}_code"] <= 5, "code")
    zooms = np.array(field["pixdim"][1:4])
    _refuse(not (np.isfinite(zooms).all() and (zooms > 0).all()), "pixdim")
    if field["qform_code"]:
        b, c, d = field["quatern"]
        square = b * b + c * c + d * d
        _refuse(not square <= 1 + 2e-6, "quatern")
        _refuse(field["pixdim"][0] not in (-1, 0, 1), "qfac")
        turn = transform.Rotation.from_quat([b, c, d, np.sqrt(max(0, 1 - square))]).as_matrix()
        forms["q"] = np.eye(4)
        forms["q"][:3, :3] = turn * zooms
        forms["q"][:3, 2] *= -1 if field["pixdim"][0] == -1 else 1
        forms["q"][:3, 3] = field["qoffset"]
    if field["sform_code"]:
        forms["s"] = np.vstack([np.reshape(field["srow"], (3, 4)), (0, 0, 0, 1)])
    _refuse(not forms, "no orientation")
    for found in forms.values():
        _refuse(not np.isfinite(found).all(), "not finite")
        found[:3] *= mm
    signs = {np.sign(np.linalg.det(found[:3, :3])) for found in forms.values()}
    _refuse(0 in signs or len(signs) > 1, "handedness")
    return forms["s"] if "s" in forms else forms["q"]
