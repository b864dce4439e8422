"""A centre's scanner: from a person to the stored image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from harmjax.cohort import fields


class Style(NamedTuple):
    """What the scans of one centre have in common. Contrasts are ratios to white matter."""

    grey: jax.Array  # [] grey over white matter
    csf: jax.Array  # [] CSF over white matter
    bias: jax.Array  # [] SD of the bias field, fraction
    blur: jax.Array  # [] mm, full width at half maximum
    axis: jax.Array  # [] int32: 0 sagittal, 1 coronal, 2 axial slices
    thickness: jax.Array  # [] mm of a slice; 0 = as thin as the voxels
    noise: jax.Array  # [] SD over white matter


def style(key):
    """Returns the random `Style` of a centre.

    Grey/white .66 +- .073, CSF/white .33 +- .054 (spread between sites of public T1 data), bias
    field 3-15 %, blur 0-2 mm, slices of 3-6 mm at 40 % of centres, noise 2-4 %. A receiver gain
    is left out: scaling to the 99.5th percentile cancels it.

    Example:
        >>> bool(0.4 < style(jax.random.key(0)).grey < 0.9)
        True
    """
    contrast, rest = jax.random.split(key)
    grey, csf = jax.random.truncated_normal(contrast, -2.5, 2.5, (2,))
    bias, blur, axis, thick, thickness, noise = jax.random.uniform(rest, (6,))
    return Style(
        grey=0.66 + 0.073 * grey,
        csf=0.33 + 0.054 * csf,
        bias=0.03 + 0.12 * bias,
        blur=2.0 * blur,
        axis=jnp.floor(3 * axis).astype(jnp.int32),
        thickness=jnp.where(thick < 0.4, 3.0 + 3.0 * thickness, 0.0),
        noise=0.02 + 0.02 * noise,
    )


def scanner(key, style, person, *, spacing=4.0):
    """Returns the stored scan [X, Y, Z] uint8 of a person; pure, for `jit` and `vmap`.

    Contrast (with .023 and .041 from scan to scan), bias field, blur and slices, Rician noise,
    brain mask, 99.5th percentile of the brain to 230.

    Args:
        key: Typed PRNG key of the scan.
        style: `Style` of the centre.
        person: `subject.Person` on the same grid.
        spacing: Voxel side in mm, static.
    """
    contrast, bias, noise = jax.random.split(key, 3)
    grey, csf = jax.random.truncated_normal(contrast, -2.5, 2.5, (2,))
    signal = weigh(person.tissue, style.grey + 0.023 * grey, style.csf + 0.041 * csf)
    signal *= person.nigra * jnp.exp(style.bias * fields.smooth(bias, spacing, 60.0, 1)[0])
    signal = fields.along(_point_spread(style, spacing), signal)
    first, second = style.noise * jax.random.normal(noise, (2, *signal.shape))
    brain = person.tissue > 0.5
    return digitise(jnp.hypot(signal + first, second), brain)


def weigh(tissue, grey, csf):
    """Returns T1 signal (white matter 1), linear between air, CSF, grey and white matter.

    Example:
        >>> weigh(jnp.array([0.0, 1.0, 2.0, 3.0]), 0.75, 0.25).tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    # A poorly contrasted scan still has CSF darker than grey, and grey darker than white matter.
    grey = jnp.clip(grey, 0.3, 0.95)
    csf = jnp.clip(csf, 0.05, grey - 0.1)
    rise = csf * jnp.minimum(tissue, 1) + (grey - csf) * jnp.clip(tissue - 1, 0, 1)
    return rise + (1 - grey) * jnp.maximum(tissue - 2, 0)


def digitise(image, brain):
    """Returns `image` as uint8, zero outside `brain`, its percentile 99.5 there at 230."""
    count = brain.sum() * (99.5 / 100)
    inside = jnp.where(brain, image, jnp.inf)

    # Sorting is far slower than 20 halvings, which place the percentile within a millionth.
    def halve(_, ends):
        middle = (ends[0] + ends[1]) / 2
        below = (inside <= middle).sum() < count
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    top = jnp.where(brain, image, 0).max()
    _, high = jax.lax.fori_loop(0, 20, halve, (jnp.zeros_like(top), top))
    scaled = image * (230.0 / jnp.maximum(high, 1e-6))
    return jnp.where(brain, jnp.clip(jnp.round(scaled), 0, 255), 0).astype(jnp.uint8)


def _point_spread(style, spacing):
    """Returns one matrix per axis: blur, and slices along the centre's slice axis."""
    matrices = []
    for number, axis in enumerate(fields.axes(spacing)):
        thick = jnp.where(style.axis == number, style.thickness, 0.0)
        sliced = fields.slices(axis, jnp.maximum(thick, spacing))
        matrices.append(sliced @ fields.gaussian(axis, style.blur))
    return matrices
