"""A cohort on disk: the same bytes however it was written, and read back."""

import csv
import hashlib
import json
import pathlib
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from harmjax.cohort import dataset, generator, plan
from harmjax.data.scans import nifti
from harmjax.data.tables import manifest

TEXTS = {
    ".bidsignore": "6080d39dfde2aaa4",
    "README": "0e372f5c31a8f957",
    "dataset_description.json": "08b413a875767535",
    "manifest.csv": "621fba2b91ac1bc6",
    "participants.json": "cfddbb2b199c654d",
    "participants.tsv": "c89dbefd9127c5f7",
}

SMALL = "centre,train_hc,train_pd,test_hc,test_pd\nA,2,1,1,0\nB,0,2,0,1\n"

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    path = tmp_path_factory.mktemp("sizes") / "sizes.csv"
    path.write_text(SMALL)
    return path


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, sizes):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    calls = []
    rows, made = dataset.write(whole, centres=sizes, progress=lambda *done: calls.append(done))
    assert made == len(rows) == 9 and calls[-1] == (9, 9)
    dataset.write(killed, centres=sizes)
    (killed / "manifest.csv").unlink()
    for row in rows[2:5]:
        (killed / dataset.scan_path(row)).unlink()
    kept = (killed / dataset.scan_path(rows[0])).stat().st_mtime_ns
    assert dataset.write(killed, centres=sizes)[1] == 3
    assert (killed / dataset.scan_path(rows[0])).stat().st_mtime_ns == kept
    assert digest(whole) == digest(killed)
    with pytest.raises(ValueError, match="another effect .3.0."):
        dataset.write(killed, centres=sizes, effect=2.0)


def test_files_read_back(tmp_path, sizes):
    rows, _ = dataset.write(tmp_path, centres=sizes)
    image = nibabel.load(tmp_path / dataset.scan_path(rows[0]))
    assert image.shape == (40, 48, 40) and image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(
        image.affine, [[4, 0, 0, -78], [0, 4, 0, -110], [0, 0, 4, -70], [0, 0, 0, 1]]
    )
    np.testing.assert_array_equal(image.affine, nifti.grid(4.0)[1])
    np.testing.assert_array_equal(image.dataobj, generator.generator()(rows[:1])[0])
    assert json.loads((tmp_path / "dataset_description.json").read_text())["BIDSVersion"]
    with (tmp_path / "participants.tsv").open() as stream:
        people = list(csv.DictReader(stream, delimiter="\t"))
    assert [person["group"] for person in people[:3]] == ["control", "control", "patient"]
    for file in ("manifest.csv", "participants.tsv"):
        records, problems, _ = manifest.read(tmp_path / file)
        assert not problems
        assert [(r.centre, r.label, r.split, r.sex, r.age) for r in records] == [
            (row.centre, row.label, row.split, row.sex, row.age) for row in rows
        ]
        assert all(pathlib.Path(r.path).is_file() for r in records)


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--config.cohort.efect=1", "effect"), ("--config.cohort.effect=-1", "effect=-1")],
)
def test_the_command_refuses_what_it_does_not_know(tmp_path, flag, message):
    command = [sys.executable, "-m", "experiments.make_cohort", "--config=configs/cohort83.py"]
    run = subprocess.run(
        [*command, f"--workdir={tmp_path / 'new'}", flag], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert message in run.stderr
    assert not (tmp_path / "new").exists()


def test_a_cohort_of_one_disease_is_described_as_before_there_were_two(tmp_path, sizes):
    """Pinned, so that a folder begun by an older version is gone on with and not refused."""
    dataset.write(tmp_path, centres=sizes)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert {name: hashlib.sha256(text).hexdigest()[:16] for name, text in found.items()} == TEXTS


def test_a_cohort_of_two_diseases_on_disk(tmp_path, sizes):
    rows, _ = dataset.write(tmp_path, centres=sizes, diseases=2, min_test=1)
    assert {row.label for row in rows} == {0, 1, 2}
    for file in ("manifest.csv", "participants.tsv"):
        found = manifest.read(tmp_path / file, named=plan.CLASSES[2])
        assert not found.problems
        assert [(r.centre, r.label, r.split) for r in found.records] == [
            (row.centre, row.label, row.split) for row in rows
        ]
        # Two classes know nothing of these words.
        assert all("no known group" in p.what for p in manifest.read(tmp_path / file).problems)
    about = json.loads((tmp_path / "participants.json").read_text())
    assert list(about["group"]["Levels"]) == list(plan.CLASSES[2])
    with pytest.raises(ValueError, match="another diseases .2."):
        dataset.write(tmp_path, centres=sizes, min_test=1)
