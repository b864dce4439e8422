"""Slices too thick to see anything."""

import jax.numpy as jnp
import numpy as np

from harmjax import harms

KIND = "image"


def thick_slices(num_slices: int = 12, axis: int = 1) -> harms.Harm:
    """Returns a harm that averages the scan over thick slices.

    Args:
        num_slices: Slices over the whole field of view; 12 over 192 mm are 16 mm thick. As many as
            there are voxels, or more, change nothing.
        axis: Across the slices. 1 is a coronal scan, blurred in plane where samples are axial
            slices; 2 is an axial scan, for volumes only.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.arange(4.0).reshape(1, 4, 1)
        >>> thick_slices(num_slices=2)(jax.random.key(0), scan, 1, scan)[0].ravel().tolist()
        [0.5, 0.5, 2.5, 2.5]
    """

    def harm(key, scan, label, donor):
        del key, donor
        side = scan.shape[axis]
        which = np.arange(side) * num_slices // side
        together = (which[:, None] == which[None, :]).astype(np.float32)
        average = together / together.sum(axis=1, keepdims=True)
        # A matmul may run in reduced precision on accelerators, which would darken the scan.
        thick = jnp.moveaxis(
            jnp.tensordot(average, scan, axes=(1, axis), precision="highest"), 0, axis
        )
        return jnp.clip(thick, 0.0, 255.0), label

    return harm
