"""Four real anatomies in MNI space, and where the structures that age and disease change lie."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from harmjax import shipped
from harmjax.cohort import fields

NAMES = ("mni152_sym09a", "colin27", "aomic_piop1_0017", "aomic_piop1_0042")

# Median intensity of lateral ventricle, cortex and white matter of each anatomy as shipped,
# read inside the ICBM 2009a tissue probability maps (white > .95, grey > .85).
LEVELS = ((62.0, 163.0, 221.0), (29.0, 84.0, 112.0), (27.0, 138.0, 226.0), (34.0, 146.0, 229.0))

SPACING = 2.0  # mm, of the anatomies
CONTROL = 4.0  # mm, of the grid that displacements are made on
SOFTNESS = 4.0  # mm over which the nearest point of a skeleton changes

# Midline skeletons of the right half in MNI mm, and the reach of a change around them in mm.
# Read off the MNI152 average; x is mirrored to the left.
STRUCTURES = {
    "putamen": (
        9.0,
        (
            (19, 14, -5), (22, 11, 0), (24, 6, -3), (24, 6, 5), (27, 0, 0),
            (27, -2, 7), (29, -8, 1), (29, -9, 8), (31, -15, 3),
        ),
    ),
    "caudate": (
        8.0,
        (
            (9, 12, -4), (11, 17, 2), (13, 17, 8), (13, 11, 12),
            (14, 4, 16), (16, -4, 19), (18, -12, 21), (20, -20, 21),
        ),
    ),
    "midbrain": (15.0, ((4, -20, -12), (9, -19, -13), (4, -25, -13), (3, -29, -10), (4, -22, -18))),
    "ventricles": (
        10.0,
        (
            (14, 31, 2), (10, 24, 6), (6, 16, 9), (5, 8, 14), (6, 0, 18), (8, -8, 21),
            (12, -18, 22), (17, -29, 20), (23, -40, 14), (26, -48, 8), (0, -6, 0), (0, -14, 4),
        ),
    ),
}  # fmt: skip

# What only the second of two diseases changes.
SECOND = {
    "hippocampus": (
        9.0,
        (
            (19, -8, -20), (24, -10, -22), (28, -14, -20), (29, -20, -16),
            (31, -26, -12), (30, -32, -8), (27, -37, -3), (21, -40, 2),
        ),
    ),
}  # fmt: skip


class Atlas(NamedTuple):
    """What every subject is drawn from. A anatomies, K structures, [P] the 4 mm control grid."""

    tissue: (
        jax.Array
    )  # [A, 80, 96, 80] float32: 0 air, 1 CSF, 2 grey, 3 white matter, between linear
    pull: (
        jax.Array
    )  # [K, 3, *P] float32, mm: away from the structure's skeleton, fading with distance


def structures(diseases=1):
    """Returns the structures that change, by name: the reach of a change and a midline skeleton.

    Example:
        >>> tuple(structures(2))
        ('putamen', 'caudate', 'midbrain', 'ventricles', 'hippocampus')
    """
    return STRUCTURES | (SECOND if diseases == 2 else {})


def atlas(spacing=4.0, diseases=1):
    """Returns the `Atlas` of the shipped anatomies, ready to be sampled at `spacing`.

    Args:
        spacing: Voxel side of the scans to come, in mm. Above 2 mm the anatomies are smoothed to
            the wider voxel first, so that sampling them does not alias.
        diseases: 1 or 2, which decides what changes, see `structures`.

    Example:
        >>> atlas(spacing=4.0).tissue.shape
        (4, 80, 96, 80)
    """
    with np.load(shipped.FILES / "anatomies_2mm.npz") as stored:
        brains = [tissue(stored[name], level) for name, level in zip(NAMES, LEVELS, strict=True)]
    # A box of side s has variance s^2 / 12; the anatomies already carry that of their own voxel.
    sigma = np.sqrt(max(0.0, spacing**2 - SPACING**2) / 12) / SPACING
    brains = [ndimage.gaussian_filter(brain, sigma) if sigma else brain for brain in brains]
    pulls = [pull(points, reach) for reach, points in structures(diseases).values()]
    return Atlas(
        tissue=jnp.asarray(np.stack(brains), jnp.float32),
        pull=jnp.asarray(np.stack(pulls), jnp.float32),
    )


def tissue(image, levels):
    """Returns float32 tissue coordinates (0 air, 1 CSF, 2 grey, 3 white matter) of one anatomy.

    One coordinate for all anatomies keeps the person apart from the scanner: contrast is chosen
    per centre later.

    Args:
        image: [X, Y, Z] uint8, skull-stripped, 0 outside the brain.
        levels: Intensities of CSF, grey and white matter in this image.
    """
    csf, grey, white = levels
    inside = ndimage.binary_fill_holes(image > 0)
    knots = (0.0, csf, grey, white, white + 0.5 * (white - grey))
    coordinate = np.interp(image.astype(np.float32), knots, (0.0, 1.0, 2.0, 3.0, 3.5))
    # Dark fluid inside the brain must stay inside the mask; the rim may fade into air.
    floor = ndimage.binary_erosion(inside) | (inside & (image == 0))
    return np.where(floor, np.maximum(coordinate, 0.8), coordinate * inside).astype(np.float32)


def pull(points, reach):
    """Returns [3, *P] float32 mm on the control grid: `w(|d|) d`, d from a structure's skeleton.

    Sampling an anatomy at `x + e pull(x)` shows the structure smaller by a factor of about
    `1 + e w` around its skeleton for e > 0, larger for e < 0; one-to-one for -1 < e < 2.2.

    Args:
        points: [Q, 3] skeleton of the right half, in MNI mm.
        reach: In mm; `w(d) = exp(-(d / reach)^2)`.
    """
    points = np.asarray(points, np.float64)
    points = np.concatenate([points, points * (-1, 1, 1)])
    position = fields.positions(CONTROL)
    distance = np.sum((position[..., None, :] - points) ** 2, axis=-1)  # [*P, Q] mm^2
    near = np.exp(-(distance - distance.min(-1, keepdims=True)) / (2 * SOFTNESS**2))
    offset = position - near @ points / near.sum(-1, keepdims=True)
    fade = np.exp(-np.sum(offset**2, axis=-1, keepdims=True) / reach**2)
    return np.moveaxis(fade * offset, -1, 0).astype(np.float32)
