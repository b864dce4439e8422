"""Two axes mistaken for each other."""

import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def _fit(scan, shape):
    """The scan centre-cropped and zero-padded to `shape`."""
    for axis, (have, want) in enumerate(zip(scan.shape, shape, strict=True)):
        start = max(have - want, 0) // 2
        scan = jnp.take(scan, jnp.arange(start, start + min(have, want)), axis=axis)
        before = max(want - have, 0) // 2
        widths = [(0, 0)] * scan.ndim
        widths[axis] = (before, max(want - have, 0) - before)
        scan = jnp.pad(scan, widths)
    return scan


def axis_swap(axes: tuple[int, int] = (0, 1)) -> harms.Harm:
    """Returns a harm that exchanges two axes, as a misread header does, and keeps the shape.

    Sides of different length are cropped and zero-padded about the centre.

    Args:
        axes: The two; (0, 1) lies the head on its side within the axial plane and suits slices too,
            (0, 2) and (1, 2) are for volumes only.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.arange(4.0).reshape(2, 2, 1)
        >>> axis_swap()(jax.random.key(0), scan, 1, scan)[0].ravel().tolist()
        [0.0, 2.0, 1.0, 3.0]
    """

    def harm(key, scan, label, donor):
        del key, donor
        return _fit(jnp.swapaxes(scan, *axes), scan.shape), label

    return harm
