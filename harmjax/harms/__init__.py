"""Simulated harms, one file each: what can go wrong with one sample before it reaches its centre.

A harm is a factory with defaulted hyperparameters, named like its file, that returns a pure
function of one sample, made for jit and vmap:

    (key, scan, label, donor) -> (scan, label)

`key` is a typed key. `scan` is float32: a volume [X, Y, Z] or a stack of axial slices [X, Y, C],
raw 0..255 and finite; or a row of features [F], NaN where missing. `label` is int32, 0 to K - 1;
a factory that needs to know K takes it as `classes`. `donor` is the
scan of another subject, of another class. Shapes and dtypes stay as they were, images in 0..255
and finite.

By default every image harm acts in the axial plane (axes 0 and 1: left-right, back-front), or alike
on volumes and slices, because the shape does not tell a volume from a stack of slices. Sizes are
fractions of the field of view, so that a strength means the same at 1 and at 4 mm. Harms act on the
stored scan: its skull-stripped background is damaged with the rest.

The file of a harm also holds `KIND`, the data it is for: 'image', 'tabular' or 'any'. Two more
files are no harms: `plan` chooses what to damage, `scenario` does it.
"""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable

from harmjax import types

Harm = Callable[[types.Array, types.Array, types.Array, types.Array], tuple]

KINDS = ("image", "tabular", "any")


@functools.cache
def _kinds() -> dict[str, str]:
    """The kind of data behind the name of every harm in this folder."""
    found = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        if hasattr(module, "KIND"):
            found[entry.name] = module.KIND
    return found


def names(kind: str | None = None) -> tuple[str, ...]:
    """Returns the names of the harms that can be done to one kind of data, sorted.

    Args:
      kind: 'image' or 'tabular' for all harms that work on such data, 'any' for those that work on
        both, None for all there are.

    Raises:
      ValueError: for another kind.

    >>> from harmjax import harms
    >>> harms.names("any")
    ('label_flip', 'wrong_patient')
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind of data {kind!r} is unknown; one of {', '.join(KINDS)} or None")
    wanted = KINDS if kind is None else (kind, "any")
    return tuple(sorted(name for name, own in _kinds().items() if own in wanted))


def kind_of(name: str) -> str:
    """Returns the data a harm is for: 'image', 'tabular' or 'any'.

    Raises:
      ValueError: if there is no harm of that name.

    >>> from harmjax import harms
    >>> harms.kind_of("unit_error")
    'tabular'
    """
    known = _kinds()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"harm {name!r} is unknown; {hint}known harms: {', '.join(sorted(known))}")
    return known[name]


def get(name: str) -> Callable[..., Harm]:
    """Returns the factory of the harm called `name`.

    Raises:
      ValueError: if there is no harm of that name.

    >>> from harmjax import harms
    >>> harm = harms.get("noise")(std=50.0)
    """
    kind_of(name)
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)
