"""Quality control: which samples are trained on, and what a visit tries, keeps and rolls back.

One file per policy, found by name: `none`, `oracle`, `verify_revisit`, `screen`. A policy is a
factory of hyperparameters that returns a `types.QualityControl` of pure functions.

The other files are parts of these. `fixed` trains under a mask. `screen` is made of `evidence`
(harm, calibrated by the verification scans), `conformal` (p-values), `suspicion` (who is suspected,
examined, eliminated, and the alarms), `centrewise` (the test of whole centres) and `witness` (the
models of its folds).
"""

from collections.abc import Callable

from harmjax import plugins, types

UNVERIFYING = ("none", "oracle")  # policies that train under a mask known beforehand


def names() -> tuple[str, ...]:
    """Names of all policies in this folder."""
    return plugins.names(__name__)


def get(name: str) -> Callable[..., types.QualityControl]:
    """The policy's factory.

    Raises:
        ValueError: No such policy; lists the known ones.
    """
    return plugins.get(__name__, name)
