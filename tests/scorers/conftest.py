"""What the tests of scorers share: the cohort with twins, a learner, a trained model."""

import jax
import jax.numpy as jnp
import pytest

from harmjax import learner, models
from harmjax.federations import memory
from tests.scorers.twins import CLEAN, FLIPPED, F, M, N, cohort, trained


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


@pytest.fixture(scope="module")
def model(lrn, data):
    return trained(lrn, data, 12)


@pytest.fixture(scope="module")
def fed(lrn, data):
    return memory.memory(lrn, *data, chunk=16)
