"""A run's config.json: what it was begun with, so that nothing else goes on from it."""

import json
import pathlib
import platform
import sys

import jax
import ml_collections

from harmjax import shipped, workdirs
from harmjax.version import __version__

FORMAT = 5  # of a run's folder; raise it when an older one cannot be read any more
NAME = "config.json"
PATHS = ("data.manifest", "data.keep", "data.drop")  # settings that name a file
MAY_CHANGE = ("data.drop",)  # between two starts: consent is withdrawn while a run lasts


def record(config, workdir, *, classifier: str = "") -> list[str]:
    """Writes config.json: format, resolved config, versions, devices; returns what changed since.

    Args:
        config: Of the run.
        workdir: Of the run.
        classifier: What stands for a classifier that takes the place of `config.model`.

    Raises:
        ValueError: The workdir holds a run with other settings or another classifier, and names all
            that differ; or one of another harmjax.
    """
    settings, changed = compared(config, workdir, classifier=classifier)
    versions = {"harmjax": __version__, "jax": jax.__version__}
    content = {
        "format": FORMAT,
        "config": settings,
        "classifier": classifier,
        "versions": versions | {"python": platform.python_version()},
        "devices": [str(device) for device in jax.devices()],
        "command": sys.argv,
    }
    workdirs.write_json(pathlib.Path(workdir) / NAME, content)
    return changed


def compared(config, workdir, *, classifier: str | None = None) -> tuple[dict, list[str]]:
    """The settings as config.json has them, and which differ from those there and may, in words.

    Args:
        config: Of the run.
        workdir: Of the run.
        classifier: As in `record`; None where it is not known yet.

    Raises:
        ValueError: See `record`.
    """
    settings = json.loads(located(config).to_json_best_effort())
    before = read(workdir)
    changed = _differences(before["config"], settings) if before else {}
    refused = [text for name, text in changed.items() if name not in MAY_CHANGE]
    if before and classifier is not None and before.get("classifier", "") != classifier:
        refused.append("classifier was another one")
    if refused:
        raise ValueError(
            f"{workdir} holds a run with other settings: {'; '.join(refused)}; name another "
            "workdir, or delete this one"
        )
    return settings, list(changed.values())


def read(workdir) -> dict | None:
    """The content of a run's config.json, or None where nothing was run yet.

    Raises:
        ValueError: It cannot be read, is of another format, or is missing where a run was.
    """
    folder = pathlib.Path(workdir)
    path = folder / NAME
    anew = f"train anew in another workdir, or delete {folder}"
    if not path.exists():
        if any((folder / "checkpoints").glob("*")):
            raise ValueError(f"{folder} has checkpoints and no {NAME} to say of what: {anew}")
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = content.get("format")
        content["config"].keys()
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the {NAME} of a run ({error!r}): {anew}") from error
    if kind != FORMAT:
        age = "a newer" if isinstance(kind, int) and kind > FORMAT else "an older"
        raise ValueError(
            f"{folder} was written by {age} harmjax (format {kind}, not {FORMAT}): {anew}"
        )
    return content


def config(workdir) -> ml_collections.ConfigDict:
    """The resolved config of a run.

    Raises:
        ValueError: The folder holds no run, or one of another format.
    """
    content = read(workdir)
    if content is None:
        raise ValueError(f"{workdir}/{NAME} is missing: {workdir} is not the workdir of a run")
    return ml_collections.ConfigDict(content["config"])


def located(config):
    """A copy of a config in which every setting that names a file holds its whole path."""
    if "data" not in config:
        return config
    config = config.copy_and_resolve_references()
    given = {name: config.data.get(name.removeprefix("data.")) for name in PATHS}
    with config.unlocked():
        config.update_from_flattened_dict(located_setting({k: v for k, v in given.items() if v}))
    return config


def located_setting(setting: dict) -> dict:
    """Dotted keys and values, with whole paths where a setting names a file."""

    def whole(name, value):
        named = name in PATHS and value and not value.startswith(shipped.PREFIX)
        return str(workdirs.whole(value, name)) if named else value

    return {name: whole(name, value) for name, value in setting.items()}


def _differences(old, new, place="") -> dict[str, str]:
    """The settings that differ, in words."""
    found: dict[str, str] = {}
    for name in sorted({*old, *new}):
        here = f"{place}{name}"
        one, two = old.get(name), new.get(name)
        if isinstance(one, dict) and isinstance(two, dict):
            found |= _differences(one, two, f"{here}.")
        elif one != two:
            found[here] = f"{here} was {one!r} and is now {two!r}"
    return found
