"""Added noise."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def noise(std: float = 25.0) -> harms.Harm:
    """Returns a harm that adds Gaussian noise, `clip(I + N(0, std^2), 0, 255)`.

    Args:
        std: Standard deviation in raw intensities (0..255).

    References:
        Souza et al. (2025). npj Digital Medicine. doi:10.1038/s41746-025-01499-0

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.full((8, 8, 8), 100.0)
        >>> noisy, _ = noise(std=25.0)(jax.random.key(0), scan, 1, scan)
        >>> bool(20 < noisy.std() < 30)
        True
    """

    def harm(key, scan, label, donor):
        del donor
        return jnp.clip(scan + std * jax.random.normal(key, scan.shape), 0.0, 255.0), label

    return harm
