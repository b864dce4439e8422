"""Electrical discharges while k-space is recorded."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def spike(strength: float = 0.6, num_spikes: int = 3) -> harms.Harm:
    """Returns a harm that puts outliers into k-space: stripes over the whole scan.

    A point of k-space `strength` times as bright as its centre adds a complex plane wave of
    amplitude `strength` times the mean intensity; the image is the magnitude. Spikes lie 4 to 12
    cycles per field of view off the centre along axes 0 and 1, and up to 12 along axis 2.

    Args:
        strength: Brightness of a spike over that of the centre of k-space.
        num_spikes: How many.

    References:
        Zhuo, Gullapalli (2006). AAPM/RSNA physics tutorial for residents: MR artifacts, safety, and
        quality control. RadioGraphics 26:275-297. doi:10.1148/rg.261055134

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.full((8, 8, 8), 80.0)
        >>> striped, _ = spike()(jax.random.key(0), scan, 1, scan)
        >>> bool(striped.std() > 10)
        True
    """

    def harm(key, scan, label, donor):
        del donor
        size_key, sign_key, along_key, phase_key = jax.random.split(key, 4)
        size = jax.random.uniform(size_key, (num_spikes, 2), minval=4.0, maxval=12.0)
        in_plane = size * jax.random.rademacher(sign_key, (num_spikes, 2), scan.dtype)
        along = jax.random.uniform(along_key, (num_spikes, 1), minval=-12.0, maxval=12.0)
        frequency = jnp.concatenate([in_plane, along], axis=1)
        phase = jax.random.uniform(phase_key, (num_spikes,))
        place = jnp.stack(
            jnp.meshgrid(*(jnp.arange(n, dtype=scan.dtype) / n for n in scan.shape), indexing="ij")
        )
        cycles = jnp.tensordot(frequency, place, axes=1, precision="highest")
        waves = jnp.exp(2j * jnp.pi * (cycles + phase[:, None, None, None])).sum(axis=0)
        return jnp.clip(jnp.abs(scan + strength * scan.mean() * waves), 0.0, 255.0), label

    return harm
