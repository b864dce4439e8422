"""A person: one of four anatomies, changed by chance, by age and by disease."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax.cohort import anatomy, fields
from harmjax.data.scans import nifti


class Disease(NamedTuple):
    """What one unit of effect does."""

    atrophy: dict  # shrinkage of structures, as a fraction; below 0 they grow
    nigral_loss: float  # of signal in the substantia nigra, as a fraction


# At effect 1 the means of a disease and of controls lie .5 to 1.2 SD apart before the scan.
DISEASES = (
    Disease({"putamen": 0.08, "caudate": 0.055, "midbrain": 0.045}, nigral_loss=0.06),
    Disease({"hippocampus": 0.08, "ventricles": -0.08}, nigral_loss=0.0),
)
# SD between people.
VARIATION = {
    **{"putamen": 0.12, "caudate": 0.12, "midbrain": 0.06, "ventricles": 0.12},
    **{"hippocampus": 0.1},
}
NIGRAL_VARIATION = 0.05
# Beyond this effect the lost signal also spreads, for demonstrations on a few dozen scans.
LARGEST_LOCAL_EFFECT = 5.0
SPREAD = 0.1  # of the radius, per unit of effect beyond
VENTRICLES_PER_YEAR = 0.012  # growth across, as a fraction, from 60 years on or back
MALE_VENTRICLES = 0.03

PARTS = ("base", "affine", "near", "far", "size")


class Person(NamedTuple):
    """A head before it is scanned."""

    tissue: jax.Array  # [X, Y, Z] float32: 0 air, 1 CSF, 2 grey, 3 white matter
    nigra: jax.Array  # [X, Y, Z] float32: fraction of signal that is left, 1 but for the nigra


def subject(key, atlas, label, age, sex, effect, *, spacing=4.0, diseases=1):
    """Returns one simulated `Person` on the grid of `spacing`; pure, for `jit` and `vmap`.

    The anatomy is sampled once, at `A x + warp(x) + sum_k e_k pull_k(x)`: residual affine (scale
    SD 2 %, rotation SD 1 degree, shift SD 1 mm), smooth warps (sigma 12 and 30 mm, SD 1.5 mm
    each), shrinkage or growth e_k of each structure.

    Args:
        key: Typed PRNG key of the person.
        atlas: `anatomy.Atlas` made for the same spacing and diseases.
        label: [] 0 = control, d = the d-th of `DISEASES`.
        age: [] years.
        sex: [] 1 = male, 0 = female.
        effect: [] size of the disease effect; 1 is realistic, 0 none.
        spacing: Voxel side in mm, static.
        diseases: 1 or 2, how many there are.
    """
    keys = dict(zip(PARTS, jax.random.split(key, len(PARTS)), strict=True))
    base = jax.random.randint(keys["base"], (), 0, 2 * atlas.tissue.shape[0])
    mirror = 1.0 - 2.0 * (base % 2)
    move = _affine(keys["affine"])
    change = sizes(keys["size"], label, age, sex, effect, diseases)

    near = fields.smooth(keys["near"], anatomy.CONTROL, 12.0, 3)
    far = fields.smooth(keys["far"], anatomy.CONTROL, 30.0, 3)
    pull = jnp.tensordot(change["pull"], atlas.pull, 1)  # [3, *P] mm
    warp = [1.5 * (a + b) + c for a, b, c in zip(near, far, pull, strict=True)]
    if spacing != anatomy.CONTROL:
        matrices = fields.linear(anatomy.CONTROL, spacing)
        warp = [fields.along(matrices, by) for by in warp]
    place = [part + by for part, by in zip(move(spacing), warp, strict=True)]
    mirrored = [place[0] * mirror, *place[1:]]
    tissue = sample(atlas.tissue[base // 2], anatomy.SPACING, mirrored)
    return Person(tissue=tissue, nigra=1 - change["nigra"] * nigra(place, change["reach"]))


def sizes(key, label, age, sex, effect, diseases=1):
    """Returns changes of structures: `pull` [K] (shrinkage > 0), `nigra` (signal lost), `reach`."""
    names = tuple(anatomy.structures(diseases))
    *noise, nigral, severity = _noise(key, len(anatomy.STRUCTURES) + 2)
    # Its own key, so that everything else about a person is the same in both cohorts.
    noise += _noise(jax.random.fold_in(key, 1), len(names) - len(anatomy.STRUCTURES))
    # Patients differ in how far the disease has come.
    stages = [(label == d) * effect * (1 + 0.3 * severity) for d in range(1, diseases + 1)]
    known = list(zip(stages, DISEASES[:diseases], strict=True))
    growth = VENTRICLES_PER_YEAR * (age - 60.0) + MALE_VENTRICLES * sex
    mean = [sum(stage * its.atrophy.get(name, 0.0) for stage, its in known) for name in names]
    mean[names.index("ventricles")] -= growth
    spread = np.asarray([VARIATION[name] for name in names], np.float32)
    lost = sum(its.nigral_loss * stage for stage, its in known)
    return {
        "pull": jnp.clip(jnp.stack(mean) + spread * jnp.stack(noise), -0.8, 1.5),
        "nigra": jnp.clip(lost + NIGRAL_VARIATION * nigral, -0.2, 0.6),
        "reach": 1 + SPREAD * jnp.maximum(stages[0] - LARGEST_LOCAL_EFFECT, 0.0),
    }


def _noise(key, count):
    return list(jax.random.truncated_normal(key, -2.5, 2.5, (count,)))


def nigra(place, reach=1.0):
    """Returns 0..1: how much of each MNI position (x, y, z in mm) is substantia nigra (both sides).

    A slanted soft ellipsoid at (+-10, -18, -12), SD 5 mm along the peduncle and 3 mm across, times
    `reach`.
    """
    x, y, z = jnp.abs(place[0]) - 10.0, place[1] + 18.0, place[2] + 12.0
    length = (0.65 * x - 0.68 * y + 0.34 * z) / np.sqrt(0.65**2 + 0.68**2 + 0.34**2)
    across = x**2 + y**2 + z**2 - length**2
    return jnp.exp((-(length**2) / (2 * 5.0**2) - across / (2 * 3.0**2)) / reach**2)


def sample(volume, spacing, place):
    """Returns `volume` [X, Y, Z] of the box at MNI positions, trilinear, edges held.

    Positions are three arrays, x, y and z in mm.
    """
    index = [
        (part - corner) / spacing - 0.5 for part, corner in zip(place, nifti.CORNER_MM, strict=True)
    ]
    return jax.scipy.ndimage.map_coordinates(volume, index, order=1, mode="nearest")


def _affine(key):
    """Returns a function of a spacing: the grid's x, y and z in MNI mm, moved as a whole."""
    scale, angle, shift = jax.random.normal(key, (3, 3))
    x, y, z = jnp.deg2rad(angle)
    # Exact to second order in angles of one degree.
    turn = jnp.eye(3) + jnp.asarray([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix = turn * (1 + 0.02 * scale)

    def move(spacing):
        x, y, z = np.meshgrid(*fields.axes(spacing), indexing="ij", sparse=True)
        rows = zip(matrix, shift, strict=True)
        return [row[0] * x + row[1] * y + row[2] * z + by for row, by in rows]

    return move
