"""Each sample's part in a directional derivative, against the gradients of single samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import models, scorers, types
from harmjax.engine import learner
from harmjax.federations import memory

SHAPES = {"sfcn": (34, 34, 34), "cnn2d": (8, 10), "mlp": (6,)}  # even: `first`
WIDTHS = {"sfcn": 1 / 16, "cnn2d": 1 / 4, "mlp": 1 / 2}
ALONE = [
    ("mlp", "none"),
    ("mlp", "group"),
    ("cnn2d", "none"),
    ("cnn2d", "group"),
    ("sfcn", "group"),
]
WEIGHT, OFFERED = jnp.array([1.0, 0.5, 2.0, 0.0, 1.0]), jnp.array([1, 1, 1, 1, 0], bool)


def build(name, kind, dropout=0.3, dtype="float32"):
    """A learner, a fresh optimiser with other parameters, a batch of five and a direction."""
    classifier = models.get(name)(width=WIDTHS[name], norm=kind, dropout=dropout, dtype=dtype)
    lrn = learner.learner(classifier, lambda cycle: jnp.float32(0.1))
    image = jax.random.bits(jax.random.key(0), (5, *SHAPES[name]), "uint8")
    start = jax.jit(lrn.init)(jax.random.key(1), image[:1])

    def noise(key, size):
        return jax.tree.map(lambda p: size * jax.random.normal(key, p.shape), start.params)

    moved = jax.tree.map(jnp.add, start.params, noise(jax.random.key(2), 0.1))
    keys, fold = jax.random.split(jax.random.key(3), 5), jnp.arange(5) % 2
    batch = types.Batch(image, jnp.array([0, 1, 1, 0, 1]), keys, fold)
    return lrn, start._replace(params=moved), batch, noise(jax.random.key(4), 0.1)


def gradient(lrn, model, batch, weight, direction):
    """Of the stop's loss, as the first step hands it to Adam's first moment; and the slopes [B]."""
    after, _, slope = lrn.learn_along(model, batch, weight, OFFERED, 0, direction)
    return jax.tree.map(lambda mu: mu / (1 - 0.9), after.opt_state.mu), slope


def dot(a, b):
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))


@pytest.mark.parametrize(("name", "kind"), ALONE)
def test_where_samples_do_not_meet_it_is_the_dot_product_with_the_samples_gradient(name, kind):
    lrn, model, batch, direction = build(name, kind)
    ask = jax.jit(functools.partial(gradient, lrn))
    _, slope = ask(model, batch, WEIGHT, direction)
    assert jnp.isnan(slope).tolist() == [False, False, False, True, True]
    alone = [ask(model, batch, jnp.eye(5)[i], direction)[0] for i in range(3)]
    want = np.array([dot(each, direction) for each in alone]) * OFFERED.sum()
    np.testing.assert_allclose(slope[:3], want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("name", ["mlp", "cnn2d"])
def test_through_batch_norm_the_parts_add_up_to_the_derivative_of_the_stops_loss(name):
    lrn, model, batch, direction = build(name, "batch")
    whole, slope = jax.jit(functools.partial(gradient, lrn))(model, batch, WEIGHT, direction)
    total = jnp.nansum(WEIGHT * slope) / OFFERED.sum()
    largest = jnp.nanmax(jnp.abs(slope))
    assert largest > 0
    np.testing.assert_allclose(total, dot(whole, direction), atol=1e-5 * largest)


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_the_step_is_that_of_learning(kind):
    lrn, model, batch, direction = build("cnn2d", kind)
    want, want_loss = jax.jit(lrn.learn)(model, batch, WEIGHT, OFFERED, 0)
    step = jax.jit(lrn.learn_along)
    got, loss, _ = step(model, batch, WEIGHT, OFFERED, 0, direction)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-6)
    moved = [(m.batch_stats, m.opt_state.mu) for m in (got, want)]
    for a, b in zip(*map(jax.tree.leaves, moved), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    same, _, slope = step(model, batch, jnp.zeros(5), OFFERED, 0, direction)
    assert jnp.isnan(slope).all()
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_parts_are_close():
    exact, model, batch, direction = build("cnn2d", "group", 0.0)
    low = build("cnn2d", "group", 0.0, "bfloat16")[0]
    want, got = (
        jax.jit(each.learn_along)(model, batch, jnp.ones(5), jnp.ones(5, bool), 0, direction)[2]
        for each in (exact, low)
    )
    np.testing.assert_allclose(got, want, atol=0.1 * jnp.abs(want).max())


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_alignment_while_learning_is_alignment(optimiser):
    lrn, model, batch, _ = build("mlp", "group", 0.0)
    samples = types.Samples(
        batch.image, batch.label, np.zeros(5, np.int32), jnp.arange(5, dtype=jnp.uint32)
    )
    fed = memory.memory(lrn, samples, samples, jax.random.key(0))
    scorer = scorers.get("alignment")(optimiser=optimiser)
    reference = scorer.reference(fed, model, 0)
    want = scorer.measure(lrn, model, batch, reference)["alignment"]
    model, loss, found = jax.jit(scorer.learn, static_argnums=0)(
        lrn, model, batch, WEIGHT, OFFERED, 0, reference
    )
    np.testing.assert_allclose(found["alignment"][:3], want[:3], rtol=1e-4, atol=1e-5)
    assert jnp.isnan(found["alignment"][3:]).all() and jnp.isfinite(loss)


def test_mapped_over_models_it_equals_a_loop():
    lrn, model, batch, direction = build("mlp", "batch")

    def slope(model):
        return lrn.learn_along(model, batch, WEIGHT, OFFERED, 0, direction)[2]

    twice = jax.tree.map(lambda x: jnp.stack([x, x]), model)
    twice = twice._replace(params=jax.tree.map(lambda p: p.at[1].multiply(1.1), twice.params))
    mapped = jax.jit(jax.vmap(slope))(twice)
    for i in range(2):
        one = jax.jit(slope)(jax.tree.map(lambda x: x[i], twice))  # noqa: B023
        np.testing.assert_allclose(mapped[i], one, rtol=1e-3, atol=1e-4)
