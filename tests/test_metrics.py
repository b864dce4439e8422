"""Metrics and tables against hand computations and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from harmjax import metrics, tables, types

labelled = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: 0 < sum(label for _, label in pairs) < len(pairs)
)


@settings(max_examples=60, deadline=None)
@given(labelled)
def test_ranking_metrics_agree_with_scikit_learn(pairs):
    scores, labels = np.array(pairs, float).T
    assert metrics.auroc(scores, labels) == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert metrics.average_precision(scores, labels) == pytest.approx(
        oracle.average_precision_score(labels, scores)
    )


@settings(max_examples=60, deadline=None)
@given(labelled)
def test_precision_at_a_recall_agrees_with_scikit_learn(pairs):
    scores, labels = np.array(pairs, float).T
    precision, recall, _ = oracle.precision_recall_curve(labels, scores)
    asked = np.array([0.1, 0.5, 1.0])
    best = [precision[recall >= level].max() for level in asked]
    np.testing.assert_allclose(metrics.precision_at(scores, labels, asked), best)


def binary(logit):
    return np.stack([np.zeros(len(logit)), logit], axis=1)


def test_metrics_by_hand():
    found = metrics.metrics(binary([2.0, -1.0, 1.0, -3.0, 0.5]), [1, 1, 0, 0, 1])
    assert tuple(found) == metrics.names(types.BINARY)
    assert (found["n"], found["accuracy"], found["fpr"]) == (5, 0.6, 0.5)
    assert found["fnr"] == pytest.approx(1 / 3) and found["f1"] == pytest.approx(2 / 3)
    losses = np.log1p(np.exp([-2.0, 1.0, 1.0, -3.0, -0.5]))
    assert found["loss"] == pytest.approx(losses.mean())


def test_a_missing_class_is_nan_not_zero():
    found = metrics.metrics(binary([1.0, -1.0]), [1, 1])
    assert math.isnan(found["auroc"]) and math.isnan(found["fpr"]) and found["fnr"] == 0.5


def test_groups_by_sex_and_age():
    found = dict(metrics.groups(["F", "M", ""], [59.9, 60.0, float("nan")]))
    assert list(found) == ["all", "sex=F", "sex=M", "age<60", "age>=60"]
    assert found["sex=M"].tolist() == [False, True, False]
    assert found["age>=60"].tolist() == [False, True, False]


def test_tables_round_trip_and_leave_no_half_file(tmp_path):
    path = tmp_path / "t.csv"
    tables.write(path, ("a", "b"), [[0.1 + 0.2, None], [float("nan"), 'x;"y",z']])
    assert tables.read(path) == [{"a": "0.3", "b": ""}, {"a": "", "b": 'x;"y",z'}]
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert tables.read(tmp_path / "none.csv") == []
