"""A cohort checked without training: what is said, what the run would ask, how it ends."""

import pathlib
import subprocess
import sys

import pytest

from harmjax.runs import forecast, preparation, training, trajectories
from tests import test_provenance

ROOT = pathlib.Path(__file__).parent.parent


def check(*arguments):
    command = [sys.executable, "-m", "experiments.check", "--config=configs/published.py"]
    return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def cohort(tmp_path):
    """A table of scans in which one file is damaged and one label is unknown."""
    table = test_provenance.study_folder(tmp_path / "study", each=20)
    (table.parent / "scans/3.nii.gz").write_bytes(b"x")
    test_provenance.rewritten(table, lambda i, row: row | ({"Group_bin": "?"} if i == 5 else {}))
    return table


def test_a_cohort_is_shown_and_nothing_is_written(cohort):
    # a table of features is read without files, so that the forecast compiles in no time
    text = cohort.read_text().replace("Path", "f1").replace("scans/", "").replace(".nii.gz", "")
    cohort.write_text(text)
    settings = ["--config.data.features=('f1',)", "--config.model.name=mlp"]
    settings += ["--config.model.norm=none", f"--config.data.manifest={cohort}"]
    before = sorted(cohort.parent.rglob("*"))
    done = check(*settings)
    assert done.returncode == 0, done.stderr
    for words in (
        "label = 'Group_bin'",
        "'0' control (20), '1' patient (19)",
        "p05      label  empty",
        "A       7 + 6",
        "B       7 + 7",
        "of memory (scans: 0 MiB, included), and for 50 cycles",
    ):
        assert words in done.stdout, done.stdout
    assert sorted(cohort.parent.rglob("*")) == before
    strict = check(*settings, "--config.data.strict")
    assert strict.returncode == 2
    assert "refused because of data.strict" in strict.stderr and "p05" in strict.stderr


def test_a_run_on_other_data_is_named(cohort, tmp_path):
    config = test_provenance.settings(cohort)
    preparation.prepare(config, tmp_path / "run", progress=False)
    test_provenance.rewritten(cohort, lambda i, row: row | ({"Study": "C"} if i == 8 else {}))
    settings = ["--config.data.spacing=16", f"--config.data.manifest={cohort}"]
    done = check(*settings, f"--workdir={tmp_path / 'run'}")
    assert (
        done.returncode == 2 and "p08" in done.stderr and "is of a run on other data" in done.stderr
    )


@pytest.mark.filterwarnings("ignore:policy.screen.folds")
@pytest.mark.parametrize("policy", ["none", "verify_revisit", "screen", "folds", "shadow"])
def test_the_passes_that_are_foretold_are_those_of_a_run_that_refuses_nothing(
    patients, tmp_path, policy, monkeypatch
):
    monkeypatch.setattr(trajectories, "ENOUGH", 0.0)  # or folds are asked for longer
    is_screen = policy in ("folds", "shadow")
    patients.policy.name, patients.train.minimum_group = "screen" if is_screen else policy, 2
    patients.policy.screen.folds = 2 if policy == "folds" else 0
    patients.policy.screen.shadow = policy == "shadow"
    patients.policy.verify_revisit.threshold = 1.0
    patients.policy.screen.alpha = 1e-9
    study = preparation.prepare(patients, tmp_path, progress=False)
    found = forecast.forecast(patients, study)
    run = training.train(patients, tmp_path / "run", progress=False)
    assert run.mask.all()
    real = {kind: 0 for kind in found.passes}
    for cycle in run.cost["cycles"]:
        for kind, number in cycle["score"].items():
            real[kind] += number
        real["gradient"] += cycle["gradient"]
        real["forward"] += cycle["forward"]
    cycles = patients.train.cycles + {"none": 0, "shadow": 7}.get(policy, 5)
    evaluated = 7 if policy == "shadow" else cycles
    real["forward"] += evaluated * (len(study.test.label) + len(study.verification.label))
    assert (found.passes, found.cycles) == (real, cycles)
    assert found.bytes > found.image_bytes > 0 and found.total_seconds > 0
