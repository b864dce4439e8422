"""Quality control: which samples are trained on, and what a visit tries, keeps and rolls back.

One file per policy, found by name. A policy is a factory of hyperparameters that returns a
`types.QualityControl` of pure functions.
"""

from harmjax import plugins

UNVERIFYING = ("none", "oracle")  # policies that train under a mask known beforehand


def names() -> tuple[str, ...]:
    """Names of all policies in this folder."""
    return plugins.names(__name__)


def get(name: str):
    """The policy's factory.

    Raises:
        ValueError: No such policy; lists the known ones.
    """
    return plugins.get(__name__, name)
