"""Plug-ins found by name: a file `NAME.py` in a package that defines a callable `NAME`."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable


def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in a package: modules that define a callable of their own name."""
    path = importlib.import_module(package).__path__
    found = (module.name for module in pkgutil.iter_modules(path))
    return tuple(sorted(name for name in found if _factory(package, name)))


def get(package: str, name: str):
    """The factory called `name` in the module `package.name`.

    Raises:
        ValueError: No such plug-in; names the nearest and lists the known ones.
    """
    known = names(package)
    if name not in known:
        kind = package.rsplit(".", 1)[-1]
        raise ValueError(f"no {name!r} in {kind}; known: {choices(name, known)}")
    return _factory(package, name)


def choices(name: str, known: Iterable[str]) -> str:
    """What may be named instead of an unknown name, for an error: all, and the nearest.

    Example:
        >>> choices("hart", ("demo", "heart"))
        "demo, heart. Did you mean 'heart'?"
    """
    near = difflib.get_close_matches(name, known, 1)
    return f"{', '.join(known) or 'none'}.{f' Did you mean {near[0]!r}?' if near else ''}"


def _factory(package, name):
    factory = getattr(importlib.import_module(f"{package}.{name}"), name, None)
    return factory if callable(factory) else None
