"""Workdirs that are copied, half deleted or moved: no state is used for other people."""

import shutil

import jax
import numpy as np
import pytest

from experiments import check as experiments_check
from harmjax import metrics, tables
from harmjax.data import records
from harmjax.runs import checkpoints, delivered, phases, prediction, preparation, training
from harmjax.sweeps import hyper
from tests import test_detection, test_provenance, test_sweep, test_training


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


@pytest.mark.parametrize("content", ["", "\n", "test_auroc\n0.9\n"])
def test_a_damaged_outcome_is_named(short, tmp_path, content):
    first = test_sweep.run(short, tmp_path / "runs", SEEDS)
    path = tmp_path / "runs" / first.rows[1]["run"] / "outcome.csv"
    path.write_text(content or path.read_text().replace(",0.", ",O."))
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


def cut(path, keep=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


@pytest.mark.parametrize("name", ["metrics.csv", "decisions.csv", "cost.json", "delivered.csv"])
def test_tables_that_are_gone_or_cut_are_named_when_a_run_goes_on(short, tmp_path, name):
    short.policy.name = "verify_revisit"
    trained(short, tmp_path / "run")
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    cut(path)
    with pytest.raises(ValueError, match=f"{path} (is damaged|has no row of cycle)"):
        trained(short, tmp_path / "run")
    path.unlink()
    with pytest.raises(ValueError, match=f"{path} has no row of cycle"):
        trained(short, tmp_path / "run")
    path.write_bytes(whole)
    trained(short, tmp_path / "run")
    assert name == "cost.json" or path.read_bytes() == whole


def test_a_lost_warm_up_is_trained_again_and_the_tables_stay(short, tmp_path):
    short.policy.name = "verify_revisit"
    trained(short, tmp_path / "run")
    names = ("metrics.csv", "decisions.csv", "harm.csv", "delivered.csv")
    whole = [(tmp_path / "run" / name).read_bytes() for name in names]
    shutil.rmtree(tmp_path / "run/checkpoints/warmup_0000")
    trained(short, tmp_path / "run")
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == whole


def test_no_model_that_knows_who_was_dropped_is_delivered_meanwhile(short, tmp_path, monkeypatch):
    short.policy.name = "verify_revisit"
    trained(short, tmp_path / "run")
    short.data.drop = str(tmp_path / "drop.csv")
    (tmp_path / "drop.csv").write_text("Subject\np000\n")
    with monkeypatch.context() as kill:
        test_training.killed_at(kill, (phases, "_write_cycle"), 0)
        with pytest.raises(test_training.Killed):
            trained(short, tmp_path / "run")
    with pytest.raises(ValueError, match="no checkpoint .*final: train first"):
        prediction.predict(tmp_path / "run", short.data.manifest)


def test_standardisation_that_is_lost_is_made_again_or_named(short, tmp_path):
    trained(short, tmp_path / "run")
    path = tmp_path / "run/features.npz"
    with np.load(path) as file:
        whole = {name: file[name] for name in file}
    cut(path)
    with pytest.raises(ValueError, match=f"{path} is missing or damaged"):
        trained(short, tmp_path / "run")
    path.unlink()
    with pytest.raises(ValueError, match=f"{path} is missing or damaged"):
        prediction.predict(tmp_path / "run", short.data.manifest)
    trained(short, tmp_path / "run")
    with np.load(path) as file:
        assert all(np.array_equal(file[n], v, equal_nan=v.dtype.kind == "f")
                   for n, v in whole.items())  # fmt: skip
    path.unlink()
    short.policy.name, short.data.drop = "verify_revisit", str(tmp_path / "drop.csv")
    (tmp_path / "drop.csv").write_text("Subject\np000\n")
    without(table_of(short), "p000")
    with pytest.raises(ValueError, match="people are gone whom it was made with"):
        preparation.prepare(short, tmp_path / "run", progress=False)
    assert not path.exists()


def test_a_manifest_made_anew_has_its_own_standardisation(short, tmp_path):
    first = preparation.prepare(short, tmp_path / "run", progress=False)
    (tmp_path / "run/manifest.csv").unlink()
    test_provenance.rewritten(table_of(short), lambda i, row: row | {"f0": f"{i}"})
    again = preparation.prepare(short, tmp_path / "run", progress=False)
    assert abs(first.train.image.mean(axis=0)).max() < 1e-6
    assert abs(again.train.image.mean(axis=0)).max() < 1e-6


def test_a_grid_without_a_runs_verdicts_is_not_counted_as_nothing_found(short, tmp_path):
    short.detect.scenarios, short.detect.count.singles = ("singles",), 4
    short.detect.harms, short.detect.policies = (("label_flip",),), ("oracle",)
    rows, _ = test_detection.detect(short, tmp_path)
    (path,) = tmp_path.glob("*/*/harm.csv")
    lines = path.read_text().splitlines(keepends=True)
    for content in ("".join(lines[:20]), ""):
        path.write_text(content)
        with pytest.raises(ValueError, match=f"{path} is missing or damaged: delete"):
            test_detection.detect(short, tmp_path)
    (path.parent / "outcome.csv").unlink()
    again, _ = test_detection.detect(short, tmp_path)
    assert repr([row | {"seconds": 0} for row in again]) == repr(
        [row | {"seconds": 0} for row in rows]
    )


def test_scans_without_a_diagnosis_are_not_counted_as_healthy(short, tmp_path):
    found = metrics.metrics([[0, np.nan], [0, 2.0], [0, -1.0]], [0, 1, 0])
    assert found.pop("n") == 3 and np.isnan(list(found.values())).all()
    trained(short, tmp_path / "run")
    new = tmp_path / "new.csv"
    new.write_text("Subject,f0,f1,f2,f3,f4,f5\nx,1,1,1,1,1,1\ny,1e39,1,1,1,1,1\n")
    said = prediction.predict(tmp_path / "run", new)
    assert [row[0] for row in said.rows] == ["x"]
    assert said.left_out[0][1] == "y" and "f0=1e+39 is no measurement" in said.left_out[0][3]
    _, model = delivered.model(tmp_path / "run", short, np.zeros((1, 6), np.float32))
    lost = model._replace(params=jax.tree.map(lambda x: x * np.nan, model.params))
    checkpoints.save_model(tmp_path / "run/checkpoints", "final", lost)
    said = prediction.predict(tmp_path / "run", new)
    assert not said.rows and "gives no number" in said.left_out[0][3]


def test_a_store_that_was_copied_in_part_is_read_anew(tmp_path):
    config = test_provenance.settings(test_provenance.study_folder(tmp_path))
    config.data.store = True
    study = preparation.prepare(config, tmp_path / "run", progress=False)
    before = np.array(study.train.image)
    del study
    cut(tmp_path / "run/images", 0.5)
    again = preparation.prepare(config, tmp_path / "run", progress=False)
    np.testing.assert_array_equal(again.train.image, before)


def test_check_names_the_workdir_its_settings_and_who_is_dropped_too_late(short, tmp_path):
    trained(short, tmp_path / "run")
    (tmp_path / "drop.csv").write_text("Subject\np000\n")
    short.data.drop = str(tmp_path / "drop.csv")
    with pytest.raises(ValueError, match=f"{tmp_path}/run: the run is over and was trained on p0"):
        experiments_check.main(short, tmp_path / "run")
    short.seed = 5
    with pytest.raises(ValueError, match="other settings: seed was 0 and is now 5"):
        experiments_check.main(short, tmp_path / "run")


@pytest.mark.parametrize("policy", ["none", "verify_revisit"])
def test_whom_a_person_dropped_is_not_called_kept(short, tmp_path, policy):
    short.policy.name, short.data.drop = policy, str(tmp_path / "drop.csv")
    short.data.keep = str(tmp_path / "keep.csv")
    (tmp_path / "drop.csv").write_text("Subject\np000\n")
    (tmp_path / "keep.csv").write_text("Subject\np001\n")
    trained(short, tmp_path / "run")
    rows = tables.read(tmp_path / "run/harm.csv")
    assert [(row["verdict"], row["mask"]) for row in rows[:2]] == [("dropped", "0"), ("kept", "1")]
    masks = {"kept": "1", "pending": "0", "eliminated": "0"}
    assert all(row["mask"] == masks[row["verdict"]] for row in rows[1:])


def test_a_cut_manifest_is_named(short, tmp_path):
    preparation.prepare(short, tmp_path / "run", progress=False)
    path = tmp_path / "run/manifest.csv"
    path.write_text(path.read_text()[:-40].rsplit(",", 3)[0])
    with pytest.raises(records.ManifestError, match=f"{path}: row .*or damaged"):
        preparation.prepare(short, tmp_path / "run", progress=False)
