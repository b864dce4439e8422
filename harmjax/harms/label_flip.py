"""A wrong diagnosis."""

from harmjax import harms

KIND = "any"


def label_flip() -> harms.Harm:
    """Returns a harm that gives the sample the other label and leaves the scan alone.

    >>> import jax, jax.numpy as jnp
    >>> scan = jnp.zeros((2, 2, 2))
    >>> label_flip()(jax.random.key(0), scan, 1, scan)[1]
    0
    """

    def harm(key, scan, label, donor):
        del key, donor
        return scan, 1 - label

    return harm
