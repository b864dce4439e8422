"""Quality control that knows what was corrupted (simulation only; the clean baseline)."""

import numpy as np

from harmjax import types
from harmjax.policies import fixed


def oracle(*, corrupted, word=None) -> types.QualityControl:
    """A policy that trains on all but the corrupted samples.

    Args:
        corrupted: [N] bool, True where a simulation damaged the sample.
        word: [N] int8, a person's, see `offers`.

    Example:
        >>> oracle(corrupted=[True, False]).init(2, None).tolist()
        [False, True]
    """
    return fixed.under_mask(~np.asarray(corrupted, bool), word=word)
