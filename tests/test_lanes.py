"""Lanes: a map over the last axis, against `jax.vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harmjax import models, types
from harmjax.counterfactual import lanes
from harmjax.engine import learner as learners


def same(one, two, tolerance=0.0):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), one, two)


def looped(w, x):
    def body(carry, row):
        total, rounds_done = carry
        return (total * w.sum() + row, rounds_done + 1), row @ row

    return jax.lax.scan(body, (jnp.zeros(3), 0), x)


def counted(w, x):
    return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + w), (0, 0 * w)), x


def until(w, x):
    return jax.lax.while_loop(lambda c: c.sum() < 5, lambda c: c + jnp.abs(w) + 1, w)


def branched(w, x):
    either = jax.lax.cond(x[0, 0] > 0, lambda w: (w, x), lambda w: (2 * w, x), w)
    return either, jax.lax.cond(w[0] > 0, jnp.sin, jnp.cos, w)


LANES = {
    "shared left": lambda w, x: x @ w,
    "shared right": lambda w, x: w[:, None] * w @ x.T,
    "both mapped": lambda w, x: jnp.outer(w, w) @ (x.T * w[:, None]),
    "long": lambda w, x: jnp.tile(w, 100) @ jnp.tile(w, 100) + jnp.tile(x[0], 50) @ jnp.tile(w, 50),
    "batched": lambda w, x: jnp.einsum("bi,bij->bj", x, w[None, :, None] * x[:, None, :]),
    "elementwise": lambda w, x: jnp.where(w > 0, jnp.exp(-w), w**2) / (1 + jnp.abs(x)),
    "shapes": lambda w, x: jnp.concatenate([w[::-1], x[0], w[1:]]).reshape(2, 4).T[1:, None],
    "reductions": lambda w, x: ((x * w).sum(0), (x * w).max(1), (w > 0).any(), jnp.argmax(w)),
    "taken": lambda w, x: (w[jnp.array([2, 0])], x[:, w.argmax()]),
    "sorted": lambda w, x: jnp.sort(w) + jnp.cumsum(w),
    "gradient": jax.grad(lambda w, x: jnp.sum(jax.nn.relu(x @ w) ** 2) + jnp.sum(jnp.tanh(w))),
    "jit": jax.jit(lambda w, x: jax.nn.softplus(w) * 2),
    "shared only": lambda w, x: x + 1,
    "scan": looped,
    "while": counted,
    "while of its own": until,
    "cond": branched,
}


@pytest.mark.parametrize("name", LANES)
def test_lanes_are_vmap_with_the_last_axis(name):
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.normal(size=(3, 6)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    expected = jax.vmap(LANES[name], in_axes=(-1, None), out_axes=-1)(w, x)
    same(jax.jit(lanes.vmap(LANES[name], (True, False)))(w, x), expected, 1e-5)


@pytest.mark.optimised  # else a maximum may equal nothing of its window, computed anew: 0 / 0
@pytest.mark.parametrize("name", ["mlp", "cnn2d"])
def test_models_have_lanes(name):
    classifier = models.get(name)(width=0.05, norm="batch")
    shape = {"mlp": (4,), "cnn2d": (8, 8)}[name]
    image = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    schedule = learners.published_schedule(0.05)
    learner = learners.learner(classifier, schedule, optimiser=optax.identity())
    start = learner.init(jax.random.key(0), image[:1])
    keys = jax.random.split(jax.random.key(1), 3)
    batch = types.Batch(jnp.asarray(image), jnp.array([0, 1, 1]), keys, jnp.zeros(3, jnp.int32))

    def step(weight):
        return learner.learn(start, batch, weight, jnp.ones(3, bool), 0)

    weight = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.5, 1.0]])
    mapped = jax.jit(lanes.vmap(step, (True,)))(weight)
    expected = jax.jit(lambda w: jax.lax.map(step, w.T))(weight)
    same(jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), mapped), expected, 1e-5)
