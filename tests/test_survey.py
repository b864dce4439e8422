"""A whole counterfactual study: its questions, its tables, and going on."""

import shutil

import numpy as np
import pytest

from configs import counterfactual
from harmjax import tables
from harmjax.counterfactual import (
    masks,
    retraining,
    survey,
)
from tests import classes
from tests.test_counterfactual import CENTRE


def test_of_three_classes_the_errors_that_a_sample_adds_are_told_by_class(tmp_path):
    confusion = np.array([[3, 1, 0], [0, 4, 0], [2, 0, 2]])
    fewer = np.array([[[4, 0, 0], [0, 4, 0], [2, 0, 2]], [[3, 1, 0], [1, 2, 1], [0, 0, 4]]])
    outcome = retraining.Outcome(np.array([0.5]), confusion[None])
    without = retraining.Outcome(np.array([[0.25], [0.75]]), fewer[:, None])
    study = classes.study(3, sizes=(2, 12, 12))
    whole, found = dict.fromkeys(survey.SPLITS, outcome), dict.fromkeys(survey.SPLITS, without)
    given = survey.Survey(
        study=study,
        base=np.ones(2, np.float32),
        whole=whole,
        masks={"samples": 1 - np.eye(2)},
        outcomes={"samples": found},
        harm={"harm": np.array([0.25, -0.25])},
    )
    survey._write(tmp_path, given)
    rows = tables.read(tmp_path / "counterfactual.csv")
    extra = [[row[f"extra_errors_{name}"] for name in study.classes] for row in rows]
    assert extra == [["1", "0", "0"], ["0", "-2", "2"]]
    with np.load(tmp_path / "trajectories.npz") as stored:
        assert stored["samples_test_confusion"].tolist() == fewer[:, None].tolist()
        assert stored["whole_test_confusion"].tolist() == [confusion.tolist()]


def test_a_survey_answers_and_resumes(patients, tmp_path):
    config = patients
    config.train.warmup_cycles, config.train.cycles = 1, 2
    config.counterfactual = counterfactual.get_config().counterfactual
    asked = config.counterfactual
    asked.subsets, asked.unseen, asked.scorers, asked.replicas = 12, 6, ("loss",), "map"
    found = survey.survey(config, tmp_path, progress=False, say=str)
    rows = tables.read(tmp_path / "counterfactual.csv")
    assert [row["subject"] for row in rows] == list(found.study.names)
    whole = found.whole["verification"].loss[-1]
    without = found.outcomes["samples"]["verification"].loss[:, -1]
    np.testing.assert_allclose([float(r["harm"]) for r in rows], whole - without, atol=1e-7)
    assert {r["centre"] for r in tables.read(tmp_path / "counterfactual_centres.csv")} == set(
        found.study.centres
    )
    methods = [r["method"] for r in tables.read(tmp_path / "prediction.csv")]
    assert methods == ["harm", "banzhaf", "datamodel", "loss"]
    with np.load(tmp_path / "trajectories.npz") as stored:
        assert stored["samples_test_loss"].shape == (len(rows), 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows_*.npz")}
    text = (tmp_path / "counterfactual.csv").read_text()
    survey.survey(config, tmp_path, progress=False, say=str)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows_*.npz")} == before
    assert (tmp_path / "counterfactual.csv").read_text() == text
    shutil.rmtree(tmp_path / "retrained")
    config.train.learning_rate *= 2
    with pytest.raises(ValueError, match="holds a run with other settings: train.learning_rate"):
        survey.survey(config, tmp_path, progress=False, say=str)
    asked.ask = ("sample",)
    with pytest.raises(ValueError, match="known: samples"):
        survey.survey(config, tmp_path, progress=False)


def test_masks_have_the_right_samples():
    assert masks.leave_one_out(4).sum() == 12
    assert (masks.leave_one_centre_out(CENTRE).argmin(axis=1) == [0, 7, 13]).all()
    assert (masks.random_subsets(10, 20, fraction=0.3).sum(axis=1) == 3).all()
    assert 0.4 < masks.random_subsets(100, 50, fraction=None).mean() < 0.6
    orders = masks.permutations(5, 3)
    assert (np.sort(orders, axis=1) == np.arange(5)).all()
    first_two = masks.prefixes(orders, [2])[:, 0]
    for order, mask in zip(orders, first_two, strict=True):
        assert set(np.flatnonzero(mask)) == set(order[:2])
