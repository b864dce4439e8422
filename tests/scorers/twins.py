"""A cohort with twins: the same image under two labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harmjax import models, offers, task, types
from harmjax.engine import learner
from harmjax.federations import memory
from harmjax.scorers import measures

N, M, F, B = 24, 60, 4, 4

CLEAN, FLIPPED = 0, 1  # twins: the same image at the same centre, labelled 1 and 0


TWO, THREE = (pytest.mark.parametrize("num_classes", [k], indirect=True) for k in (2, 3))
MEANS = 1.5 * jnp.array([[-1.0] * F, [1.0] * F, [1.0, -1.0, 1.0, -1.0]])  # of up to three classes


def cohort(key, number, num_classes, centres=3):
    label = (jnp.arange(number) % num_classes).astype(jnp.int32)
    image = jax.random.normal(jax.random.split(key, 2)[0], (number, F)) + MEANS[label]
    centre = (jnp.arange(number) // num_classes % centres).astype(jnp.int32)
    return types.Samples(image, label, centre, jnp.arange(number, dtype=jnp.uint32))


def perceptron(num_classes, hidden=(5,), rate=0.1, optimiser=None):
    """A learner with a small network for some classes, at one rate."""
    return learner.learner(
        models.get("mlp")(hidden=hidden, classes=num_classes),
        lambda cycle: jnp.float32(rate),
        task=task.classification(num_classes),
        optimiser=optimiser,
    )


def plain(num_classes, hidden=(5,), rate=0.1):
    """The same with gradient descent."""
    return perceptron(num_classes, hidden, rate, optax.identity())


def trained(lrn, data, steps, size=B):
    fed = memory.memory(lrn, *data)
    ids = jax.random.randint(jax.random.key(3), (steps, size), 2, N)

    @jax.jit
    def run(model):
        def step(model, ids):
            stop = types.Stop(jnp.int32(0), jnp.int32(0), ids, jnp.ones(size))
            return fed.learn(model, offers.leg(stop))[0], None

        return jax.lax.scan(step, model, ids)[0]

    return run(lrn.init(jax.random.key(4), data[0].image[:1]))


def in_strides(lrn, data, model):
    """A federation and the model such that training on one sample moves an error."""
    bold = perceptron(lrn.task.num_classes, rate=1.0)
    fresh = lrn.init(jax.random.key(4), data[0].image[:1]).opt_state
    return memory.memory(bold, *data), model._replace(opt_state=fresh)


def stop_of(*ids):
    ids = jnp.array(ids, jnp.int32)
    return types.Stop(jnp.int32(0), jnp.int32(0), ids, (ids < N).astype(jnp.float32))


def asked(name, **settings):
    """(Measure, HarmScorer) of this name."""
    measure = measures.measure(name, settings)
    return measure, measures.scorer(measure)


def assert_close(this, that, atol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol), this, that)


def rows(evidence, at):
    return jax.tree.map(lambda e: e[jnp.array(at)], evidence)
