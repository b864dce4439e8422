"""Contracts that every federation keeps: the same requests get the same answers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import models, offers, task, types
from harmjax.engine import learner
from harmjax.federations import permitted, wire
from harmjax.runs import course
from harmjax.scorers import measures
from tests import classes, sites

FACTORIES = course.FEDERATIONS | {"loopback": sites.messages}
N, M, F = 23, 37, 4


def samples(size, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(size, F)).astype(np.float32)
    return types.Samples(
        image=image,
        label=(image[:, 0] > 0).astype(np.int32),
        centre=np.sort(rng.integers(0, 5, size)).astype(np.int32),
        identity=np.arange(size, dtype=np.uint32) + 1000,
    )


TRAIN, HELD_OUT, KEY = samples(N, 0), samples(M, 1), jax.random.key(7)


def of_classes(some, num_classes):
    """The samples, told apart as one of some classes: of two by sign, of three by thirds."""
    if num_classes == 2:
        return some
    return some._replace(label=np.digitize(some.image[:, 0], (-0.4, 0.4)).astype(np.int32))


@functools.cache
def make(name, num_classes=2, **options):
    classifier = models.get("mlp")(hidden=(5,), dropout=0.3, classes=num_classes)
    lrn = learner.learner(classifier, lambda cycle: 0.05, task=task.classification(num_classes))
    train, held_out = (of_classes(some, num_classes) for some in (TRAIN, HELD_OUT))
    fed = FACTORIES[name](lrn, train, held_out, KEY, **options)
    return lrn, lrn.init(jax.random.key(0), TRAIN.image[:1]), fed


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


HERE = np.flatnonzero(TRAIN.centre == 1)
IDS = HERE[[2, 0, 3]]


def stop_of(ids, weight, cycle=3):
    pad = 5 - len(ids)
    ids, weight = np.pad(ids, (0, pad), constant_values=N), np.pad(weight, (0, pad))
    as_sent = np.asarray(ids, np.int32), np.asarray(weight, np.float32)
    return types.Stop(jnp.int32(cycle), jnp.int32(1), *map(jnp.asarray, as_sent))


STOP = stop_of(IDS, [1.0, 0.5, 1.0])
EMPTY = stop_of([], [])


def batch_of(samples, ids, num_classes, cycle, fold):
    """The samples as their centre's learner sees them."""
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, cycle), samples.identity[i]) for i in ids]
    label = jnp.asarray(of_classes(samples, num_classes).label[ids])
    return types.Batch(samples.image[ids], label, jnp.stack(keys), jnp.asarray(fold))


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_learning_equals_a_step_on_those_samples(name, num_classes):
    lrn, model, fed = make(name, num_classes)
    after, loss = fed.learn(model, offers.leg(STOP))
    batch = batch_of(TRAIN, IDS, num_classes, 3, IDS % 2)
    expected, expected_loss = lrn.learn(model, batch, STOP.weight[:3], jnp.ones(3, bool), 3)
    close((after, loss), (expected, expected_loss[None]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", FACTORIES)
def test_a_leg_is_its_stops_in_a_row(name):
    """One of them empty, as where centres have stops of different number."""
    lrn, model, fed = make(name, 3)
    stops = [STOP, EMPTY, stop_of(HERE[[1, 4]], [1.0, 1.0])]
    leg = jax.tree.map(lambda *each: jnp.stack(each), *stops)
    after, loss = fed.learn(model, leg)
    batch = batch_of(TRAIN, HERE[[1, 4]], 3, 3, HERE[[1, 4]] % 2)
    one, first = lrn.learn(
        model, batch_of(TRAIN, IDS, 3, 3, IDS % 2), STOP.weight[:3], jnp.ones(3, bool), 3
    )
    two, last = lrn.learn(one, batch, jnp.ones(2), jnp.ones(2, bool), 3)
    close(after, two, rtol=1e-5, atol=1e-6)
    close(loss[jnp.array([0, 2])], jnp.stack([first, last]), rtol=1e-5)
    assert loss.shape == (3,) and jnp.isfinite(loss).all()
    margin = measures.measure("margin")
    found = fed.at(margin, model, leg, {})["margin"]
    assert found.shape == leg.ids.shape
    each = [fed.at(margin, model, offers.leg(stop), {})["margin"][0] for stop in stops]
    close(found, jnp.stack(each), rtol=1e-5)
    assert (jnp.isnan(found) == (leg.ids == N)).all()


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_evidence_at_a_stop_is_of_the_samples_that_are_there(name, num_classes):
    """Each against the fold that it is not in."""
    lrn, model, fed = make(name, num_classes)
    asked = measures.cross_fitted([measures.measure(n) for n in ("margin", "mahalanobis")])
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(2, num_classes, 5)).astype(np.float32)
    whiten = np.stack([np.eye(5), 2 * np.eye(5)]).astype(np.float32)
    reference = {"margin": {}, "mahalanobis": {"mean": mean, "whiten": whiten}}
    found = fed.at(asked, model, offers.leg(STOP), reference)
    label = of_classes(TRAIN, num_classes).label[IDS]
    off = np.asarray(lrn.features(model, TRAIN.image[IDS])) - mean[IDS % 2, label]
    distance = np.log((off**2).mean(1)) + np.where(IDS % 2, np.log(4), 0)
    margin = _margins(lrn, model, TRAIN.image[IDS], label)
    np.testing.assert_allclose(
        found["harm"][0, :3], np.stack([-margin, distance], 1), rtol=1e-4, atol=1e-5
    )
    assert found["label"][0, :3].tolist() == label.tolist()
    assert all(jnp.isnan(leaf[0, 3:]).all() for leaf in found.values())


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("chunk", [5, 64])
def test_confusion_is_that_of_every_verification_scan(name, chunk):
    lrn, model, fed = make(name, chunk=chunk)
    positive = np.asarray(lrn.logits(model, HELD_OUT.image))[:, 1] > 0
    diseased = HELD_OUT.label == 1
    (tn, fp), (fn, tp) = fed.total("confusion", model).tolist()
    assert tp == (positive & diseased).sum() > 0
    assert fp == (positive & ~diseased).sum()
    assert tn == (~positive & ~diseased).sum() > 0
    assert fn == (~positive & diseased).sum()


def meant(fold, minimum):
    """Scans [M] bool of one fold, or of both, at centres that have enough of them; by hand."""
    found = np.zeros(M, bool)
    for c in np.unique(HELD_OUT.centre):
        own = np.flatnonzero(HELD_OUT.centre == c)[slice(fold, None, None if fold is None else 2)]
        found[own] = len(own) >= minimum
    return found


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    ("num_classes", "fold", "minimum"), [(2, None, 7), (2, 1, 3), (3, None, 8), (3, 0, 4)]
)
def test_sums_are_over_the_scans_meant_of_centres_with_enough(name, num_classes, fold, minimum):
    lrn, model, fed = make(name, num_classes, chunk=5, minimum=minimum)
    held_out, asked = of_classes(HELD_OUT, num_classes), meant(fold, minimum)
    assert 0 < asked.sum() < (M if fold is None else (M + 5) // 2)
    logits = np.asarray(lrn.logits(model, held_out.image), float)
    own = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    own = own[np.arange(M), held_out.label]
    for statistic, each in (("loss", -np.log(own)), ("error", 1 - own)):
        total, number = fed.total(statistic, model, fold=fold)
        np.testing.assert_allclose(total, each[asked].sum(), rtol=1e-5)
        assert number == asked.sum()
    features = np.asarray(lrn.features(model, held_out.image), float)
    sizes, sums, second = fed.total("feature_moments", model, fold=fold)
    of_class = [asked & (held_out.label == k) for k in range(num_classes)]
    assert sizes.tolist() == [own.sum() for own in of_class]
    np.testing.assert_allclose(sums, [features[o].sum(0) for o in of_class], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second, features[asked].T @ features[asked], rtol=1e-4, atol=1e-5)
    number, total = fed.total("appearance_sums", model, fold=fold)
    image = held_out.image[asked].astype(float)
    np.testing.assert_allclose(total, image.sum(0), rtol=1e-4, atol=1e-5)
    scatter = fed.total("appearance_scatter", model, jnp.ones(F), fold=fold)
    np.testing.assert_allclose(scatter, (image - 1).T @ (image - 1), rtol=1e-4, atol=1e-5)
    assert number == asked.sum()
    found = fed.total("confusion", model, fold=fold)
    everyone = meant(fold, 0)
    expected = classes.confused(held_out.label[everyone], logits[everyone].argmax(1), num_classes)
    assert found.tolist() == expected and found.dtype == jnp.int32
    assert fed.num_classes == num_classes


@pytest.mark.parametrize("name", FACTORIES)
def test_only_folds_can_be_asked_for(name):
    """The sums over all scans but one would show that one by subtraction."""
    _, model, fed = make(name)
    mask = np.arange(M) > 0
    with pytest.raises(TypeError, match="among"):
        fed.total("gradient", model, among=mask)
    with pytest.raises(ValueError, match="fold=|Non-hashable"):
        fed.total("gradient", model, fold=mask)
    with pytest.raises(ValueError, match="fold=2 of held-out scans; known: 0, 1, or None"):
        fed.total("gradient", model, fold=2)


@pytest.mark.parametrize("name", FACTORIES)
def test_an_unknown_statistic_is_refused_by_name(name):
    _, model, fed = make(name)
    for unknown in ("jnp", "get", "Callable", "confusions"):
        with pytest.raises(ValueError, match=f"statistic='{unknown}'.*; known: confusion, loss"):
            fed.total(unknown, model)


def test_a_site_does_what_it_knows():
    (one, *_) = sites.sites(make("memory")[0], TRAIN, {"verification": HELD_OUT}, KEY)
    for request in ({"op": "rows"}, {"model": None}, ("learn",)):
        with pytest.raises(ValueError, match="op=.*; known: learn, at, total"):
            one(wire.pack(request))


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_survey_is_about_every_held_out_scan_in_its_place(name, num_classes):
    """Those of small centres too: what comes back is of single scans, and only evidence."""
    lrn, model, fed = make(name, num_classes, chunk=5, minimum=8)
    found = fed.survey(measures.measure("margin"), model, {})["margin"]
    label = of_classes(HELD_OUT, num_classes).label
    np.testing.assert_allclose(found, _margins(lrn, model, HELD_OUT.image, label), rtol=1e-5)
    assert (np.asarray(fed.held_out_centre) == HELD_OUT.centre).all()
    folded = measures.cross_fitted([measures.measure("mahalanobis")])
    mean = np.stack([np.full((num_classes, 5), f, np.float32) for f in (-1, 2)])
    reference = {
        "mahalanobis": {"mean": mean, "whiten": np.stack([np.eye(5, dtype=np.float32)] * 2)}
    }
    found = fed.survey(folded, model, reference)
    fold = np.where(meant(0, 0), 0, 1)
    off = np.asarray(lrn.features(model, HELD_OUT.image)) - mean[fold, 0]
    np.testing.assert_allclose(found["harm"][:, 0], np.log((off**2).mean(1)), rtol=1e-4, atol=1e-5)
    assert found["label"].tolist() == label.tolist()
    assert permitted.folds(HELD_OUT.centre).tolist() == fold.tolist()


def test_samples_of_another_centre_are_not_asked_for_by_message():
    _, model, fed = make("loopback")
    elsewhere = STOP._replace(centre=jnp.int32(2))
    with pytest.raises(ValueError, match=f"sample {IDS[0]} is of centre 1, .* centre 2"):
        fed.learn(model, offers.leg(elsewhere))
    with pytest.raises(ValueError, match="central"):
        fed.at(measures.measure("margin"), model, offers.leg(elsewhere), {})


def _margins(lrn, model, image, label):
    logits = np.array(lrn.logits(model, image), float)
    rows = np.arange(len(label))
    own = logits[rows, label]
    logits[rows, label] = -np.inf
    return own - logits.max(1)
