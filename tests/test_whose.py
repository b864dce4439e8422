"""Workdirs that are copied, half deleted or moved: no state is used for other people."""

import shutil

import numpy as np
import pytest

from harmjax import hyper, preparation, tables, training
from harmjax.data import records
from tests import test_provenance, test_sweep


@pytest.fixture
def short(patients):
    patients.train.warmup_cycles, patients.train.cycles = 1, 2
    patients.policy.name = "none"
    return patients


def without(table, who):
    test_provenance.rewritten(table, lambda i, row: None if row["Subject"] == who else row)


def exchanged(table, one, two):
    """Gives two people each other's row."""
    other = {one: two, two: one}
    test_provenance.rewritten(
        table, lambda i, row: row | {"Subject": other.get(row["Subject"], row["Subject"])}
    )


def table_of(config):
    import pathlib

    return pathlib.Path(config.data.manifest)


def trained(config, workdir, **options):
    return training.train(config, workdir, progress=False, **options)


def test_checkpoints_without_the_manifest_are_not_used_for_other_people(short, tmp_path):
    trained(short, tmp_path / "run")
    (tmp_path / "run/manifest.csv").unlink()
    trained(short, tmp_path / "run")
    (tmp_path / "run/manifest.csv").unlink()
    exchanged(table_of(short), "p000", "p001")
    with pytest.raises(ValueError, match="run on other samples: train sample p000: "):
        trained(short, tmp_path / "run")


def test_checkpoints_without_any_record_are_refused(short, tmp_path):
    trained(short, tmp_path / "run")
    (tmp_path / "run/samples.csv").unlink()
    with pytest.raises(ValueError, match="has checkpoints and no samples.csv to say of whom"):
        trained(short, tmp_path / "run")


@pytest.mark.parametrize("what", ["order", "label", "image", "centre", "verification"])
def test_arrays_are_those_of_the_run(short, tmp_path, what):
    study = preparation.prepare(short, tmp_path / "prepared", progress=False)
    trained(short, tmp_path / "run", study=study)
    trained(short, tmp_path / "run", study=study)
    train, held_out = study.train, study.verification
    swapped = np.r_[1, 0, 2 : len(train.label)]
    changed = {
        "order": {"names": tuple(np.array(study.names)[swapped])},
        "label": {"train": train._replace(label=np.r_[1 - train.label[:1], train.label[1:]])},
        "image": {"train": train._replace(image=train.image[swapped])},
        "centre": {"centres": ("X", *study.centres[1:])},
        "verification": {"verification": held_out._replace(image=held_out.image * 2)},
    }[what]
    with pytest.raises(ValueError, match="is of a run on other samples"):
        trained(short, tmp_path / "run", study=study._replace(**changed))


def test_a_warm_up_on_other_people_is_not_taken(short, tmp_path):
    trained(short, tmp_path / "one")
    trained(short, tmp_path / "two", warmup=tmp_path / "one")
    without(table_of(short), "p000")
    with pytest.raises(ValueError, match="one is of a run on other samples than .*three"):
        trained(short, tmp_path / "three", warmup=tmp_path / "one")


SEEDS = hyper.sweep("seed", [0, 1])


def test_a_sweep_does_not_mix_runs_on_other_data(short, tmp_path):
    first = test_sweep.run(short, tmp_path / "runs", SEEDS)
    before = table_of(short).read_text()
    shutil.rmtree(tmp_path / "runs" / first.rows[0]["run"])
    without(table_of(short), "p000")
    with pytest.raises(records.ManifestError, match="other data than .*seed=0.* differ in p000"):
        test_sweep.run(short, tmp_path / "runs", SEEDS)
        test_sweep.run(short, tmp_path / "runs", SEEDS)
    other = tmp_path / "runs" / first.rows[1]["run"]
    assert any(row["subject"] == "p000" for row in tables.read(other / "manifest.csv"))
    shutil.rmtree(tmp_path / "runs" / first.rows[0]["run"])
    table_of(short).write_text(before)
    again = test_sweep.run(short, tmp_path / "runs", SEEDS)
    assert [row["test_auroc"] for row in again.rows] == [row["test_auroc"] for row in first.rows]


@pytest.mark.parametrize("content", ["", "test_auroc\n0.9\n"])
def test_a_damaged_outcome_is_named(short, tmp_path, content):
    first = test_sweep.run(short, tmp_path / "runs", SEEDS)
    path = tmp_path / "runs" / first.rows[1]["run"] / "outcome.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        test_sweep.run(short, tmp_path / "runs", SEEDS)


@pytest.mark.parametrize("policy", ["verify_revisit", "none"])
def test_people_dropped_after_a_sweep_are_in_none_of_its_models(short, tmp_path, policy):
    short.policy.name = policy
    first = test_sweep.run(short, tmp_path / "runs", SEEDS)
    folders = [tmp_path / "runs" / row["run"] for row in first.rows]
    short.data.drop = str(tmp_path / "drop.csv")
    (tmp_path / "drop.csv").write_text("Subject\np000\n")
    if policy == "none":
        with pytest.raises(records.ManifestError, match="was trained on p000"):
            test_sweep.run(short, tmp_path / "runs", SEEDS)
        return
    test_sweep.run(short, tmp_path / "runs", SEEDS)
    for folder in folders:
        assert tables.read(folder / "harm.csv")[0]["mask"] == "0", folder
    stamps = [(folder / "outcome.csv").stat().st_mtime_ns for folder in folders]
    test_sweep.run(short, tmp_path / "runs", SEEDS)
    assert stamps == [(folder / "outcome.csv").stat().st_mtime_ns for folder in folders]
