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

import importlib
from collections.abc import Callable

from harmjax import plugins, types

Harm = Callable[[types.Array, types.Array, types.Array, types.Array], tuple]

KINDS = ("image", "tabular", "any")


def names(kind: str | None = None) -> tuple[str, ...]:
    """Returns the names of the harms that can be done to one kind of data, sorted.

    Args:
        kind: 'image' or 'tabular' for all harms that work on such data, 'any' for those that work
            on both, None for all there are.

    Raises:
        ValueError: For another kind.

    Example:
        >>> from harmjax import harms
        >>> harms.names("any")
        ('label_flip', 'wrong_patient')
    """
    plugins.one_of("kind", kind, (*KINDS, None))
    wanted = KINDS if kind is None else (kind, "any")
    return tuple(name for name in plugins.names(__name__) if _kind(name) in wanted)


def kind_of(name: str) -> str:
    """Returns the data a harm is for: 'image', 'tabular' or 'any'.

    Raises:
        ValueError: If there is no harm of that name.

    Example:
        >>> from harmjax import harms
        >>> harms.kind_of("unit_error")
        'tabular'
    """
    get(name)
    return _kind(name)


def get(name: str) -> Callable[..., Harm]:
    """Returns the factory of the harm called `name`.

    Raises:
        ValueError: If there is no harm of that name.

    Example:
        >>> from harmjax import harms
        >>> harm = harms.get("noise")(std=50.0)
    """
    return plugins.get(__name__, name)


def _kind(name):
    return importlib.import_module(f"{__name__}.{name}").KIND
