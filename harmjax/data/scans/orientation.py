"""Where a scan's voxels lie in mm, and which side is left: never guessed."""

import numpy as np

SPACES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "another template"}
# A shorter field of view shows less than a fifth of the box (100^3 of 160 x 192 x 160 mm), a longer
# one is no head: scanners' bores are 0.6 to 0.7 m wide.
SIDE_MM = (100.0, 1000.0)
VOXEL_MM = (0.05, 25.0)
OFFSET_MM = 10_000.0
# Registration to a template scales a head by up to a third; beyond, one of two sizes is wrong.
LARGEST_SCALE = 1.4
SAME_SCALE = 1.01
# Rounding moves a corner by hundredths of a mm; 5 mm exceeds any voxel that the model is shown.
SAME_PLACE_MM = 5.0
# A turn by 180 degrees has a = sqrt(1 - b^2 - c^2 - d^2) = 0; the rounding of b, c, d to float32
# alone would make it .1 degrees of another axis.
HALF_TURN = 4e-7
# cos 60 degrees: a gantry tilts by at most 30.
LEAST_UPRIGHT = 0.5


def affine(header):
    """Returns [4, 4] from voxel index to mm: the sform where its code is set, else the qform.

    Raises:
        ValueError: Where neither code is set (left and right are unknown), or sizes that no scan of
            a head has.
    """
    if header.sform is None and header.qform is None:
        raise ValueError(
            "no orientation: sform_code and qform_code are 0, so left and right would be guessed: "
            "convert the scan again, or set the code of the form that is known to be right"
        )
    name, found = ("pixdim", header.qform) if header.sform is None else ("srow", header.sform)
    voxel = np.linalg.norm(found[:3, :3], axis=0)
    side = voxel * header.shape
    likely = f"{name} or xyzt_units ({header.unit}) is likely wrong: correct it or convert again"
    if not (VOXEL_MM[0] <= voxel.min() and voxel.max() <= VOXEL_MM[1]):
        raise ValueError(
            f"voxels of {listed(voxel)} mm, expected {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g}: {likely}"
        )
    if not SIDE_MM[0] <= side.max() <= SIDE_MM[1]:
        raise ValueError(
            f"a field of view of {listed(side)} mm, expected a longest side of {SIDE_MM[0]:g} to "
            f"{SIDE_MM[1]:g}: dim, {likely}"
        )
    if np.abs(found[:3, 3]).max() > OFFSET_MM:
        name = "qoffset" if header.sform is None else "srow"
        raise ValueError(
            f"{name} puts the first voxel at {listed(found[:3, 3])} mm, no place in a scanner: "
            "correct it or convert again"
        )
    return found


def agreement(header, align):
    """Returns notices (strings) where sform, qform and pixdim differ and the sform is used.

    Different codes name different spaces (a scanner's, MNI's), so that both may be right; left and
    right are the same in all.

    Args:
        header: A `Header` whose `affine` was accepted.
        align: 'world' or 'centre', which ignores where the field of view lies.

    Raises:
        ValueError: Where they contradict: in handedness, in voxel size by more than
            `LARGEST_SCALE`, or with one code and places more than `SAME_PLACE_MM` apart.
    """
    if header.sform is None:
        told = "pixdim[0] is 0, which the standard reads as 1: make sure that left is left"
        return () if header.qfac else (told,)
    notices = []
    voxel = np.linalg.norm(header.sform[:3, :3], axis=0)
    ratio = np.maximum(voxel / header.pixdim, header.pixdim / voxel).max()
    if ratio > SAME_SCALE:
        told = f"pixdim says voxels of {listed(header.pixdim)} mm, srow of {listed(voxel)} mm"
        if ratio > LARGEST_SCALE:
            raise ValueError(f"{told}: correct the one that is wrong, or convert the scan again")
        notices.append(f"{told}: srow is used")
    if header.qform is not None:
        notices += _place(header, align)
    return tuple(notices)


def _place(header, align):
    if np.linalg.det(header.sform[:3, :3]) * np.linalg.det(header.qform[:3, :3]) < 0:
        raise ValueError(
            "sform (srow) and qform (pixdim[0], quatern) mirror each other, so left and right "
            "would be guessed: correct the wrong one, or set its code to 0"
        )
    centred = align == "centre"
    apart = _apart(header.sform, header.qform, header.shape, centred)
    if apart <= SAME_PLACE_MM:
        return
    spaces = SPACES[header.sform_code], SPACES[header.qform_code]
    # A quaternion cannot hold the shear of a tilted gantry.
    upright = _upright(header.sform)
    if _apart(upright, header.qform, header.shape, centred) <= SAME_PLACE_MM:
        yield f"srow has a shear of {apart:.0f} mm, which the qform cannot hold: srow is used"
    elif header.sform_code == header.qform_code:
        raise ValueError(
            f"sform_code and qform_code are both {header.sform_code} ({spaces[0]}), but they lie "
            f"{apart:.0f} mm apart: correct the wrong one, or set its code to 0"
        )
    elif header.sform_code < 3 <= header.qform_code:
        yield f"the sform ({spaces[0]}) is used, {apart:.0f} mm from the qform ({spaces[1]})"


def sform(srow, mm):
    """Returns the affine [4, 4] in mm of the twelve numbers of srow_x, y and z.

    Raises:
        ValueError: Where it gives voxels no place.
    """
    found = np.eye(4)
    found[:3] = np.reshape(srow, (3, 4)) * mm
    volume = np.prod(np.linalg.norm(found[:3, :3], axis=0)) if np.isfinite(found).all() else 0
    if not volume or abs(np.linalg.det(found[:3, :3])) < LEAST_UPRIGHT * volume:
        raise ValueError(
            "srow: the affine is singular, or its axes are not upright or not finite, so voxels "
            "have no place in mm: repair it, or set sform_code to 0 where the qform is right"
        )
    return found


def qform(field, pixdim, mm):
    """Returns the affine [4, 4] in mm of the quaternion, as method 2 of the standard.

    Args:
        field: The header's fields by name; pixdim[0] tells the third axis' direction.
        pixdim: [3] voxel sizes in mm.
        mm: Of one unit of the header.

    Raises:
        ValueError: Where it is no rotation and place.
    """
    qfac, quaternion = field["pixdim"][0], np.array(field["quatern"])
    if qfac not in (-1, 0, 1):  # the standard reads 0 as 1
        raise ValueError(
            f"pixdim[0] is {qfac:g}, expected 1 or -1, which tells left from right in the qform: "
            "convert the scan again"
        )
    square = float(quaternion @ quaternion)
    if not square <= 1 + 1e-6 or not np.isfinite(field["qoffset"]).all():
        raise ValueError(
            f"quatern_b, c, d are {listed(quaternion)} and qoffset {listed(field['qoffset'])}: no "
            "rotation and place: repair them, or set qform_code to 0 where the sform is right"
        )
    if square > 1 - HALF_TURN:
        quaternion, square = quaternion / np.sqrt(square), 1.0
    (b, c, d), a = quaternion, np.sqrt(1 - square)
    turn = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    found = np.eye(4)
    found[:3, :3] = np.array(turn) * pixdim * (1, 1, -1 if qfac < 0 else 1)
    found[:3, 3] = np.array(field["qoffset"]) * mm
    return found


def _apart(first, second, shape, centred):
    """Returns how far apart two affines put the corner that they agree on least, in mm."""
    corners = np.array(np.meshgrid(*[(-0.5, side - 0.5) for side in shape])).reshape(3, -1)
    apart = (first - second)[:3] @ np.vstack([corners, np.ones(corners.shape[1])])
    if centred:
        apart = apart - apart.mean(axis=1, keepdims=True)
    return float(np.linalg.norm(apart, axis=0).max())


def _upright(affine):
    """Returns an affine with the nearest orthogonal axes, as a quaternion is made from it."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / lengths)
    found = affine.copy()
    found[:3, :3] = left @ right * lengths
    return found


def listed(values):
    """Returns numbers as text.

    Example:
        >>> listed((1, 0.5))
        '1 x 0.5'
    """
    return " x ".join(f"{value:.4g}" for value in values)
