"""Ghosts along the phase-encoding direction."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def ghosting(strength: float = 1.6, num_ghosts: int = 4) -> harms.Harm:
    """Returns a harm that repeats the head along the phase-encoding direction (axis 1).

    A gain that wavers with a period of `num_ghosts` lines of k-space,
    `K(ky) (1 + strength cos(2 pi ky / num_ghosts + phase))`, adds two copies of the scan, shifted
    by +-1/num_ghosts of the field of view, each strength/2 bright. The phase is random within 60
    degrees: further off the two copies cancel where they overlap. The scan's mean is kept, as a
    scanner's receiver gain would.

    Args:
        strength: Modulation of the lines; 0 is none, 0.1 a common artefact, above 1 some lines
            change sign and ghosts get brighter than half of the head.
        num_ghosts: Period in lines of k-space.

    References:
        Wood, Henkelman (1985). MR image artifacts from periodic motion. Med Phys 12:143-151.
        doi:10.1118/1.595782

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.zeros((1, 8, 1)).at[0, 4].set(100.0)
        >>> ghosts, _ = ghosting(strength=1.0)(jax.random.key(0), scan, 1, scan)
        >>> [round(value) for value in ghosts.ravel().tolist()]
        [0, 0, 25, 0, 50, 0, 25, 0]
    """

    def harm(key, scan, label, donor):
        del donor
        phase = jax.random.uniform(key, (), minval=-jnp.pi / 3, maxval=jnp.pi / 3)
        line = jnp.fft.fftfreq(scan.shape[1], 1.0 / scan.shape[1])
        gain = 1.0 + strength * jnp.cos(2.0 * jnp.pi * line / num_ghosts + phase)
        lines = jnp.fft.fft(scan, axis=1) * gain[None, :, None]
        ghosts = jnp.abs(jnp.fft.ifft(lines, axis=1))
        return jnp.clip(scan.mean() / jnp.maximum(ghosts.mean(), 1e-6) * ghosts, 0.0, 255.0), label

    return harm
