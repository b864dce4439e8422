"""One local update, against hand computations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harmjax import models, task, types
from harmjax.engine import learner


def linear(learning_rate=0.5, optimiser=None):
    """Logistic regression, whose gradient is known by hand."""
    classifier = models.get("mlp")(hidden=())
    return learner.learner(classifier, lambda cycle: learning_rate, optimiser=optimiser)


def batch(x, y):
    keys = jax.vmap(jax.random.key)(jnp.arange(len(y), dtype=jnp.uint32))
    fold = jnp.arange(len(y)) % 2
    return types.Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32), keys, fold)


def leaves_equal(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


X = np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 1.0]])
Y = np.array([1, 0, 1])


def test_sgd_step_on_logistic_regression_by_hand():
    lrn = linear(optimiser=optax.identity())
    model = lrn.init(jax.random.key(0), jnp.zeros((1, 2)))
    weight, offered = jnp.array([1.0, 1.0, 0.0]), jnp.ones(3, bool)
    after, loss = lrn.learn(model, batch(X, Y), weight, offered, 0)
    kernel = np.asarray(model.params["head"]["kernel"])[:, 0]
    probability = 1 / (1 + np.exp(-X @ kernel))
    error = (probability - Y) * np.array([1, 1, 0]) / 3
    expected = kernel - 0.5 * X.T @ error
    np.testing.assert_allclose(after.params["head"]["kernel"][:, 0], expected, rtol=1e-5)
    each = -np.log(np.where(Y == 1, probability, 1 - probability))
    np.testing.assert_allclose(loss, (each * [1, 1, 0]).sum() / 3, rtol=1e-5)


def test_leaving_one_out_does_not_rescale_the_others():
    lrn = linear(optimiser=optax.identity())
    model = lrn.init(jax.random.key(0), jnp.zeros((1, 2)))
    everyone = jnp.ones(3, bool)
    alone = [lrn.learn(model, batch(X, Y), jnp.eye(3)[i], everyone, 0)[0].params for i in range(3)]
    together = lrn.learn(model, batch(X, Y), jnp.ones(3), everyone, 0)[0].params
    for path in ("kernel", "bias"):
        start = model.params["head"][path]
        moves = sum(one["head"][path] - start for one in alone)
        np.testing.assert_allclose(together["head"][path] - start, moves, rtol=1e-5)


def test_unoffered_slots_shrink_the_denominator():
    losses_of = jnp.array([2.0, 4.0, 100.0])
    offered = jnp.array([True, True, False])
    assert task.stop_loss(losses_of, jnp.ones(3), offered) == 3.0
    assert task.stop_loss(losses_of, jnp.array([1.0, 0.0, 1.0]), offered) == 1.0
    assert task.stop_loss(losses_of, jnp.ones(3), jnp.zeros(3, bool)) == 0.0


def test_loss_that_is_not_finite_stays_with_its_sample():
    broken = jnp.array([1.0, jnp.nan])
    assert task.stop_loss(broken, jnp.array([1.0, 0.0]), jnp.ones(2, bool)) == 0.5


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_all_weights_zero_returns_the_model_untouched(norm):
    lrn = learner.learner(models.get("cnn2d")(norm=norm), learner.published_schedule(1e-2))
    image = jax.random.normal(jax.random.key(3), (3, 8, 8, 1))
    keys, fold = jax.random.split(jax.random.key(1), 3), jnp.zeros(3, jnp.int32)
    some = types.Batch(image, jnp.array([0, 1, 1]), keys, fold)
    model = lrn.init(jax.random.key(0), image[:1])
    model, _ = lrn.learn(model, some, jnp.ones(3), jnp.ones(3, bool), 0)
    for weight, offered in ((0.0, True), (1.0, False)):
        same, _ = lrn.learn(model, some, jnp.full(3, weight), jnp.full(3, offered), 0)
        assert leaves_equal(same, model)
    moved, _ = lrn.learn(model, some, jnp.ones(3), jnp.ones(3, bool), 0)
    assert not leaves_equal(moved.opt_state, model.opt_state)


def test_adam_has_the_published_epsilon_and_rate():
    lrn = linear(learning_rate=0.01)
    model = lrn.init(jax.random.key(0), jnp.zeros((1, 2)))
    after, _ = lrn.learn(model, batch(X, Y), jnp.ones(3), jnp.ones(3, bool), 0)
    probability = 1 / (1 + np.exp(-X @ np.asarray(model.params["head"]["kernel"])[:, 0]))
    gradient = X.T @ (probability - Y) / 3
    step = 0.01 * gradient / (np.abs(gradient) + 1e-7)
    moved = (model.params["head"]["kernel"] - after.params["head"]["kernel"])[:, 0]
    np.testing.assert_allclose(moved, step, rtol=1e-4)


def test_schedule_is_a_function_of_the_cycle():
    rate = learner.published_schedule(1e-4, 0.1)
    np.testing.assert_allclose(rate(0), 1e-4, rtol=1e-6)
    np.testing.assert_allclose(rate(7), 1e-4 * np.exp(-0.7), rtol=1e-6)


def test_authors_schedule_starts_anew_one_step_in():
    """Their script at a rate of .001: the warm-up's e^-1 at cycle 10, and .000905 logged at 11."""
    rate = learner.published_schedule(1e-3, 0.1, restart=11)
    cycles = np.arange(30)
    exponent = np.where(cycles <= 10, cycles, cycles - 10)
    np.testing.assert_allclose(rate(cycles), 1e-3 * np.exp(-0.1 * exponent), rtol=1e-6)
    np.testing.assert_allclose(rate(11), 0.000905, atol=5e-7)


def test_one_forward_pass_is_remembered_for_its_own_model_and_images():
    lrn = learner.learner(models.get("mlp")(hidden=(4,)), lambda cycle: 0.1)
    model, image = lrn.init(jax.random.key(0), jnp.zeros((1, 3))), jnp.ones((2, 3))
    calls = []
    watched = lrn._replace(forward=lambda *args: calls.append(1) or lrn.forward(*args))
    once = learner.once(watched, model, image)
    assert (once.logits(model, image) == lrn.logits(model, image)).all()
    assert (once.features(model, image) == lrn.features(model, image)).all()
    assert len(calls) == 1
    other = jax.tree.map(lambda leaf: leaf + 1, model)
    assert (once.logits(other, image) == lrn.logits(other, image)).all()
    assert (once.logits(model, 2 * image) == lrn.logits(model, 2 * image)).all()
