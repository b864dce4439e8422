"""How a model does, from sums that centres add up: against the scans themselves."""

import functools
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import metrics
from harmjax.federations import assessment, loopback
from tests import classes, sites


@st.composite
def answers(draw):
    """Logits and labels of some scans, and which of three centres each is at."""
    num_classes = draw(st.sampled_from([2, 3]))
    size = draw(st.integers(1, 40))
    column = st.lists(
        st.one_of(st.floats(-40, 40), st.integers(-2, 2).map(float)), min_size=size, max_size=size
    )
    logits = np.array([draw(column) for _ in range(num_classes)]).T
    if num_classes == 2:
        logits[:, 0] = 0  # as every binary head has it
    labels, centre = (
        np.array(draw(st.lists(st.integers(0, most), min_size=size, max_size=size)))
        for most in (num_classes - 1, 2)
    )
    return logits, labels, centre


def added_up(logits, labels, centre, minimum=1):
    return assessment.added(
        [assessment.assess(logits, labels, centre == c, minimum=minimum) for c in range(3)]
    )


@settings(max_examples=200, deadline=None)
@given(answers())
def test_what_centres_add_up_is_what_the_scans_say(found):
    logits, labels, centre = found
    num_classes = logits.shape[1]
    names = classes.NAMES[num_classes]
    sums = added_up(logits, labels, centre)
    predicted = logits.argmax(1)
    assert sums["confusion"].tolist() == classes.confused(labels, predicted, num_classes)
    assert sums["number"].tolist() == [int((labels == k).sum()) for k in range(num_classes)]
    assert sums["histogram"].sum() == num_classes * len(labels)
    loss = [math.log(sum(np.exp(z - z[y]))) for z, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(sums["loss"], sum(loss), rtol=1e-9, atol=1e-9)
    told = assessment.assessed(sums, names)
    exact = metrics.metrics(logits, labels, names)
    assert set(told.measured) == {*exact, "auroc_error"}
    for name in set(exact) - {"auroc", "loss"}:
        assert told.measured[name] == exact[name] or math.isnan(exact[name])
    np.testing.assert_allclose(told.measured["loss"], exact["loss"], rtol=1e-9, atol=1e-9)
    area, error = told.measured["auroc"], told.measured["auroc_error"]
    if math.isnan(exact["auroc"]):
        assert math.isnan(area) and math.isnan(error)
    else:
        assert abs(area - exact["auroc"]) <= error + 1e-9 and 0 <= error <= 0.5


def test_the_histogram_by_hand():
    """Probabilities .5 and .7 of two patients, .5 and .2 of two controls: one pair in a bin."""
    z = np.log([1.0, 0.7 / 0.3, 1.0, 0.25])
    logits, labels = np.stack([np.zeros(4), z], 1), np.array([1, 1, 0, 0])
    sums = assessment.assess(logits, labels, np.ones(4, bool), minimum=4)
    histogram = sums["histogram"][1]
    assert np.argwhere(histogram[1]).ravel().tolist() in ([100, 140], [100, 139])
    assert np.flatnonzero(histogram[0]).tolist() in ([40, 100], [39, 100])
    told = assessment.assessed(sums, classes.NAMES[2]).measured
    assert (told["auroc"], told["auroc_error"]) == (7 / 8, 1 / 8)


def test_bins_that_hold_no_two_classes_give_the_exact_area():
    logits = np.array([[0, -3.0], [0, -1.0], [0, 1.0], [0, 3.0]])
    told = added_up(logits, np.array([0, 1, 0, 1]), np.array([0, 1, 2, 0]))
    measured = assessment.assessed(told, classes.NAMES[2]).measured
    assert (measured["auroc"], measured["auroc_error"]) == (3 / 4, 0.0)


@settings(max_examples=50, deadline=None)
@given(answers(), st.integers(1, 9))
def test_centres_with_few_members_say_nothing_of_them(found, minimum):
    logits, labels, centre = found
    sizes = np.bincount(centre, minlength=3)
    enough = (sizes >= minimum)[centre]
    sums = added_up(logits, labels, centre, minimum)
    if not enough.any():
        assert sums is None
        return
    alone = added_up(logits[enough], labels[enough], centre[enough])
    assert sums["number"].sum() == enough.sum()
    assert all(np.array_equal(sums[name], alone[name]) for name in sums)
    nobody = assessment.assess(logits, labels, np.zeros(len(labels), bool), minimum=0)
    assert nobody is None


@settings(max_examples=50, deadline=None)
@given(answers(), st.integers(2, 9))
def test_of_few_scans_the_confusion_is_all_that_is_said(found, minimum):
    logits, labels, centre = found
    enough = (np.bincount(centre, minlength=3) >= minimum)[centre]
    parts = [
        assessment.assess(logits, labels, centre == c, minimum=minimum, counted=True)
        for c in range(3)
    ]
    sums, classes_of = assessment.added(parts), logits.shape[1]
    assert sums["confusion"].tolist() == classes.confused(labels, logits.argmax(1), classes_of)
    assert sums["answered"] == enough.sum() and sums["number"].sum() == len(labels)
    assert sums["histogram"].sum() == classes_of * enough.sum()
    told = assessment.assessed(sums, classes.NAMES[classes_of]).measured
    if not enough.any():
        assert sums["loss"] == 0 and math.isnan(told["loss"]) and math.isnan(told["auroc"])
        return
    alone = added_up(logits[enough], labels[enough], centre[enough])
    assert all(np.array_equal(sums[n], alone[n]) for n in ("loss", "histogram", "answered"))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_scan_without_a_diagnosis_is_neither_right_nor_wrong(num_classes):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, num_classes)), np.arange(9) % num_classes
    logits[4, 1] = np.nan
    centre = np.arange(9) % 3
    sums = added_up(logits, labels, centre)
    assert sums["number"].sum() == 9 and sums["confusion"].sum() == 8
    assert sums["histogram"].sum() == num_classes * 8 and math.isnan(sums["loss"])
    told = assessment.assessed(sums, classes.NAMES[num_classes])
    exact = metrics.metrics(logits, labels, classes.NAMES[num_classes])
    assert told.measured.pop("n") == exact.pop("n") == 9
    told.measured.pop("auroc_error")
    assert set(told.measured) == set(exact)
    assert all(math.isnan(x) for x in [*told.measured.values(), *exact.values()])
    assert told.confusion.sum() == 8 and told.number.tolist() == sums["number"].tolist()


@functools.cache
def evaluated(num_classes, minimum):
    """What a server hears of a model, the scans that it is about, and their logits."""
    lrn = classes.perceptron(num_classes)
    train = classes.samples(20, 0, num_classes)
    held_out = {
        split: classes.samples(45, seed, num_classes)
        for seed, split in enumerate(("verification", "test"))
    }
    groups = {
        split: [("all", np.ones(45, bool)), ("odd", np.arange(45) % 2 == 1), ("few", rare)]
        for split in held_out
        for rare in [np.arange(45) % 11 == 0]
    }
    each = sites.sites(
        lrn, train, held_out, jax.random.key(7), chunk=8, minimum=minimum, groups=groups
    )
    fed = loopback.loopback(each, classes.NAMES[num_classes])(
        lrn, train, held_out["verification"], jax.random.key(7)
    )
    model = jax.jit(lrn.init)(jax.random.key(0), train.image[:1])
    found = fed.evaluate(model)
    logits = {s: np.asarray(lrn.logits(model, held_out[s].image), float) for s in held_out}
    return found, held_out, groups, logits


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_server_hears_of_groups_but_not_of_small_ones(num_classes):
    minimum = 4
    found, held_out, groups, logits = evaluated(num_classes, minimum)
    names = classes.NAMES[num_classes]
    assert set(found) == {"verification", "test"}
    for split, samples in held_out.items():
        assert set(found[split]) == {"all", "odd"}
        for name, who in groups[split][:2]:
            size = np.bincount(samples.centre, who)
            least = 1 if name == "all" else minimum
            some = who & (size >= least)[samples.centre]
            assert some.sum() == 45 if name == "all" else 0 < some.sum() < who.sum()
            exact = metrics.metrics(logits[split][some], samples.label[some], names)
            told = found[split][name].measured
            assert told["n"] == exact["n"] and told["accuracy"] == exact["accuracy"]
            np.testing.assert_allclose(told["loss"], exact["loss"], rtol=1e-5)
            assert abs(told["auroc"] - exact["auroc"]) <= told["auroc_error"] + 1e-9
            confusion = metrics.confusion(logits[split][some], samples.label[some], num_classes)
            assert found[split][name].confusion.tolist() == confusion.tolist()
