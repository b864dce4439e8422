"""Lists of settings for a sweep: what a config's `get_hyper(hyper)` is given and returns.

A setting is a dict from dotted keys of the config to values. Lists of settings may be added.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from harmjax import plugins

Setting = dict[str, object]


def fixed(key: str, value) -> list[Setting]:
    """One setting of one key, for `product` and `zipit`.

    Example:
        >>> fixed("policy.name", "none")
        [{'policy.name': 'none'}]
    """
    return [{key: value.item() if isinstance(value, np.generic) else value}]


def sweep(key: str, values: Iterable) -> list[Setting]:
    """A setting for every value of one key.

    Raises:
        ValueError: No values, or one of them twice.

    Example:
        >>> sweep("seed", range(2))
        [{'seed': 0}, {'seed': 1}]
    """
    if isinstance(values, str):
        raise ValueError(f"sweep({key!r}, {values!r}): give the values as a list")
    settings = [setting for value in values for setting in fixed(key, value)]
    if not settings:
        raise ValueError(f"sweep({key!r}) has no values: give at least one")
    again = _repeated([repr(setting[key]) for setting in settings])
    if again:
        raise ValueError(f"sweep({key!r}) lists {again} twice")
    return settings


def product(parts: Sequence[list[Setting]]) -> list[Setting]:
    """Every combination of one setting from each part; the last part varies fastest.

    Raises:
        ValueError: A part without settings, or a key in two parts.

    Example:
        >>> product([sweep("seed", [0, 1]), fixed("policy.name", "none")])
        [{'seed': 0, 'policy.name': 'none'}, {'seed': 1, 'policy.name': 'none'}]
    """
    _check_parts("product", parts)
    settings: list[Setting] = [{}]
    for part in parts:
        settings = [before | setting for before in settings for setting in part]
    return settings


def zipit(parts: Sequence[list[Setting]]) -> list[Setting]:
    """The first settings of all parts together, then the second ones; a single setting is repeated.

    Raises:
        ValueError: Parts of unequal lengths, one without settings, or a key in two parts.

    Example:
        >>> zipit([sweep("seed", [0, 1]), sweep("data.split_seed", [5, 6])])
        [{'seed': 0, 'data.split_seed': 5}, {'seed': 1, 'data.split_seed': 6}]
    """
    _check_parts("zipit", parts)
    lengths = {len(part) for part in parts} - {1} or {1}
    if len(lengths) > 1:
        found = ", ".join(f"{'+'.join(part[0])}: {len(part)}" for part in parts)
        raise ValueError(f"zipit needs parts of one length, got {found}")
    (length,) = lengths
    return [
        {key: value for part in parts for key, value in part[i % len(part)].items()}
        for i in range(length)
    ]


def applied(config, setting: Setting):
    """A copy of the config under one setting.

    Args:
        config: An `ml_collections.ConfigDict`.
        setting: Dotted keys and values.

    Raises:
        ValueError: A key that the config lacks, with the nearest that it has; or a value of another
            type.
    """
    known = _leaves(config.to_dict())
    one = config.copy_and_resolve_references()
    for key, value in setting.items():
        if key not in known:
            raise ValueError(f"no setting {key!r}{_hint(key, known)}")
        try:
            with one.unlocked():
                one.update_from_flattened_dict({key: value})
        except TypeError as error:
            kind = type(known[key]).__name__
            raise ValueError(f"{key}={value!r}: need type {kind}") from error
    return one


def _check_parts(name, parts):
    if not parts:
        raise ValueError(f"{name} of nothing: give a list of parts")
    for number, part in enumerate(parts):
        if not isinstance(part, list) or not part:
            raise ValueError(f"part {number} of {name} is {part!r}: need a list of settings")
    again = _repeated([key for part in parts for key in dict.fromkeys(k for s in part for k in s)])
    if again:
        raise ValueError(f"{name} has {again!r} in two of its parts: name a key once")


def _repeated(items):
    """The first item that occurs a second time, or None."""
    return next((item for i, item in enumerate(items) if item in items[:i]), None)


def _leaves(tree, place="") -> dict:
    """Dotted keys of a nested dict and their values."""
    found: dict[str, object] = {}
    for name, value in tree.items():
        key = f"{place}{name}"
        found |= _leaves(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return found


def _hint(key, known):
    """What may have been meant, by the whole key or by its last word."""
    key = key.removeprefix("config.")
    word = key.rsplit(".", 1)[-1]
    same = [name for name in known if name.rsplit(".", 1)[-1] == word]
    return plugins.near(key, known) or plugins.choices(key, same or sorted(known))
