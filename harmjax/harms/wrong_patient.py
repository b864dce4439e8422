"""Somebody else's scan."""

from harmjax import harms

KIND = "any"


def wrong_patient() -> harms.Harm:
    """Returns a harm that files the donor's scan under this subject's label.

    The donor is of another class: a mix-up within a class would change nothing a classifier sees.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan, label = wrong_patient()(jax.random.key(0), jnp.zeros(2), 1, jnp.ones(2))
        >>> print(scan, label)
        [1. 1.] 1
    """

    def harm(key, scan, label, donor):
        del key, scan
        return donor, label

    return harm
