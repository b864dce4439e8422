"""The layout shows the architecture: who may import whom, and what."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LAYERS = (
    ("types", "plugins", "workdirs", "defaults", "shipped", "version"),
    ("task", "offers", "tables", "metrics", "harms", "data"),
    ("engine", "cohort"),
    ("models", "scorers"),
    ("federations", "policies"),
    ("runs",),
    ("sweeps", "counterfactual"),
    ("report",),
)
ONLY_IN = {
    "flax": ("models",),
    "nibabel": ("data",),
    "orbax": ("runs",),
    "matplotlib": ("report",),
    "absl": (),
}
FILES = sorted((ROOT / "harmjax").rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path):
    return path.relative_to(ROOT / "harmjax").parts[0].removesuffix(".py")


def test_every_place_in_the_layers_is_taken_once():
    places = [name for layer in LAYERS for name in layer]
    assert sorted(places) == sorted({part(path) for path in FILES} - {"__init__"})


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    own = part(path)
    if own == "__init__":
        return
    for name in imported(path):
        words = name.split(".")
        if words[0] == "harmjax" and len(words) > 1 and words[1] in rank:
            assert rank[words[1]] <= rank[own], f"{own} imports {words[1]}"
        if words[0] in ONLY_IN:
            assert own in ONLY_IN[words[0]], f"{own} imports {words[0]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_docstrings_speak_one_dialect(path):
    """Sections of four spaces, descriptions that begin in upper case, doctests as an example."""
    described = ast.Module, ast.ClassDef, ast.FunctionDef
    nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, described))
    for text in filter(None, map(ast.get_docstring, nodes)):
        assert not re.search(r"^>>>", text, re.MULTILINE)
        for section in re.findall(
            r"^(?:Args|Raises|References):\n((?: +.*\n?)+)", text, re.MULTILINE
        ):
            assert section.startswith(4 * " ") and section[4] != " "
            assert not re.search(r"^    \w+: [a-z][a-z]", section, re.MULTILINE)


def test_importing_harmjax_touches_no_device():
    import subprocess
    import sys

    code = (
        "import harmjax, harmjax.runs.training, jax._src.xla_bridge as bridge; "
        "assert not bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
