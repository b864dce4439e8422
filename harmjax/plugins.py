"""Things found by name: settings, and plug-ins, files `NAME.py` with a callable `NAME`."""

import difflib
import importlib
import pkgutil
from collections.abc import Collection


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
        raise ValueError(f"no {name!r} in {package.rsplit('.', 1)[-1]}{choices(name, known)}")
    return _factory(package, name)


def one_of(place: str, value, known: Collection) -> None:
    """Refuses a value that is none of the known ones.

    Args:
        place: Of the value, as its reader knows it, such as 'train.topology'.
        value: That was given.
        known: All that may be given.

    Raises:
        ValueError: It is another one; names the nearest and lists the known ones.
    """
    if value not in known:
        raise ValueError(f"{place}={value!r}{choices(value, known)}")


def choices(name, known: Collection) -> str:
    """What to say after a name that is unknown: the nearest ones, and all that are known.

    Example:
        >>> choices("sfnc", ["mlp", "sfcn"])
        " (did you mean 'sfcn'?); known: mlp, sfcn"
    """
    return f"{near(name, known)}; known: {', '.join(map(str, known)) or 'none'}"


def near(name, known: Collection) -> str:
    """The question whether a known name was meant, in whatever case; '' if none is near.

    Example:
        >>> near("Studdy", ["study", "Path"])
        " (did you mean 'study'?)"
    """
    lowered = {str(k).casefold(): str(k) for k in known}
    found = difflib.get_close_matches(str(name).casefold(), list(lowered), n=2)
    return f" (did you mean {' or '.join(repr(lowered[k]) for k in found)}?)" if found else ""


def _factory(package, name):
    factory = getattr(importlib.import_module(f"{package}.{name}"), name, None)
    return factory if callable(factory) else None
