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


CLASSES = ("HC", "MCI", "AD")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), min_size=3, max_size=30).filter(
        lambda scans: len({label for _, label in scans}) == 3
    ),
)
def test_metrics_of_three_classes_agree_with_scikit_learn(seed, scans):
    """Eight different looks, so that scans tie."""
    looks = 2 * np.random.default_rng(seed).normal(size=(8, 3))
    logits, label = looks[[look for look, _ in scans]], np.array([label for _, label in scans])
    p = np.exp(looks) / np.exp(looks).sum(1, keepdims=True)
    p, diagnosis = p[[look for look, _ in scans]], logits.argmax(1)
    found = metrics.metrics(logits, label, CLASSES)
    expected = {
        "n": len(label),
        "accuracy": oracle.accuracy_score(label, diagnosis),
        "balanced_accuracy": oracle.recall_score(label, diagnosis, average="macro"),
        "auroc": oracle.roc_auc_score(label, p, multi_class="ovr", average="macro"),
        "loss": oracle.log_loss(label, p, labels=range(3)),
    }
    each = oracle.recall_score(label, diagnosis, average=None, labels=range(3), zero_division=0)
    expected |= {f"sensitivity_{name}": share for name, share in zip(CLASSES, each, strict=True)}
    assert tuple(found) == metrics.names(CLASSES) == tuple(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_of_three_classes_a_missing_one_is_nan_not_zero():
    found = metrics.metrics([[2, 0, 1], [0, 1, 2.0], [0, 3, 1]], [0, 0, 1], CLASSES)
    assert {name for name, value in found.items() if math.isnan(value)} == {
        "auroc",
        "balanced_accuracy",
        "sensitivity_AD",
    }
    assert (found["sensitivity_HC"], found["sensitivity_MCI"]) == (0.5, 1.0)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_nobody_has_no_metrics():
    for names in (types.BINARY, CLASSES):
        found = metrics.metrics(np.zeros((0, len(names))), [], names)
        assert found.pop("n") == 0 and np.isnan(list(found.values())).all()


def test_one_scan_without_a_number_leaves_a_group_of_three_classes_without_metrics():
    found = metrics.metrics([[0, 1.0, 2], [0, 1, math.nan]], [2, 1], CLASSES)
    assert found.pop("n") == 2 and np.isnan(list(found.values())).all()


@settings(max_examples=40, deadline=None)
@given(labelled)
def test_of_two_classes_both_ways_to_count_agree(pairs):
    """What two classes have of their own are other names for what three have."""
    scores, labels = np.array(pairs, float).T
    found = metrics.metrics(binary(scores), labels)
    confusion = np.zeros((2, 2), int)
    np.add.at(confusion, (labels.astype(int), (scores > 0).astype(int)), 1)
    each = oracle.recall_score(labels, scores > 0, average=None, labels=[0, 1], zero_division=0)
    np.testing.assert_allclose([found["specificity"], found["sensitivity"]], each)
    np.testing.assert_allclose([1 - found["fpr"], 1 - found["fnr"]], each)
    assert found["auroc"] == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert found["f1"] == pytest.approx(
        oracle.f1_score(labels, scores > 0, zero_division=0), nan_ok=True
    )
    again = metrics.of_sums(confusion, found["loss"], found["auroc"], types.BINARY)
    assert again == pytest.approx(found, nan_ok=True)
