"""Contracts of every harm scorer in the folder, and each one's own oracle."""

import itertools
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import itinerary, learner, models, scorers, statistics, types
from harmjax.federations import memory, stepwise, stream
from harmjax.scorers import accumulate, alignment, combined, influence, neighbours, traffic

NAMES = scorers.names()
ALONE = [name for name in NAMES if name not in ("with_without",)]
N, M, F, B = 24, 60, 4, 4
CLEAN, FLIPPED = 0, 1  # twins: the same image at the same centre under both labels
PAGE = pathlib.Path(__file__).parents[1] / "docs" / "extending.md"


def cohort(key, number, centres=3):
    keys = jax.random.split(key, 2)
    label = (jnp.arange(number) % 2).astype(jnp.int32)
    image = jax.random.normal(keys[0], (number, F)) + 1.5 * (2 * label - 1)[:, None]
    centre = (jnp.arange(number) // 2 % centres).astype(jnp.int32)
    return types.Samples(image, label, centre, jnp.arange(number, dtype=jnp.uint32))


@pytest.fixture(scope="module")
def data():
    train, held_out = cohort(jax.random.key(0), N), cohort(jax.random.key(1), M)
    typical = jnp.full(F, 1.5)
    train = train._replace(
        image=train.image.at[CLEAN].set(typical).at[FLIPPED].set(typical),
        label=train.label.at[CLEAN].set(1).at[FLIPPED].set(0),
    )
    return train, held_out, jax.random.key(2)


@pytest.fixture(scope="module")
def lrn():
    return learner.learner(models.get("mlp")(hidden=(5,)), lambda cycle: jnp.float32(0.1))


def trained(lrn, data, steps, size=B):
    fed = memory.memory(lrn, *data)
    ids = jax.random.randint(jax.random.key(3), (steps, size), 2, N)

    @jax.jit
    def run(model):
        def step(model, ids):
            stop = types.Stop(jnp.int32(0), jnp.int32(0), ids)
            return fed.learn(model, stop, jnp.ones(size))[0], None

        return jax.lax.scan(step, model, ids)[0]

    return run(lrn.init(jax.random.key(4), data[0].image[:1]))


def in_strides(lrn, data, model):
    """A federation and the model such that training on one sample moves an error."""
    bold = learner.learner(models.get("mlp")(hidden=(5,)), lambda cycle: jnp.float32(1.0))
    fresh = lrn.init(jax.random.key(4), data[0].image[:1]).opt_state
    return memory.memory(bold, *data), model._replace(opt_state=fresh)


@pytest.fixture(scope="module")
def model(lrn, data):
    return trained(lrn, data, 12)


@pytest.fixture(scope="module")
def fed(lrn, data):
    return memory.memory(lrn, *data, chunk=16)


def stop_of(*ids):
    return types.Stop(jnp.int32(0), jnp.int32(0), jnp.array(ids, jnp.int32))


@pytest.fixture(scope="module")
def runs(fed):
    """Per scorer: the scorer, its jitted reference and evidence, and a count of their traces."""

    def build(name):
        scorer, traces = scorers.get(name)(), []

        @jax.jit
        def reference(model):
            traces.append("reference")
            return scorer.reference(fed, model, 1)

        @jax.jit
        def evidence(model, stop, reference):
            traces.append("evidence")
            return scorers.evidence(scorer, fed, model, stop, reference)

        return scorer, reference, evidence, traces

    return {name: build(name) for name in NAMES}


def assert_close(this, that, atol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol), this, that)


def rows(evidence, at):
    return jax.tree.map(lambda e: e[jnp.array(at)], evidence)


def test_names_are_found_and_unknown_ones_are_explained():
    assert {"alignment", "combined", "with_without", "error_rate", "neighbours"} <= set(NAMES)
    with pytest.raises(ValueError, match="no 'alignement' in scorers; known: .*alignment"):
        scorers.get("alignement")


@pytest.mark.parametrize("name", NAMES)
def test_evidence_is_a_few_floats_a_sample_and_nan_in_padding(runs, model, name):
    scorer, reference, evidence, _ = runs[name]
    ref = reference(model)
    found = evidence(model, stop_of(2, 3, N, 5), ref)
    for leaf in found.values():
        assert leaf.dtype == jnp.float32
        assert leaf.shape[0] == B and leaf[0].size <= 32
        assert jnp.isnan(leaf[2]).all() and jnp.isfinite(leaf[jnp.array([0, 1, 3])]).all()
    harm = scorer.judge(found, ref)
    assert harm.shape == (B,)
    assert jnp.isnan(harm).tolist() == [False, False, True, False]
    assert_close(harm[jnp.array([0, 1, 3])], scorer.judge(rows(found, [0, 1, 3]), ref))


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_order_do_not_matter_and_nothing_is_remembered(runs, fed, model, name):
    scorer, reference, evidence, _ = runs[name]
    ref = reference(model)
    first = evidence(model, stop_of(2, 3, 4, N), ref)
    turned = evidence(model, stop_of(4, N, 2, 3), ref)
    assert_close(rows(first, [2, 3, 0, 1]), turned)
    bare = jax.jit(lambda s: scorers.evidence(scorer, fed, model, s, ref))(stop_of(2, 3, 4))
    assert_close(rows(first, [0, 1, 2]), bare)
    assert_close(first, evidence(model, stop_of(2, 3, 4, N), ref), atol=0)


@pytest.mark.parametrize("name", ALONE)
def test_a_sample_is_judged_on_its_own(runs, model, name):
    _, reference, evidence, _ = runs[name]
    ref = reference(model)
    together = evidence(model, stop_of(2, 3, 4, 5), ref)
    assert_close(rows(together, [1]), rows(evidence(model, stop_of(N, 3, N, N), ref), [1]))


@pytest.mark.parametrize("name", NAMES)
def test_compiles_once_whatever_the_model_and_the_stop(runs, lrn, data, model, name):
    _, reference, evidence, traces = runs[name]
    for m, stop in ((model, stop_of(2, 3, 4, 5)), (trained(lrn, data, 3), stop_of(6, N, N, N))):
        evidence(m, stop, reference(m))
    assert sorted(traces) == ["evidence", "reference"]


@pytest.mark.parametrize("name", NAMES)
def test_federations_agree(runs, lrn, data, model, name):
    scorer, reference, _, _ = runs[name]
    stops = jax.tree.map(
        lambda *s: jnp.stack(s), stop_of(CLEAN, FLIPPED, 2, 3), stop_of(4, 5, 6, N)
    )
    memory_fed = memory.memory(lrn, *data, chunk=16)
    expected_reference = reference(model)
    expected = jax.jit(lambda s, r: scorers.survey(scorer, memory_fed, model, s, r))(
        stops, expected_reference
    )
    assert jnp.isnan(next(iter(expected.values()))[7:]).all()
    on_disk = jax.tree.map(np.asarray, data[:2])
    for other in (
        stepwise.stepwise(lrn, *data, chunk=16),
        stream.stream(lrn, *on_disk, data[2], chunk=16),
    ):
        ref = scorer.reference(other, model, 1)
        assert_close(ref, expected_reference)
        assert_close(scorers.survey(scorer, other, model, stops, ref), expected)


@pytest.mark.parametrize("name", NAMES)
def test_mapped_over_models_it_equals_a_loop(runs, lrn, data, fed, model, name):
    scorer, reference, evidence, _ = runs[name]
    stop = stop_of(2, 3, 4, N)
    each = [model, trained(lrn, data, 3)]

    def run(model):
        return scorers.evidence(scorer, fed, model, stop, scorer.reference(fed, model, 1))

    mapped = jax.jit(jax.vmap(run))(jax.tree.map(lambda *m: jnp.stack(m), *each))
    for number, m in enumerate(each):
        looped = evidence(m, stop, reference(m))
        assert_close(jax.tree.map(lambda e: e[number], mapped), looped)  # noqa: B023


@pytest.mark.parametrize("name", [name for name in NAMES if name != "appearance"])
def test_a_flipped_label_scores_above_its_clean_twin(runs, lrn, data, fed, model, name):
    scorer, reference, _, _ = runs[name]
    if name == "error_rate":
        fed, model = in_strides(lrn, data, model)
    ref = reference(model)
    draw = itinerary.itinerary(np.asarray(data[0].centre), batch_size=B)
    stops = draw(jax.random.key(0), jnp.ones(N, bool), 0)
    found = jax.jit(lambda s, r: scorers.survey(scorer, fed, model, s, r))(stops, ref)
    harm = scorer.judge(found, ref)
    assert harm.shape == (N,) and jnp.isfinite(harm).all()
    assert harm[FLIPPED] > harm[CLEAN]


def test_appearance_sees_damage_and_no_label(lrn, data, model):
    image = data[0].image.at[FLIPPED].set(jnp.array([9.0, -9.0, 9.0, -9.0]))
    fed = memory.memory(lrn, data[0]._replace(image=image), *data[1:])
    scorer = scorers.get("appearance")()
    found = scorers.evidence(
        scorer, fed, model, stop_of(CLEAN, FLIPPED, 2, 3), ref := scorer.reference(fed, model, 0)
    )
    described = np.asarray(data[1].image, float)
    mean, scale = described.mean(0), np.sqrt(described.var(0) + 0.005**2)
    correlation = np.cov(((described - mean) / scale).T, bias=True)
    shrunk = 0.9 * correlation + 0.1 * np.trace(correlation) / F * np.eye(F)
    off = (np.asarray(image[:4], float) - mean) / scale
    expected = np.einsum("bi,ij,bj->b", off, np.linalg.inv(shrunk), off) / F
    np.testing.assert_allclose(found["appearance"], expected, rtol=1e-3)
    harm = scorer.judge(found, ref)
    assert harm[FLIPPED] > 1 > harm[CLEAN]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_sends_is_known_beforehand(runs, fed, model, name):
    scorer = runs[name][0]
    sent = traffic.exchanges(scorer, fed, model, stop_of(2, 3, 4, 5))
    evidence = [e for e in sent if e.step == "evidence"]
    if scorer.trial is None:
        (at,) = evidence
        assert (at.request, at.centres, at.passes) == ("at", "one", scorer.passes)
        assert at.bytes_back <= B * 4 * 32
    else:
        assert {e.request for e in evidence} & {"learn"}
    for e in sent:
        if e.request not in ("learn", "at"):
            assert e.centres == ("all" if e.request == "counts" else "large")


def test_traffic_counts_every_round_of_the_conjugate_gradients(fed, model):
    scorer = scorers.get("influence")(iterations=7)
    sent = {e.request: e for e in traffic.exchanges(scorer, fed, model, stop_of(2, 3))}
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    assert sent["gauss_newton_product"].times == 7
    assert sent["gradient"].times == 1
    assert sent["gradient"].bytes_back == parameters + 4
    assert sent["at"].bytes_back == 8


@pytest.mark.parametrize("name", NAMES)
def test_a_centre_with_few_held_out_scans_leaves_no_trace_in_the_reference(
    lrn, data, model, name, runs
):
    train, held_out, key = data
    lonely = held_out._replace(centre=held_out.centre.at[:4].set(7))
    moved = lonely._replace(image=lonely.image.at[:4].add(3.0))
    found = [
        scorers.get(name)().reference(memory.memory(lrn, train, h, key, minimum=5), model, 1)
        for h in (lonely, moved)
    ]
    assert_close(*found, atol=0)


def test_alignment_is_the_dot_product_of_per_sample_gradients(lrn, data, fed, model):
    scorer = alignment.alignment(optimiser="sgd")
    ref = scorer.reference(fed, model, 1)
    train, held_out, key = data

    def loss(params, image, label):
        logits = lrn.logits(model._replace(params=params), image[None])
        return optax.sigmoid_binary_cross_entropy(logits, label.astype(float)[None])[0]

    def gradients(samples):
        each = jax.vmap(jax.grad(loss), (None, 0, 0))(model.params, samples.image, samples.label)
        return jnp.concatenate([g.reshape(len(g), -1) for g in jax.tree.leaves(each)], axis=1)

    expected = -0.1 * gradients(train)[2:6] @ gradients(held_out).mean(axis=0)
    found = scorers.evidence(scorer, fed, model, stop_of(2, 3, 4, 5), ref)
    np.testing.assert_allclose(found["alignment"], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["alignment", "influence"])
def test_a_difference_takes_the_place_of_the_derivative(fed, model, name):
    exact, cheap = scorers.get(name)(), scorers.get(name)(derivative="difference")
    ref = exact.reference(fed, model, 1)
    stop = stop_of(CLEAN, FLIPPED, 2, 3)
    first, second = (scorers.evidence(s, fed, model, stop, ref)[name] for s in (exact, cheap))
    np.testing.assert_allclose(first, second, rtol=0.01, atol=0.002 * np.abs(first).max())
    assert cheap.passes == ("forward", "forward")


def test_alignment_is_with_and_without_to_first_order_under_gradient_descent(data):
    classifier = models.get("mlp")(hidden=(5,))
    slow = learner.learner(classifier, lambda cycle: 1e-2, optimiser=optax.identity())
    fed = memory.memory(slow, *data)
    model = trained(slow, data, 30)
    stop = stop_of(CLEAN, FLIPPED, 2, 3)
    scorer = alignment.alignment(optimiser="sgd")
    first = scorers.evidence(scorer, fed, model, stop, scorer.reference(fed, model, 0))
    exact = scorers.evidence(scorers.get("with_without")(), fed, model, stop, {})
    np.testing.assert_allclose(first["alignment"] / B, exact["with_without"], rtol=0.03, atol=1e-6)


@pytest.mark.parametrize("replicas", ["map", "vmap"])
def test_with_without_is_one_step_leave_one_out(lrn, data, fed, model, replicas):
    train, held_out, _ = data
    ids = [CLEAN, FLIPPED, 2]

    def loss_after(kept):
        image, label = train.image[jnp.array(ids)], train.label[jnp.array(ids)]
        weight = jnp.array([float(i in kept) for i in ids])

        def objective(params):
            logits = lrn.logits(model._replace(params=params), image)
            return weight @ optax.sigmoid_binary_cross_entropy(logits, label) / len(ids)

        adam = optax.adam(0.1, eps=1e-7)
        state = (model.opt_state, optax.EmptyState())
        updates, _ = adam.update(jax.grad(objective)(model.params), state)
        updated = model._replace(params=optax.apply_updates(model.params, updates))
        logits = lrn.logits(updated, held_out.image)
        return float(optax.sigmoid_binary_cross_entropy(logits, held_out.label).mean())

    expected = [loss_after(ids) - loss_after([j for j in ids if j != i]) for i in ids]
    scorer = scorers.get("with_without")(replicas=replicas)
    found = scorers.evidence(scorer, fed, model, stop_of(*ids, N), {})["with_without"]
    np.testing.assert_allclose(found[:3], expected, atol=1e-5)


def test_leaving_out_the_only_sample_of_a_stop_is_not_stepping(lrn, data, fed, model):
    loss, number = fed.total("loss", model)
    stepped, _ = fed.learn(model, stop_of(2, N), jnp.array([1.0, 0.0]))
    scorer = scorers.get("with_without")()
    found = scorers.evidence(scorer, fed, model, stop_of(2, N), {})["with_without"]
    np.testing.assert_allclose(found[0], (fed.total("loss", stepped)[0] - loss) / number, atol=1e-6)


def test_under_adam_alignment_predicts_the_exact_step(data):
    classifier = models.get("mlp")(hidden=(8,))
    small = learner.learner(classifier, lambda cycle: jnp.float32(1e-3))
    fed = memory.memory(small, *data)
    aware, exact = scorers.get("alignment")(), scorers.get("with_without")(replicas="vmap")

    @jax.jit
    def both(model):
        ids = jnp.arange(N, dtype=jnp.int32).reshape(-1, B)
        stops = types.Stop(jnp.zeros(len(ids), jnp.int32), jnp.zeros(len(ids), jnp.int32), ids)
        reference = aware.reference(fed, model, 0)
        first = scorers.survey(aware, fed, model, stops, reference)["alignment"]
        return first / B, scorers.survey(exact, fed, model, stops, {})["with_without"]

    for steps, least in ((20, 0.98), (60, 0.98)):
        first, true = both(trained(small, data, steps))
        assert np.corrcoef(first, true)[0, 1] > least
    np.testing.assert_allclose(np.polyfit(first, true, 1)[0], 1, atol=0.15)


def test_adam_awareness_needs_adam(data):
    plain = learner.learner(
        models.get("mlp")(hidden=()), lambda cycle: 0.1, optimiser=optax.identity()
    )
    fed = memory.memory(plain, *data)
    with pytest.raises(ValueError, match="no second moment; use 'sgd'"):
        scorers.get("alignment")().reference(fed, plain.init(jax.random.key(0), data[0].image), 0)


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_influence_solves_with_the_curvature_of_a_logistic_regression(data, curvature):
    logistic = learner.learner(models.get("mlp")(hidden=()), lambda cycle: jnp.float32(0.1))
    fed = memory.memory(logistic, *data)
    model = trained(logistic, data, 10)
    train, held_out, _ = data

    def rows_of(samples):  # gradients of the logit by (bias, kernel)
        return np.hstack([np.ones((len(samples.label), 1)), np.asarray(samples.image, float)])

    def residual(samples):
        return np.asarray(jax.nn.sigmoid(logistic.logits(model, samples.image))) - np.asarray(
            samples.label
        )

    x, r = rows_of(held_out), residual(held_out)
    p = r + np.asarray(held_out.label)
    hessian = (x * (p * (1 - p))[:, None]).T @ x / M
    solved = np.linalg.solve(hessian + 0.05 * np.eye(F + 1), x.T @ r / M)
    expected = -(rows_of(train) * residual(train)[:, None])[2:6] @ solved
    scorer = influence.influence(curvature=curvature, damping=0.05, iterations=F + 2)
    ref = scorer.reference(fed, model, 0)
    found = scorers.evidence(scorer, fed, model, stop_of(2, 3, 4, 5), ref)["influence"]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def test_conjugate_gradients_stay_at_the_solution():
    matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    x = influence.conjugate_gradients(lambda v: matrix @ v, jnp.array([3.0, 4.0]), 9)
    np.testing.assert_allclose(x, [1.0, 1.0], atol=1e-5)
    zero = influence.conjugate_gradients(lambda v: matrix @ v, jnp.zeros(2), 3)
    assert zero.tolist() == [0.0, 0.0]


def test_hessian_products_are_those_of_the_explicit_hessian(lrn, data, model):
    held_out = data[1]
    batch = types.Batch(held_out.image, held_out.label, None)
    weight = jnp.ones(M).at[:7].set(0.0)
    flat, unravel = jax.flatten_util.ravel_pytree(model.params)

    def loss(vector):
        logits = lrn.logits(model._replace(params=unravel(vector)), held_out.image)
        return weight @ optax.sigmoid_binary_cross_entropy(logits, held_out.label)

    tangent = jnp.arange(len(flat)) / len(flat)
    found, number = statistics.hessian_product(lrn, model, batch, weight, unravel(tangent))
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(found)[0], jax.hessian(loss)(flat) @ tangent, atol=1e-3
    )
    assert number == M - 7
    slope, _ = statistics.gradient(lrn, model, batch, weight)
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(slope)[0], jax.grad(loss)(flat), atol=1e-4
    )


def test_noise_in_the_verification_labels_only_shrinks_the_errors_gradient(lrn, data, model):
    held_out = data[1]

    def slope(label):
        batch = types.Batch(held_out.image, label, None)
        found, number = statistics.error_gradient(lrn, model, batch, jnp.ones(M))
        assert number == M
        return jax.flatten_util.ravel_pytree(found)[0]

    true, opposite = slope(held_out.label), slope(1 - held_out.label)
    np.testing.assert_allclose(true, -opposite, atol=1e-6)
    total, _ = statistics.error(
        lrn, model, types.Batch(held_out.image, held_out.label, None), jnp.ones(M)
    )
    wrong = jax.nn.sigmoid(lrn.logits(model, held_out.image))
    wrong = jnp.where(held_out.label == 1, 1 - wrong, wrong)
    np.testing.assert_allclose(total, wrong.sum(), rtol=1e-5)


@pytest.mark.parametrize("name", ["alignment", "influence", "with_without"])
def test_verified_by_the_error_a_flip_shows_despite_wrong_verification_labels(
    lrn, data, model, name
):
    train, held_out, key = data
    noisy = held_out._replace(label=held_out.label.at[::4].set(1 - held_out.label[::4]))
    fed = memory.memory(lrn, train, noisy, key)
    scorer = scorers.get(name)(verify="error")
    ref = scorer.reference(fed, model, 0)
    found = scorers.evidence(scorer, fed, model, stop_of(CLEAN, FLIPPED, 2, 3), ref)
    harm = scorer.judge(found, ref)
    assert harm[FLIPPED] > 0 and harm[FLIPPED] > harm[CLEAN]


def test_every_statistic_says_what_it_costs():
    asked = {n for n, f in vars(statistics).items() if callable(f) and not n.startswith("_")}
    assert set(statistics.PASSES) == asked
    assert set(statistics.EVERY_CENTRE) <= asked


def test_distance_is_mahalanobis_to_the_class_of_the_verification_scans(lrn, data, fed, model):
    train, held_out, _ = data
    features = np.asarray(lrn.features(model, held_out.image), float)
    label = np.asarray(held_out.label)
    mean = np.stack([features[label == c].mean(axis=0) for c in (0, 1)])
    within = features - mean[label]
    covariance = within.T @ within / M
    size = len(covariance)
    shrunk = 0.8 * covariance + 0.2 * np.trace(covariance) / size * np.eye(size)
    off = np.asarray(lrn.features(model, train.image), float) - mean[np.asarray(train.label)]
    expected = np.einsum("nf,fg,ng->n", off, np.linalg.inv(shrunk), off) / size
    scorer = scorers.get("distance")(shrinkage=0.2)
    ref = scorer.reference(fed, model, 0)
    found = scorers.evidence(scorer, fed, model, stop_of(2, 3, 4, 5), ref)["distance"]
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
    found = neighbours.shapley(jnp.array(distance), jnp.array(match), jnp.ones(6, bool), k)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_knn_shapley_leaves_out_what_is_not_known():
    distance, match = jnp.array([1.0, jnp.nan, 2.0, 0.5]), jnp.array([True, True, False, False])
    known = jnp.array([True, False, True, True])
    found = neighbours.shapley(distance, match, known, 2)
    bare = neighbours.shapley(distance[known], match[known], jnp.ones(3, bool), 2)
    assert jnp.isnan(found[1])
    np.testing.assert_allclose(found[known], bare, atol=1e-6)


def test_neighbours_uses_no_group_smaller_than_asked(fed, model):
    ref = scorers.get("neighbours")(prototypes=8, smallest=6).reference(fed, model, 0)
    size = ref["size"]
    assert ((size == 0) | (size >= 6)).all() and size.sum() > M / 2


def test_error_rate_is_the_rise_after_training_on_one_sample_alone(lrn, data, model):
    fed, model = in_strides(lrn, data, model)
    held_out = data[1]

    def rates(m):
        wrong = (lrn.logits(m, held_out.image) > 0) != (held_out.label == 1)
        return [float(wrong[held_out.label == c].mean()) for c in (0, 1)]

    scorer = scorers.get("error_rate")()
    found = scorers.evidence(scorer, fed, model, stop_of(FLIPPED, 3, N), {})
    for slot, i in enumerate((FLIPPED, 3)):
        after, _ = fed.learn(model, stop_of(i), jnp.ones(1))
        rises = np.subtract(rates(after), rates(model))
        np.testing.assert_allclose(found["rise_fpr"][slot], rises[0], atol=1e-6)
        np.testing.assert_allclose(found["rise_fnr"][slot], rises[1], atol=1e-6)
    assert scorer.judge(found, {})[0] > 0


def test_combined_finds_what_only_one_family_sees():
    rng = np.random.default_rng(0)
    quiet, loud = rng.normal(size=100), rng.normal(size=100)
    loud[:5] -= 20
    scorer = combined.combined(families=("margin", "loss"))
    evidence = {"margin": jnp.array(loud), "loss": jnp.array(quiet)}
    harm = scorer.judge(evidence, {"margin": {}, "loss": {}})
    assert set(np.argsort(-np.asarray(harm))[:5]) == {0, 1, 2, 3, 4}


def test_no_family_decides_alone_or_excuses():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 100))
    first[:3], second[:3] = (1e6, 9.0, 9.0), (0.0, 9.0, -1e6)
    harm = combined.fuse({"first": jnp.array(first), "second": jnp.array(second)})
    assert int(jnp.argmax(harm)) == 1
    assert harm[2] > jnp.median(harm) + 5


def test_combined_takes_families_that_try_updates(fed, model):
    scorer = combined.combined(families=("margin", "with_without"))
    ref = scorer.reference(fed, model, 0)
    found = scorers.evidence(scorer, fed, model, stop_of(2, 3, N), ref)
    alone = scorers.get("with_without")(verify="error")
    exact = scorers.evidence(alone, fed, model, stop_of(2, 3, N), {})
    assert_close(found["with_without"], exact["with_without"])
    assert set(found) == {"margin", "with_without"}


def test_a_family_that_says_the_same_of_everyone_counts_nothing():
    assert combined.unusual(jnp.full(4, 3.0)).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("alignment", {"optimiser": "lion"}, "alignment.optimiser='lion'; known: adam, sgd"),
        ("with_without", {"replicas": "pmap"}, "with_without.replicas='pmap'; known: map, vmap"),
        ("influence", {"curvature": "fisher"}, "influence.curvature='fisher'; known"),
        ("alignment", {"verify": "recall"}, "alignment.verify='recall'; known: loss, error"),
        ("influence", {"verify": "recall"}, "influence.verify='recall'; known: loss, error"),
        ("with_without", {"verify": "recall"}, "with_without.verify='recall'; known: loss, error"),
        ("alignment", {"derivative": "vjp"}, "alignment.derivative='vjp'; known: jvp, difference"),
        ("influence", {"derivative": "vjp"}, "influence.derivative='vjp'; known: jvp, difference"),
        ("influence", {"damping": 0.0}, "influence.damping=0.0"),
        ("distance", {"shrinkage": 0.0}, "distance.shrinkage=0.0"),
        ("combined", {"families": ()}, "combined.families is empty"),
        ("combined", {"families": ("marjin",)}, "Did you mean 'margin'"),
    ],
)
def test_settings_that_cannot_work_are_refused(name, settings, match):
    with pytest.raises(ValueError, match=match):
        scorers.get(name)(**settings)


def test_a_tally_is_what_was_seen_of_each_sample():
    tally = accumulate.start(4, {"a": jax.ShapeDtypeStruct((2,), jnp.float32)})
    tally = accumulate.add(tally, jnp.array([3, 4]), {"a": jnp.array([2.0, jnp.nan])})
    nan = np.nan
    tally = accumulate.add(tally, jnp.array([1, 2]), {"a": jnp.array([nan, nan])})
    tally = accumulate.add(tally, jnp.array([0, 3]), {"a": jnp.array([5.0, 4.0])}, weight=3.0)
    assert tally.visits.tolist() == [1, 0, 0, 2]
    np.testing.assert_allclose(accumulate.mean(tally)["a"], [5, nan, nan, 3.5])
    np.testing.assert_allclose(accumulate.total(tally)["a"], [15, nan, nan, 14])
    np.testing.assert_allclose(accumulate.spread(tally)["a"], [0, nan, nan, math.sqrt(0.75)])
    np.testing.assert_allclose(tally.last["a"], [5, nan, nan, 4])


def test_a_tally_holds_several_numbers_a_sample():
    tally = accumulate.start(3, jnp.zeros((2, 2)))
    tally = accumulate.add(tally, jnp.array([1, 3]), jnp.array([[1.0, 2.0], [9.0, 9.0]]))
    np.testing.assert_allclose(accumulate.mean(tally)[1], [1, 2])
    assert jnp.isnan(accumulate.mean(tally)[0]).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(-3, 3), st.just(None)), min_size=7, max_size=7))
def test_ranks_are_mid_ranks_of_what_is_known(values):
    values = np.array([np.nan if v is None else v for v in values], np.float32)
    found = np.asarray(accumulate.ranks(jnp.asarray(values)))
    known = values[~np.isnan(values)]
    for value, rank in zip(values, found, strict=True):
        if np.isnan(value):
            assert np.isnan(rank)
        else:
            expected = ((known < value).sum() + (known == value).sum() / 2) / len(known)
            np.testing.assert_allclose(rank, expected, rtol=1e-6)


def test_the_page_on_extending_shows_a_scorer_that_works(tmp_path, monkeypatch, fed, model):
    text = PAGE.read_text()
    name = re.search(r"`harmjax/scorers/(\w+)\.py`:", text)[1]
    source = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(scorers, "__path__", [*scorers.__path__, str(tmp_path)])
    assert f'scorers = ("{name}",)' in text
    scorer = scorers.get(name)()
    ref = scorer.reference(fed, model, 0)
    found = scorers.evidence(scorer, fed, model, stop_of(CLEAN, FLIPPED, 2, N), ref)
    harm = scorer.judge(found, ref)
    assert harm[FLIPPED] > 0 > harm[CLEAN]
    assert jnp.isnan(harm[3])
    assert all(f"`{known}`" in text for known in NAMES)
