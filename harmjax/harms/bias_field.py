"""A coil that is far too bright on one side."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def bias_field(ratio: float = 20.0) -> harms.Harm:
    """Returns a harm that multiplies the scan with a smooth field, `clip(b I, 0, 255)`.

    `log b` is a random quadratic over the field of view that spans log(ratio); then b is scaled to
    keep the scan's mean, as a scanner's receiver gain would.

    Args:
        ratio: Brightest over darkest gain in the box. 1.1 to 1.5 is usual, 4 exceeds tissue
            contrast, and from about 8 the bright side saturates.

    References:
        Sled, Zijdenbos, Evans (1998). A nonparametric method for automatic correction of intensity
        nonuniformity in MRI data. IEEE Trans Med Imaging 17:87-97. doi:10.1109/42.668698

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.full((9, 9, 9), 40.0)
        >>> biased, _ = bias_field(ratio=16.0)(jax.random.key(0), scan, 1, scan)
        >>> print(biased.mean().round(), (biased.max() / biased.min()).round())
        40.0 16.0
    """

    def harm(key, scan, label, donor):
        del donor
        slope_key, bend_key = jax.random.split(key)
        slope = jax.random.normal(slope_key, (scan.ndim,))
        bend = 0.3 * jax.random.normal(bend_key, (scan.ndim,))
        grid = jnp.meshgrid(*(jnp.linspace(-1.0, 1.0, n) for n in scan.shape), indexing="ij")
        log_field = sum(s * x + b * x**2 for s, b, x in zip(slope, bend, grid, strict=True))
        low, high = log_field.min(), log_field.max()
        biased = scan * ratio ** ((log_field - low) / jnp.maximum(high - low, 1e-6))
        gain = scan.mean() / jnp.maximum(biased.mean(), 1e-6)
        return jnp.clip(gain * biased, 0.0, 255.0), label

    return harm
