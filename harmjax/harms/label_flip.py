"""A wrong diagnosis."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "any"


def label_flip(classes: int = 2, to: int | None = None) -> harms.Harm:
    """Returns a harm that gives the sample another label and leaves the scan alone.

    Args:
        classes: K; the label is drawn evenly from the K - 1 other ones.
        to: The label that samples are given, so that one disease is mistaken for one other; those
            that have it already are given another one at random, since every sample is to be wrong.

    Raises:
        ValueError: For fewer than two classes, or a label that is none of them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> scan = jnp.zeros((2, 2, 2))
        >>> int(label_flip()(jax.random.key(0), scan, 1, scan)[1])
        0
    """
    if classes < 2:
        raise ValueError(f"label_flip: {classes} classes; there is no other label to give")
    if to is not None and not 0 <= to < classes:
        raise ValueError(f"label_flip: to={to} of {classes} classes; choose 0 to {classes - 1}")

    def harm(key, scan, label, donor):
        del donor
        other = (label + jax.random.randint(key, (), 1, classes)) % classes
        return scan, other if to is None else jnp.where(label == to, other, to)

    return harm
