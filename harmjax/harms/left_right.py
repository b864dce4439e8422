"""A mirrored scan."""

import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def left_right() -> harms.Harm:
    """Returns a harm that swaps left and right (axis 0), as a lost sign in the header does.

    The mildest harm here: only asymmetries change, and nobody sees it without a marker.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.array([[[1.0]], [[2.0]]])
        >>> left_right()(jax.random.key(0), scan, 1, scan)[0].ravel().tolist()
        [2.0, 1.0]
    """

    def harm(key, scan, label, donor):
        del key, donor
        return jnp.flip(scan, axis=0), label

    return harm
