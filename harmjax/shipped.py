"""What harmjax ships, by name: data files, and configs.

Installed, the configs are in this package; in a checkout they are beside it, in `configs/`. They
are found from where this file is, so that a checkout never reads those of another installation.
"""

import ast
import importlib.util
import pathlib
from types import ModuleType

import ml_collections

from harmjax import defaults, plugins

PREFIX = "package:"  # of the name of a data file, where a path could be
HERE = pathlib.Path(__file__).parent
FILES = HERE / "files"
CONFIGS = HERE / "configs" if (HERE / "configs").is_dir() else HERE.parent / "configs"


def path(text: str) -> pathlib.Path:
    """The path that a setting gives, or that of a shipped data file, as `package:NAME`.

    Raises:
        ValueError: No such data file is shipped; lists those that are.

    Example:
        >>> path("package:demo_centres.csv").name
        'demo_centres.csv'
    """
    if not text.startswith(PREFIX):
        return pathlib.Path(text)
    name, known = text.removeprefix(PREFIX), sorted(file.name for file in FILES.iterdir())
    if name not in known:
        raise ValueError(f"no file {name!r} is shipped{plugins.choices(name, known)}")
    return FILES / name


def get_config(name: str = "") -> ml_collections.ConfigDict:
    """The config of that name, with every setting.

    Args:
        name: Of a shipped config, such as 'heart', or the path of a file with the ending `.py`;
            then, after a colon, what its `get_config` takes, such as 'heart:severity'. By default
            the config that all others start from.

    Raises:
        ValueError: There is no such config, or it does not take what is after the colon.

    Example:
        >>> get_config("heart:severity").data.classes
        ('absent', 'mild', 'severe')
    """
    if not name:
        return defaults.get_config()
    place, *argument = name.split(":", 1)
    config = config_module(place).get_config(*argument)
    if not isinstance(config, ml_collections.ConfigDict):
        raise ValueError(f"get_config of {place} returns {config!r}: need a ConfigDict")
    return config


def config_module(name: str) -> ModuleType:
    """The module of a config, by the name of a shipped one or by the path of a file.

    Raises:
        ValueError: There is no such config, or it does not define `get_config`.
    """
    file = pathlib.Path(name).expanduser()
    if file.suffix != ".py" and len(file.parts) == 1:
        file = CONFIGS / f"{name}.py"
    if not file.is_file():
        known = configs()
        raise ValueError(f"no config {name!r} is shipped{plugins.choices(file.stem, known)}")
    spec = importlib.util.spec_from_file_location(f"{file.stem}_config", file)
    assert spec and spec.loader, file  # as of every file that ends with .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{file} defines no get_config; start from harmjax.get_config() there")
    return module


def configs() -> dict[str, str]:
    """What each shipped config is about, by its name."""
    return described(CONFIGS, "get_config")


def described(folder: pathlib.Path, function: str) -> dict[str, str]:
    """First lines of the modules in a folder that define a function, by name; imports none."""
    found = {}
    for file in sorted(folder.glob("[!_]*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body):
            found[file.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found
