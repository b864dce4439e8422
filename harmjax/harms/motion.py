"""A head that moves during the scan."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "image"


def moved(scan, path):
    """Returns the magnitude image of a scan whose head lay at `path[t]` while line t was recorded.

    A shift by d multiplies k-space by `exp(-2 pi i k d)`; lines are recorded from the most negative
    to the most positive frequency along axis 1.

    Args:
        scan: [X, Y, Z] or [X, Y, C] float32.
        path: [Y, 2] shift along axes 0 and 1, fractions of the field of view.
    """
    num_x, num_y = scan.shape[:2]
    along_x = jnp.fft.fftfreq(num_x, 1.0 / num_x)[:, None]
    along_y = jnp.fft.fftfreq(num_y, 1.0 / num_y)[None, :]
    path = jnp.fft.ifftshift(path, axes=0)
    cycles = along_x * path[None, :, 0] + along_y * path[None, :, 1]
    k_space = jnp.fft.fft2(scan, axes=(0, 1)) * jnp.exp(-2j * jnp.pi * cycles)[..., None]
    return jnp.abs(jnp.fft.ifft2(k_space, axes=(0, 1)))


def motion(shift: float = 0.05, num_shifts: int = 8) -> harms.Harm:
    """Returns a harm that shifts the head suddenly, several times, while k-space is recorded.

    Shifts lie in the axial plane. They happen in the middle half of the recording, near the centre
    of k-space, where they show: blur, doubled edges and ghosts along axis 1.

    Args:
        shift: Standard deviation of the head's place along each axis, fraction of the field of
            view; 0.05 of 160 mm are 8 mm.
        num_shifts: Sudden moves during the scan.

    References:
        Zaitsev, Maclaren, Herbst (2015). Motion artifacts in MRI: a complex problem with many
        partial solutions. J Magn Reson Imaging 42:887-901. doi:10.1002/jmri.24850

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.zeros((8, 8, 1)).at[4, 4].set(255.0)
        >>> blurred, _ = motion()(jax.random.key(0), scan, 1, scan)
        >>> bool(blurred[4, 4, 0] < 200)
        True
    """

    def harm(key, scan, label, donor):
        del donor
        when_key, where_key = jax.random.split(key)
        moments = jax.random.uniform(when_key, (num_shifts,), minval=0.25, maxval=0.75)
        places = shift * jax.random.normal(where_key, (num_shifts + 1, 2))
        num_lines = scan.shape[1]
        time = (jnp.arange(num_lines) + 0.5) / num_lines
        path = places[(time[:, None] > moments[None, :]).sum(axis=1)]
        return jnp.clip(moved(scan, path), 0.0, 255.0), label

    return harm
