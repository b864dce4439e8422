"""Nothing but noise."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def pure_noise(mean: float = 127.5, std: float = 50.0) -> harms.Harm:
    """Returns a harm that puts `clip(N(mean, std^2), 0, 255)` in place of the scan.

    Corrupted, yet not always harmful: a linear model barely suffers from it.

    Args:
        mean: Mean of the noise in raw intensities (0..255).
        std: Its standard deviation in raw intensities.

    References:
        Souza et al. (2025). npj Digital Medicine. doi:10.1038/s41746-025-01499-0

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.zeros((8, 8, 8))
        >>> noisy, _ = pure_noise()(jax.random.key(0), scan, 1, scan)
        >>> bool(120 < noisy.mean() < 135)
        True
    """

    def harm(key, scan, label, donor):
        del donor
        drawn = mean + std * jax.random.normal(key, scan.shape)
        return jnp.clip(drawn, 0.0, 255.0).astype(scan.dtype), label

    return harm
