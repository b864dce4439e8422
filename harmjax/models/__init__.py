"""Classifiers, found by module name: `models.get('sfcn')` is the factory `sfcn.sfcn`."""

from collections.abc import Callable

from harmjax import plugins, types


def names() -> tuple[str, ...]:
    """The known models: the modules here that define a factory of their own name."""
    return plugins.names(__name__)


def get(name: str) -> Callable[..., types.Classifier]:
    """The factory of a model.

    Args:
        name: A module of this folder, such as 'sfcn'.

    Raises:
        ValueError: No such model; lists the known ones.
    """
    return plugins.get(__name__, name)
