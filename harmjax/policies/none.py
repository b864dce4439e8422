"""No quality control: every sample is trained on (the dirty baseline)."""

from harmjax import types
from harmjax.policies import fixed


def none(*, word=None) -> types.QualityControl:
    """A policy that trains on everything and verifies nothing.

    Args:
        word: [N] int8, a person's, see `offers`.

    Example:
        >>> import jax.numpy as jnp
        >>> none().init(3, None).tolist()
        [True, True, True]
    """
    return fixed.under_mask(word=word)
