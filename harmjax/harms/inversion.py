"""Inverted intensities."""

from harmjax import harms

KIND = "image"


def inversion() -> harms.Harm:
    """Returns a harm that inverts the intensities, `255 - I`; the background turns white.

    References:
        Souza et al. (2025). npj Digital Medicine. doi:10.1038/s41746-025-01499-0

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.array([[[0.0, 55.0]]])
        >>> print(inversion()(jax.random.key(0), scan, 1, scan)[0])
        [[[255. 200.]]]
    """

    def harm(key, scan, label, donor):
        del key, donor
        return 255.0 - scan, label

    return harm
