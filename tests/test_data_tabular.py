"""Tabular data: hidden gaps, categories, and moments of the training patients alone."""

import numpy as np
import pytest

from configs import classes as three
from configs import heart as heart_config
from harmjax.cohort import plan
from harmjax.data import ingest, records, splits, tabular
from harmjax.runs import preparation

NAN = float("nan")


def patients(*rows):
    return [
        records.Record(2 + i, f"s{i}", "", "A", i % 2, split="train", features=tuple(row))
        for i, row in enumerate(rows)
    ]


def test_load_hides_stand_ins_for_missing_values():
    scans = patients((0, 0), (1, 5), (NAN, 0))
    cohort, (problem,) = tabular.load(scans, names=("a", "b"), missing={"b": 0})
    np.testing.assert_array_equal(cohort.images, np.array([[0, NAN], [1, 5]], np.float32))
    assert (problem.subject, cohort.images.dtype) == ("s2", np.float32)
    with pytest.raises(ValueError, match="feature='chl' .did you mean 'chol'"):
        tabular.load(scans, names=("age", "chol"), missing={"chl": 0})
    with pytest.raises(ValueError, match="2 features, expected 3"):
        tabular.load(scans, names=("a", "b", "c"))


def test_standardise_by_hand():
    train = np.array([[1, 7, 1], [3, 7, 2], [NAN, 7, 2], [NAN, 7, NAN]], np.float32)
    preparation = tabular.standardise(train, ("x", "constant", "code"), categorical=("code",))
    names = preparation.names
    assert names == ("x", "constant", "code=1", "code=2")
    sd = np.sqrt(2) / 3
    found = tabular.apply(preparation, np.array([[5, 9, 1], [NAN, NAN, 9]]))
    wanted = [[3, 0, (1 - 1 / 3) / sd, (0 - 2 / 3) / sd], [0, 0, 0, 0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.dtype == np.float32


def test_a_column_without_any_value_gives_zero():
    preparation = tabular.standardise(np.array([[NAN, 1.0], [NAN, 2.0]]), indicators=True)
    assert tabular.apply(preparation, np.array([[4.0, 1.5]]))[0].tolist() == [0, 0, 0]


def test_indicators_tell_where_values_were_missing():
    preparation = tabular.standardise(
        np.array([[NAN, 1.0], [2.0, 2.0]]), ("a", "b"), indicators=True
    )
    assert preparation.names == ("a", "b", "a?")
    assert tabular.apply(preparation, np.array([[NAN, 1.0], [2.0, 2.0]]))[:, 2].tolist() == [1, -1]


def test_training_columns_get_mean_zero_and_variance_one():
    train = np.random.default_rng(0).normal(50, 9, (40, 3)).astype(np.float32)
    found = tabular.apply(tabular.standardise(train), train)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), 1, atol=1e-5)


def test_no_training_patient_is_named():
    with pytest.raises(ValueError, match="no training patient"):
        tabular.standardise(np.zeros((0, 3)))


def test_only_training_patients_are_looked_at():
    scans = patients(*np.random.default_rng(0).random((20, 2)))
    scans = [r._replace(split=records.SPLITS[i % 3]) for i, r in enumerate(scans)]
    names = ("a", "b")
    cohort, _ = tabular.load(scans, names=names)
    first, _ = tabular.prepare(cohort, names=names)
    changed = cohort._replace(images=cohort.images.copy())
    ingest.samples(changed, "test").image[:] = 1000
    second, _ = tabular.prepare(changed, names=names)
    for split in ("train", "verification"):
        np.testing.assert_array_equal(
            ingest.samples(first, split).image, ingest.samples(second, split).image
        )


def test_four_hospitals():
    scans, problems, _ = tabular.heart()
    assert problems == ()
    centres = {c: sum(r.centre == c for r in scans) for c in {r.centre for r in scans}}
    assert centres == {"Cleveland": 303, "Hungary": 294, "LongBeachVA": 200, "Switzerland": 123}
    names = tabular.HEART_FEATURES
    cohort, problems = tabular.load(
        splits.assign(scans), names=names, missing=tabular.HEART_MISSING
    )
    assert problems == ()
    hidden = np.isnan(cohort.images[:, names.index("chol")])
    at = np.array([r.centre for r in cohort.records])
    assert (hidden[at == "Switzerland"].sum(), (at == "Switzerland").sum()) == (123, 123)
    prepared, _ = tabular.prepare(cohort, names=names, categorical=tabular.HEART_CATEGORICAL)
    assert prepared.images.shape == (920, 22)
    assert np.isfinite(prepared.images).all()
    assert least_squares_auroc(prepared) > 0.83


def least_squares_auroc(cohort):
    train, test = ingest.samples(cohort, "train"), ingest.samples(cohort, "test")
    gram = train.image.T @ train.image + np.eye(train.image.shape[1])
    score = test.image @ np.linalg.solve(gram, train.image.T @ (train.label - train.label.mean()))
    patients, controls = score[test.label == 1], score[test.label == 0]
    return (patients[:, None] > controls).mean()


def test_a_preparation_survives_being_written(tmp_path):
    train = np.array([[1, 7, 1], [3, 7, 2], [NAN, 7, 2]], np.float32)
    new = np.array([[2, 0, 1], [NAN, 1, 9], [5, 2, NAN]], np.float32)
    made = tabular.standardise(train, ("x", "y", "code"), ("code",), indicators=True)
    tabular.save(tmp_path / "features.npz", made)
    again = tabular.restore(tmp_path / "features.npz")
    assert again.names == made.names
    assert np.array_equal(tabular.apply(again, new), tabular.apply(made, new))


def test_heart_disease_in_three_grades_without_the_hospital_that_knows_two(tmp_path):
    config = heart_config.get_config("severity")
    study = preparation.prepare(config, tmp_path / "three", progress=False)
    assert study.classes == ("absent", "mild", "severe")
    assert study.centres == ("Cleveland", "LongBeachVA", "Switzerland")
    assert "data.without leaves out 'Hungary' (294 rows)" in study.text
    # Counted in the table: 164 + 51 + 8, 55 + 36 + 56 + 41 + 48 + 32, 35 + 13 + 42 + 10 + 30 + 5.
    splits = (study.train, study.verification, study.test)
    assert sum(np.bincount(s.label) for s in splits).tolist() == [223, 268, 135]
    config = heart_config.get_config("severity_all")
    four = preparation.prepare(config, tmp_path / "four", progress=False)
    hungary = [s.label[s.centre == four.centres.index("Hungary")]
               for s in (four.train, four.verification, four.test)]  # fmt: skip
    assert np.bincount(np.concatenate(hungary)).tolist() == [188, 106]
    # The same people of the other hospitals are held out.
    others = four.test.centre != four.centres.index("Hungary")
    assert set(study.test.identity) == set(four.test.identity[others])
    with pytest.raises(ValueError, match="heart.py:grades: known are severity and severity_all"):
        heart_config.get_config("grades")


@pytest.mark.parametrize("arg", ["", "runlocal"])
def test_the_config_of_three_classes_names_those_of_its_cohort(arg):
    config = three.get_config(arg)
    assert config.data.classes == plan.CLASSES[config.cohort.diseases]
    assert config.data.manifest == f"runs/classes{12 if arg else 83}/manifest.csv"
    rows = plan.rows(
        plan.centres(config.cohort.centres),
        min_test=config.cohort.min_test,
        min_verification=config.cohort.min_verification,
        diseases=config.cohort.diseases,
    )
    for split in plan.SPLITS:
        counts = np.bincount([r.label for r in rows if r.split == split], minlength=3)
        assert counts.min() >= 50, "fewer than the published rule can judge by"
    with pytest.raises(ValueError, match="classes.py:small: known is runlocal"):
        three.get_config("small")
