"""Classifiers, found by module name: `models.get('sfcn')` is the factory `sfcn.sfcn`."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable

from harmjax import types


def names() -> tuple[str, ...]:
    """The known models: the modules here that define a factory of their own name."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in found if callable(_factory(name)))


def get(name: str) -> Callable[..., types.Classifier]:
    """The factory of a model.

    Args:
        name: a module of this folder, e.g. `'sfcn'`.

    Raises:
        ValueError: no model has that name.

    >>> get('mlp').__name__
    'mlp'
    """
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown model {name!r}: known are {', '.join(known)}{hint}")
    return _factory(name)


def _factory(name: str):
    module = importlib.import_module(f"{__name__}.{name}")
    return getattr(module, name, None)
