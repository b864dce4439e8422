"""Scorers by features and by appearance, counts and fusion, by hand."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from harmjax import offers, scorers, types
from harmjax.federations import memory, statistics
from harmjax.scorers import combined, descriptors, knn_shapley, measures
from tests.scorers.twins import (
    CLEAN,
    FLIPPED,
    THREE,
    TWO,
    F,
    M,
    N,
    asked,
    assert_close,
    in_strides,
    stop_of,
)


def test_distance_is_mahalanobis_to_the_class_of_the_verification_scans(
    lrn, data, fed, model, num_classes
):
    train, held_out, _ = data
    features = np.asarray(lrn.features(model, held_out.image), float)
    label = np.asarray(held_out.label)
    mean = np.stack([features[label == c].mean(axis=0) for c in range(num_classes)])
    within = features - mean[label]
    covariance = within.T @ within / M
    size = len(covariance)
    shrunk = 0.8 * covariance + 0.2 * np.trace(covariance) / size * np.eye(size)
    off = np.asarray(lrn.features(model, train.image), float) - mean[np.asarray(train.label)]
    expected = np.einsum("nf,fg,ng->n", off, np.linalg.inv(shrunk), off) / size
    measure, scorer = asked("mahalanobis", shrinkage=0.2)
    ref = scorer.reference(fed, model, 0)
    found = measures.evidence(measure, fed, model, stop_of(2, 3, 4, 5), ref)["mahalanobis"]
    np.testing.assert_allclose(found, expected[2:6], rtol=1e-3)


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_knn_shapley_equals_the_exhaustive_shapley_value(k):
    rng = np.random.default_rng(k)
    distance, match = rng.uniform(size=6), rng.integers(0, 2, 6).astype(bool)

    def utility(members):
        nearest = sorted(members, key=lambda i: distance[i])[:k]
        return sum(match[i] for i in nearest) / k

    expected = np.zeros(6)
    for order in itertools.permutations(range(6)):
        for place, i in enumerate(order):
            expected[i] += utility(order[: place + 1]) - utility(order[:place])
    expected /= math.factorial(6)
    found = knn_shapley.shapley(jnp.array(distance), jnp.array(match), jnp.ones(6, bool), k)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_knn_shapley_leaves_out_what_is_not_known():
    distance, match = jnp.array([1.0, jnp.nan, 2.0, 0.5]), jnp.array([True, True, False, False])
    known = jnp.array([True, False, True, True])
    found = knn_shapley.shapley(distance, match, known, 2)
    bare = knn_shapley.shapley(distance[known], match[known], jnp.ones(3, bool), 2)
    assert jnp.isnan(found[1])
    np.testing.assert_allclose(found[known], bare, atol=1e-6)


def test_neighbours_uses_no_group_smaller_than_asked(fed, model):
    ref = scorers.get("knn_shapley")(prototypes=8, smallest=6).reference(fed, model, 0)
    size = ref["size"]
    assert size.shape == (fed.num_classes, 8) and (size > 0).any(axis=1).all()
    assert ((size == 0) | (size >= 6)).all() and M / 2 < size.sum() <= M


@THREE
def test_neighbours_vote_for_the_class_of_each_group(num_classes):
    """Against Shapley values over all orders of five samples and six groups of three classes."""
    rng = np.random.default_rng(0)
    size = np.array([[5.0, 0.0], [7.0, 6.0], [9.0, 5.0]])
    label, distances = np.array([0, 2, 1, 2, 0]), rng.uniform(size=(5, 6))

    def utility(members):
        shares = [0.0] * 6
        for point in range(6):
            nearest = sorted(members, key=lambda i: distances[i, point])[:2]  # noqa: B023
            shares[point] = sum(label[i] == point // 2 for i in nearest) / 2
        return np.dot(shares, size.ravel()) / size.sum()

    value = np.zeros(5)
    for order in itertools.permutations(range(5)):
        for place, i in enumerate(order):
            value[i] += utility(order[: place + 1]) - utility(order[:place])
    scorer = scorers.get("knn_shapley")(prototypes=2, k=2)
    known = {
        "label": jnp.array([*label, jnp.nan]),
        "distances": jnp.pad(distances, ((0, 1), (0, 0))),
    }
    harm = scorer.judge(known, {"size": jnp.asarray(size)})
    np.testing.assert_allclose(harm[:5], -5 * value / math.factorial(5), atol=1e-6)
    assert jnp.isnan(harm[5])


@THREE
def test_what_neighbours_measures_is_the_distance_to_every_group(lrn, data, fed, model):
    measure, scorer = asked("knn_shapley", prototypes=3, iterations=1, smallest=1)
    ref = scorer.reference(fed, model, 0)
    features = np.asarray(lrn.features(model, data[0].image[2:6]))
    expected = [
        [np.linalg.norm(x - point) for own in np.asarray(ref["points"]) for point in own]
        for x in features
    ]
    found = measures.evidence(measure, fed, model, stop_of(2, 3, 4, 5), ref)
    np.testing.assert_allclose(found["distances"], expected, rtol=1e-4, atol=1e-5)
    assert found["label"].tolist() == data[0].label[2:6].tolist()


@THREE
def test_a_groups_mean_is_that_of_the_scans_of_its_class_nearest_to_it(
    lrn, data, model, num_classes
):
    held_out = data[1]
    features = np.asarray(lrn.features(model, held_out.image), float)
    points = features[: 2 * num_classes].reshape(num_classes, 2, -1)
    weight = np.arange(M) % 5 > 0
    size, total = np.zeros((num_classes, 2)), np.zeros(points.shape)
    for x, label, counts in zip(features, held_out.label, weight, strict=True):
        nearest = ((x - points[label]) ** 2).sum(1).argmin()
        size[label, nearest] += counts
        total[label, nearest] += counts * x
    batch = types.Batch(held_out.image, held_out.label, None, None)
    found = statistics.nearest_feature_sums(
        lrn, model, batch, jnp.asarray(weight, jnp.float32), jnp.asarray(points)
    )
    assert found[0].tolist() == size.tolist()
    np.testing.assert_allclose(found[1], total, rtol=1e-5, atol=1e-5)


def test_error_rate_is_the_rise_after_training_on_one_sample_alone(lrn, data, model, num_classes):
    fed, model = in_strides(lrn, data, model)
    held_out = data[1]

    def rates(m):
        wrong = lrn.logits(m, held_out.image).argmax(1) != held_out.label
        return [float(wrong[held_out.label == c].mean()) for c in range(num_classes)]

    measure, scorer = asked("error_rate")
    found = measures.evidence(measure, fed, model, stop_of(FLIPPED, 3, N), {})
    for slot, i in enumerate((FLIPPED, 3)):
        after, _ = fed.learn(model, offers.leg(stop_of(i)))
        rises = np.subtract(rates(after), rates(model))
        np.testing.assert_allclose(found["rise"][slot], rises, atol=1e-6)
    assert scorer.judge(found, {})[0] > 0


def test_harm_by_loss_is_what_exceeds_chance_and_by_margin_what_is_lost_to_the_next_class(
    lrn, data, fed, model, num_classes
):
    logits = np.asarray(lrn.logits(model, data[0].image[2:6]), float)
    label = np.asarray(data[0].label[2:6])
    own = logits[np.arange(4), label]
    loss = np.log(np.exp(logits).sum(1)) - own
    rivals = [max(np.delete(row, y)) for row, y in zip(logits, label, strict=True)]
    expected = {"loss": loss - math.log(num_classes), "margin": rivals - own}
    for name, harm in expected.items():
        measure, scorer = asked(name)
        ref = scorer.reference(fed, model, 0)
        found = scorer.judge(measures.evidence(measure, fed, model, stop_of(2, 3, 4, 5), ref), ref)
        np.testing.assert_allclose(found, harm, rtol=1e-4, atol=1e-5, err_msg=name)


def test_combined_finds_what_only_one_family_sees():
    rng = np.random.default_rng(0)
    quiet, loud = rng.normal(size=100), rng.normal(size=100)
    loud[:5] -= 20
    scorer = combined.combined(families=("margin", "loss"))
    evidence = {"margin": jnp.array(loud), "loss": jnp.array(quiet)}
    harm = scorer.judge(evidence, {"margin": {}, "loss": {"chance": math.log(2)}})
    assert set(np.argsort(-np.asarray(harm))[:5]) == {0, 1, 2, 3, 4}


def test_no_family_decides_alone_or_excuses():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 100))
    first[:3], second[:3] = (1e6, 9.0, 9.0), (0.0, 9.0, -1e6)
    harm = combined.fuse({"first": jnp.array(first), "second": jnp.array(second)})
    assert int(jnp.argmax(harm)) == 1
    assert harm[2] > jnp.median(harm) + 5


def test_the_samples_of_a_centre_share_half_of_what_is_known_of_it():
    harm = {"mahalanobis": jnp.array([-1.0, 3.0, 0.0, 0.0, jnp.nan, 5.0])}
    alone = np.asarray(combined.fuse(harm))
    shared = np.asarray(combined.fuse(harm, centre=jnp.array([7, 7, 2, 2, 9, 9])))
    means = alone[:2].mean(), alone[2:4].mean(), alone[5]
    gained = [means[0] - means[0], means[1] - means[0], means[2] - means[0]]
    np.testing.assert_allclose((shared - alone)[[0, 1, 2, 3, 5]],
                               0.5 * np.array(gained)[[0, 0, 1, 1, 2]], rtol=1e-6)  # fmt: skip
    assert means[1] < means[0] < means[2] and np.isnan(shared[4])


@TWO
def test_combined_takes_families_that_try_updates(fed, model):
    measure, scorer = asked("combined", families=("margin", "with_without"))
    ref = scorer.reference(fed, model, 0)
    found = measures.evidence(measure, fed, model, stop_of(2, 3, N), ref)
    alone, _ = asked("with_without", verify="error")
    exact = measures.evidence(alone, fed, model, stop_of(2, 3, N), {})
    assert_close(found["with_without"], exact["with_without"])
    assert set(found) == {"margin", "with_without"}


def test_a_family_that_says_the_same_of_everyone_counts_nothing():
    assert combined.unusual(jnp.full(4, 3.0)).tolist() == [0.0] * 4


@TWO
def test_appearance_sees_damage_and_no_label(lrn, data, model):
    image = data[0].image.at[FLIPPED].set(jnp.array([9.0, -9.0, 9.0, -9.0]))
    fed = memory.memory(lrn, data[0]._replace(image=image), *data[1:])
    measure, scorer = asked("appearance")
    ref = scorer.reference(fed, model, 0)
    found = measures.evidence(measure, fed, model, stop_of(CLEAN, FLIPPED, 2, 3), ref)
    described = np.asarray(data[1].image, float)
    mean, scale = described.mean(0), np.sqrt(described.var(0) + 0.005**2)
    correlation = np.cov(((described - mean) / scale).T, bias=True)
    shrunk = 0.9 * correlation + 0.1 * np.trace(correlation) / F * np.eye(F)
    off = (np.asarray(image[:4], float) - mean) / scale
    expected = np.einsum("bi,ij,bj->b", off, np.linalg.inv(shrunk), off) / F
    np.testing.assert_allclose(found["appearance"], expected, rtol=1e-3)
    harm = scorer.judge(found, ref)
    assert harm[FLIPPED] > 1 > harm[CLEAN]


def products(jaxpr):
    """All matrix products of a jaxpr, those of functions it calls too."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            yield eqn
        for inner in core.jaxprs_in_params(eqn.params):
            yield from products(inner)


@TWO
def test_no_product_behind_a_covariance_is_rounded_by_a_gpu(lrn, data, model, num_classes):
    train, held_out, *rest = data
    bare = lrn._replace(features=lambda model, image: image)
    fed = memory.memory(bare, train, held_out, *rest)
    volume = jnp.ones((12, 14, 8), jnp.uint8)
    distance, appearance = scorers.get("mahalanobis")(), scorers.get("appearance")()
    at_hand = {"mean": jnp.ones((num_classes, F)), "whiten": jnp.eye(F)}
    looks = {"mean": jnp.ones(F), "scale": jnp.ones(F), "whiten": jnp.eye(F)}
    asked = {
        "mahalanobis": (lambda: distance.reference(fed, model, 0), 3),
        "distance of samples": (lambda: distance.measure(bare, model, held_out, at_hand), 1),
        "appearance": (lambda: appearance.reference(fed, model, 0), 2),
        "appearance of samples": (lambda: appearance.measure(bare, model, held_out, looks), 1),
        "descriptor": (lambda: descriptors.describe(volume), 2),
    }
    for name, (ask, least) in asked.items():
        found = [eqn.params["precision"] for eqn in products(jax.make_jaxpr(ask)().jaxpr)]
        assert len(found) >= least, name
        assert set(found) == {(jax.lax.Precision.HIGHEST,) * 2}, name
