"""What `import harmjax` gives, and what an installed wheel does in an empty folder."""

import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from importlib import metadata

import pytest

import harmjax
from harmjax import shipped
from harmjax.cohort import plan

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = ("harmjax", "experiments", "configs", "tests", "benchmarks", "docs")
TEXTS = ("setup.py", "setup.cfg", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
COMMANDS = {
    *("check", "counterfactual", "detect", "evaluate"),
    *("make_cohort", "predict", "sweep", "train"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which a wheel of this checkout is installed, with its command in `bin`."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for name in (*TEXTS, "NOTICE"):
        shutil.copy(ROOT / name, source)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--quiet")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", ".", *options, f"--target={target}"],
        cwd=source,
        check=True,
    )
    return target


@pytest.fixture
def run(installed, tmp_path):
    """Runs a program of the installed harmjax in an empty folder."""
    programs = {"harmjax": installed / "bin" / "harmjax", "python": sys.executable}
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environment |= {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}

    def ended(program, *words):
        command = [programs[program], *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return ended


def test_the_wheel_holds_the_package_its_data_and_its_licences_and_nothing_else(installed):
    ours = {
        f"{'' if top == 'harmjax' else 'harmjax/'}{file.relative_to(ROOT)}"
        for top in ("harmjax", "experiments", "configs")
        for file in (ROOT / top).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    found = {str(file.relative_to(installed)) for file in installed.rglob("*") if file.is_file()}
    about = f"harmjax-{harmjax.__version__}.dist-info"
    notes = {name for name in found if name.startswith(f"{about}/")}
    assert found - notes == ours | {"bin/harmjax"}
    assert notes >= {f"{about}/licenses/LICENSE", f"{about}/licenses/NOTICE"}
    assert {"harmjax/py.typed", "harmjax/files/demo_centres.csv", "harmjax/configs/heart.py"} < ours


def test_the_wheel_says_what_it_needs_and_whom_it_is_for(installed):
    (about,) = metadata.distributions(path=[str(installed)])
    needed = [need for need in about.requires if "extra ==" not in need]
    assert needed == (ROOT / "requirements.txt").read_text().split()
    assert about.metadata["Requires-Python"] == ">=3.11"
    assert about.version == harmjax.__version__


def test_the_command_lists_experiments_and_configs(run):
    done = run("harmjax", "--help")
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    configs = {file.stem for file in (ROOT / "configs").glob("[a-z]*.py")}
    assert (done.returncode, done.stderr, listed) == (0, "", COMMANDS | configs)
    assert "train           Trains one diagnostic model across hospitals" in done.stdout
    assert run("harmjax").stdout == done.stdout
    assert run("harmjax", "--version").stdout == f"harmjax {harmjax.__version__}\n"


def test_every_experiment_has_help(run):
    for name in ("train", "evaluate", "check"):
        done = run("harmjax", name, "--help")
        assert (done.returncode, done.stderr) == (0, "") and "--workdir:" in done.stdout
        assert f"harmjax {name} --" in done.stdout


def test_the_installed_command_reads_a_shipped_config_and_shipped_data(run, tmp_path):
    done = run("harmjax", "check", "--config=heart")
    assert done.returncode == 0, done.stderr
    assert ["train", "287", "357", "4"] in [line.split() for line in done.stdout.splitlines()]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "no command 'trian' .did you mean 'train'.*; known: check, .*, train"),
        (["check", "--config=hart"], "no config 'hart' is shipped .did you mean 'heart'.*: .*demo"),
        (["check", "--config=heart.py"], "no config 'heart.py' is shipped .did you mean 'heart'"),
        (["check", "--config=heart:mild"], "heart.py:mild: known are severity and severity_all"),
        (["check"], "--config missing; --help tells what they are"),
        (["train"], "--config and --workdir missing"),
        (["check", "--config=heart", "rest"], "unexpected arguments: rest"),
        (["check", "--confg=heart"], "flag 'confg'. Did you mean: config"),
        (
            ["check", "--config=heart", "--config.train.cycels=2"],
            "no setting 'train.cycels' .did you mean 'cycles'",
        ),
        (["check", "--config=heart", "--noconfig.seed.x"], "no setting 'seed.x'; known: none"),
        (["check", "--config=heart", "--config.seed=x"], "config.seed=x: invalid literal"),
        (
            ["sweep", "--config=heart", "--workdir=x"],
            "harmjax/configs/heart.py defines no get_hyper.*configs/sweep.py shows one",
        ),
    ],
)
def test_a_wrong_command_line_ends_with_one_line_and_code_2(run, words, line):
    done = run("harmjax", *words)
    (said,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert said.startswith("error: ") and re.search(line, said), said


def settings(names):
    return {name: json.loads(shipped.get_config(name).to_json_best_effort()) for name in names}


def test_the_wheel_and_the_checkout_have_the_same_configs(run):
    names = [*shipped.configs(), "heart:severity", "published:authors,runlocal", "suite83:runlocal"]
    code = (
        "import json, sys; from harmjax import shipped; print(json.dumps("
        "{n: json.loads(shipped.get_config(n).to_json_best_effort()) for n in sys.argv[1:]}))"
    )
    done = run("python", "-c", code, *names)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == settings(names)
    assert len(plan.centres(shipped.get_config("demo").cohort.centres)) == 23


def test_a_config_is_named_or_a_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import harmjax\n"
        "def get_config(seed='3'):\n"
        "    config = harmjax.get_config('heart')\n"
        "    config.seed = int(seed)\n"
        "    return config\n"
    )
    (tmp_path / "none.py").write_text("def get_config():\n    return 3\n")
    (tmp_path / "empty.py").write_text("")
    mine = shipped.get_config(f"{tmp_path}/mine.py:4")
    assert mine.seed == 4 and shipped.get_config(f"{tmp_path}/mine.py").seed == 3
    assert mine.data.manifest == shipped.get_config("heart").data.manifest
    assert shipped.get_config().data.manifest == ""
    assert settings(["heart"]) == {
        "heart": json.loads(shipped.get_config(f"{ROOT}/configs/heart.py").to_json_best_effort())
    }
    with pytest.raises(ValueError, match="none.py returns 3: need a ConfigDict"):
        shipped.get_config(f"{tmp_path}/none.py")
    with pytest.raises(ValueError, match="empty.py defines no get_config"):
        shipped.get_config(f"{tmp_path}/empty.py")
    for absent in ("sweeep", "demo/heart", f"{tmp_path}/mine", "configs"):
        with pytest.raises(
            ValueError, match=f"no config '{absent}' is shipped.*; known: ablation, "
        ):
            shipped.get_config(absent)


def test_a_shipped_file_is_named_or_a_path(tmp_path):
    assert shipped.path("package:demo_centres.csv").parent == ROOT / "harmjax" / "files"
    assert shipped.path("demo_centres.csv") == pathlib.Path("demo_centres.csv")
    for absent in ("demo.csv", "", "../files/demo_centres.csv"):
        with pytest.raises(
            ValueError, match=f"no file '{absent}' is shipped.*: .*demo_centres.csv"
        ):
            shipped.path(f"package:{absent}")
    with pytest.raises(ValueError, match="'centres.csv' is shipped"):
        plan.centres("package:centres.csv")


def test_an_experiment_of_the_checkout_takes_the_same_names():
    command = [sys.executable, "-m", "experiments.train", "--config=hart"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no config 'hart'" in done.stderr
    command = [sys.executable, "-m", "experiments", "--help"]
    assert (
        "usage: harmjax" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    )


def test_every_public_name_is_what_it_says():
    for name in harmjax.__all__:
        found = getattr(harmjax, name)
        assert name == "__version__" or found.__name__.rsplit(".", 1)[-1] == name
    assert dir(harmjax) == sorted(harmjax.__all__)
    for package in (harmjax.models, harmjax.scorers, harmjax.policies, harmjax.harms):
        assert package.names() and all(callable(package.get(name)) for name in package.names())
    with pytest.raises(AttributeError, match="no 'audti'; public are __version__, audit, "):
        harmjax.audti  # noqa: B018
    assert not hasattr(harmjax, "types_of")


def test_type_checkers_see_the_public_names_where_they_are():
    tree = ast.parse(pathlib.Path(harmjax.__file__).read_text())
    (seen,) = [node.body for node in tree.body if isinstance(node, ast.If)]
    assert {node.names[0].asname: node.module for node in seen} == harmjax._PUBLIC


def test_importing_harmjax_imports_nothing_heavy():
    code = "import harmjax, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    heavy = {"jax", "numpy", "matplotlib", "flax", "nibabel", "absl", "ml_collections"}
    assert "harmjax" in done.stdout.split() and not heavy & set(done.stdout.split())
