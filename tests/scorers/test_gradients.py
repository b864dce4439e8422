"""Scorers by gradients and by steps tried out, against brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harmjax import offers, types
from harmjax.federations import memory, passes, statistics
from harmjax.scorers import influence, measures
from tests.scorers.twins import (
    CLEAN,
    FLIPPED,
    THREE,
    TWO,
    B,
    F,
    M,
    N,
    asked,
    perceptron,
    plain,
    stop_of,
    trained,
)


def cross_entropy(logits, label):
    return -jax.nn.log_softmax(logits)[jnp.arange(len(label)), label]


@THREE
def test_alignment_is_the_dot_product_of_per_sample_gradients(lrn, data, fed, model):
    measure, scorer = asked("alignment", optimiser="sgd")
    ref = scorer.reference(fed, model, 1)
    train, held_out, key = data

    def loss(params, image, label):
        logits = lrn.logits(model._replace(params=params), image[None])
        return cross_entropy(logits, label[None])[0]

    @jax.jit
    def gradients(samples):
        each = jax.vmap(jax.grad(loss), (None, 0, 0))(model.params, samples.image, samples.label)
        return jnp.concatenate([g.reshape(len(g), -1) for g in jax.tree.leaves(each)], axis=1)

    expected = -0.1 * gradients(train)[2:6] @ gradients(held_out).mean(axis=0)
    found = measures.evidence(measure, fed, model, stop_of(2, 3, 4, 5), ref)
    np.testing.assert_allclose(found["alignment"], expected, atol=1e-5, rtol=1e-4)


@TWO
@pytest.mark.parametrize("name", ["alignment", "influence"])
def test_a_difference_takes_the_place_of_the_derivative(lrn, data, fed, model, name):
    (exact, scorer), (cheap, _) = asked(name), asked(name, derivative="difference")
    ref = scorer.reference(fed, model, 1)
    stop = stop_of(CLEAN, FLIPPED, 2, 3)
    first, second = (measures.evidence(m, fed, model, stop, ref)[name] for m in (exact, cheap))
    np.testing.assert_allclose(first, second, rtol=0.01, atol=0.002 * np.abs(first).max())
    found = passes.passes(measures.resolved(cheap), lrn, data[0].image, (model, ref))
    assert found == ("forward", "forward")


@THREE
def test_alignment_is_with_and_without_to_first_order_under_gradient_descent(data, num_classes):
    slow = plain(num_classes, rate=1e-2)
    fed = memory.memory(slow, *data)
    model = trained(slow, data, 30)
    stop = stop_of(CLEAN, FLIPPED, 2, 3)
    measure, scorer = asked("alignment", optimiser="sgd")
    first = measures.evidence(measure, fed, model, stop, scorer.reference(fed, model, 0))
    exact = measures.evidence(measures.measure("with_without"), fed, model, stop, {})
    np.testing.assert_allclose(first["alignment"] / B, exact["with_without"], rtol=0.03, atol=1e-6)


@THREE
@pytest.mark.parametrize("replicas", ["map", "vmap"])
def test_with_without_is_one_step_leave_one_out(lrn, data, fed, model, replicas):
    train, held_out, _ = data
    ids = [CLEAN, FLIPPED, 2]

    @jax.jit
    def loss_after(weight):
        image, label = train.image[jnp.array(ids)], train.label[jnp.array(ids)]

        def objective(params):
            logits = lrn.logits(model._replace(params=params), image)
            return weight @ cross_entropy(logits, label) / len(ids)

        adam = optax.adam(0.1, eps=1e-7)
        state = (model.opt_state, optax.EmptyState())
        updates, _ = adam.update(jax.grad(objective)(model.params), state)
        updated = model._replace(params=optax.apply_updates(model.params, updates))
        logits = lrn.logits(updated, held_out.image)
        return cross_entropy(logits, held_out.label).mean()

    expected = [
        float(loss_after(np.ones(3))) - float(loss_after(1 - np.eye(3)[i])) for i in range(3)
    ]
    measure, _ = asked("with_without", replicas=replicas)
    evidence = jax.jit(lambda stop: measures.evidence(measure, fed, model, stop, {}))
    found = evidence(stop_of(*ids, N))["with_without"]
    np.testing.assert_allclose(found[:3], expected, atol=1e-5)


@TWO
def test_leaving_out_the_only_sample_of_a_stop_is_not_stepping(lrn, data, fed, model):
    loss, number = fed.total("loss", model)
    stepped, _ = fed.learn(model, offers.leg(stop_of(2, N)))
    measure, _ = asked("with_without")
    found = measures.evidence(measure, fed, model, stop_of(2, N), {})["with_without"]
    np.testing.assert_allclose(found[0], (fed.total("loss", stepped)[0] - loss) / number, atol=1e-6)


@TWO
def test_under_adam_alignment_predicts_the_exact_step(data, num_classes):
    small = perceptron(num_classes, (8,), 1e-3)
    fed = memory.memory(small, *data)
    aware, scorer = asked("alignment")
    exact, _ = asked("with_without", replicas="vmap")

    @jax.jit
    def both(model):
        ids = jnp.arange(N, dtype=jnp.int32).reshape(-1, B)
        zeros = jnp.zeros(len(ids), jnp.int32)
        stops = types.Stop(zeros, zeros, ids, jnp.ones(ids.shape))
        reference = scorer.reference(fed, model, 0)
        first = measures.survey(aware, fed, model, stops, reference)["alignment"]
        return first / B, measures.survey(exact, fed, model, stops, {})["with_without"]

    for steps, least in ((20, 0.98), (60, 0.98)):
        first, true = both(trained(small, data, steps))
        assert np.corrcoef(first, true)[0, 1] > least
    np.testing.assert_allclose(np.polyfit(first, true, 1)[0], 1, atol=0.15)


@TWO
def test_adam_awareness_needs_adam(data, num_classes):
    lrn = plain(num_classes, ())
    fed, model = memory.memory(lrn, *data), lrn.init(jax.random.key(0), data[0].image)
    with pytest.raises(ValueError, match="no second moment; use 'sgd'"):
        asked("alignment")[1].reference(fed, model, 0)


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_influence_solves_with_the_curvature_of_a_logistic_regression(data, num_classes, curvature):
    """Of two classes one logit is learned, of three all."""
    logistic = perceptron(num_classes, ())
    fed = memory.memory(logistic, *data)
    model = trained(logistic, data, 10)
    train, held_out, _ = data

    learned = slice(1, 2) if num_classes == 2 else slice(None)

    def probability(samples):
        logits = np.asarray(logistic.logits(model, samples.image), float)
        return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[:, learned]

    def rows_of(samples):  # gradients of a learned logit by its (bias, kernel)
        return np.hstack([np.ones((len(samples.label), 1)), np.asarray(samples.image, float)])

    def gradients(samples):
        residual = probability(samples) - np.eye(num_classes)[samples.label][:, learned]
        return np.einsum("bk,bi->bki", residual, rows_of(samples)).reshape(len(residual), -1)

    p, x, slopes = probability(held_out), rows_of(held_out), gradients(held_out)
    curved = np.eye(p.shape[1]) * p[:, None] - p[:, :, None] * p[:, None]
    hessian = np.einsum("bkl,bi,bj->kilj", curved, x, x).reshape((p.shape[1] * (F + 1),) * 2) / M
    damped = hessian + 0.05 * np.eye(len(hessian))
    expected = -gradients(train)[2:6] @ np.linalg.solve(damped, slopes.mean(0))
    settings = {"curvature": curvature, "damping": 0.05, "iterations": len(hessian) + 1}
    measure, scorer = asked("influence", **settings)
    ref = scorer.reference(fed, model, 0)
    found = measures.evidence(measure, fed, model, stop_of(2, 3, 4, 5), ref)["influence"]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def test_conjugate_gradients_stay_at_the_solution():
    matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    x = influence.conjugate_gradients(lambda v: matrix @ v, jnp.array([3.0, 4.0]), 9)
    np.testing.assert_allclose(x, [1.0, 1.0], atol=1e-5)
    zero = influence.conjugate_gradients(lambda v: matrix @ v, jnp.zeros(2), 3)
    assert zero.tolist() == [0.0, 0.0]


def test_hessian_products_are_those_of_the_explicit_hessian(lrn, data, model):
    held_out = data[1]
    batch = types.Batch(held_out.image, held_out.label, None, None)
    weight = jnp.ones(M).at[:7].set(0.0)
    flat, unravel = jax.flatten_util.ravel_pytree(model.params)

    def loss(vector):
        logits = lrn.logits(model._replace(params=unravel(vector)), held_out.image)
        return weight @ cross_entropy(logits, held_out.label)

    tangent = np.arange(len(flat), dtype=np.float32) / len(flat)
    product = jax.jit(functools.partial(statistics.hessian_product, lrn))
    found, number = product(model, batch, weight, unravel(tangent))
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(found)[0],
        jax.jit(jax.hessian(loss))(flat) @ tangent,
        atol=1e-3,
    )
    assert number == M - 7
    slope, _ = jax.jit(functools.partial(statistics.gradient, lrn))(model, batch, weight)
    np.testing.assert_allclose(
        jax.flatten_util.ravel_pytree(slope)[0], jax.jit(jax.grad(loss))(flat), atol=1e-4
    )


def test_gauss_newton_products_are_those_of_the_explicit_matrix(lrn, data, model):
    held_out = data[1]
    batch = types.Batch(held_out.image, held_out.label, None, None)
    weight = np.ones(M)
    weight[:7] = 0
    flat, unravel = jax.flatten_util.ravel_pytree(model.params)

    def logits(vector):
        return lrn.logits(model._replace(params=unravel(vector)), held_out.image)

    slopes = np.asarray(jax.jit(jax.jacfwd(logits))(flat), float)
    p = np.asarray(jax.nn.softmax(logits(flat)), float)
    matrix = np.zeros((len(flat), len(flat)))
    for w, own, slope in zip(weight, p, slopes, strict=True):
        matrix += w * slope.T @ (np.diag(own) - np.outer(own, own)) @ slope
    tangent = jnp.arange(len(flat)) / len(flat)
    found, number = statistics.gauss_newton_product(
        lrn, model, batch, jnp.asarray(weight), unravel(tangent)
    )
    product = jax.flatten_util.ravel_pytree(found)[0]
    np.testing.assert_allclose(product, matrix @ tangent, rtol=1e-4, atol=1e-4)
    assert number == M - 7 and np.linalg.norm(matrix @ tangent) > 0.1


def test_noise_in_the_verification_labels_only_shrinks_the_errors_gradient(
    lrn, data, model, num_classes
):
    """Over all labels that a scan can have the slopes add up to nothing."""
    held_out = data[1]

    def slope(label):
        batch = types.Batch(held_out.image, label, None, None)
        found, number = statistics.error_gradient(lrn, model, batch, jnp.ones(M))
        assert number == M
        return jax.flatten_util.ravel_pytree(found)[0]

    true, *wrong = (slope((held_out.label + i) % num_classes) for i in range(num_classes))
    np.testing.assert_allclose(true, -sum(wrong), atol=1e-5)
    assert jnp.abs(true).max() > 0.01
    total, _ = statistics.error(
        lrn, model, types.Batch(held_out.image, held_out.label, None, None), jnp.ones(M)
    )
    probability = np.asarray(jax.nn.softmax(lrn.logits(model, held_out.image)))
    own = probability[np.arange(M), held_out.label]
    np.testing.assert_allclose(total, (1 - own).sum(), rtol=1e-5)


@THREE
@pytest.mark.parametrize("name", ["alignment", "influence", "with_without"])
def test_verified_by_the_error_a_flip_shows_despite_wrong_verification_labels(
    lrn, data, model, num_classes, name
):
    train, held_out, key = data
    wrong = (held_out.label[::4] + 1) % num_classes
    noisy = held_out._replace(label=held_out.label.at[::4].set(wrong))
    fed = memory.memory(lrn, train, noisy, key)
    measure, scorer = asked(name, verify="error")
    ref = scorer.reference(fed, model, 0)
    found = measures.evidence(measure, fed, model, stop_of(CLEAN, FLIPPED, 2, 3), ref)
    harm = scorer.judge(found, ref)
    assert harm[FLIPPED] > 0 and harm[FLIPPED] > harm[CLEAN]
