"""What the tests of scorers share: the cohort with twins, a learner, a trained model."""

import jax
import pytest

from harmjax.federations import memory
from tests.scorers.twins import CLEAN, FLIPPED, MEANS, M, N, cohort, perceptron, trained


@pytest.fixture(scope="module", params=[2, 3])
def num_classes(request):
    return request.param


@pytest.fixture(scope="module")
def data(num_classes):
    train, held_out = (cohort(jax.random.key(i), n, num_classes) for i, n in enumerate((N, M)))
    train = train._replace(
        image=train.image.at[CLEAN].set(MEANS[1]).at[FLIPPED].set(MEANS[1]),
        label=train.label.at[CLEAN].set(1).at[FLIPPED].set(0),
    )
    return train, held_out, jax.random.key(2)


@pytest.fixture(scope="module")
def lrn(num_classes):
    return perceptron(num_classes)


@pytest.fixture(scope="module")
def model(lrn, data):
    return trained(lrn, data, 12)


@pytest.fixture(scope="module")
def fed(lrn, data):
    return memory.memory(lrn, *data, chunk=16)
