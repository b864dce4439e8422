"""Small cohorts under the policy `screen`, for several files of tests."""

import functools

import jax
import numpy as np

from harmjax import models, policies, task, types
from harmjax.engine import itinerary, learner, travel
from harmjax.federations import memory
from harmjax.runs import checkpoints, training

CENTRES, EACH, F = 8, 20, 6
KEY = jax.random.key(5)


def samples(seed, each=EACH, num_classes=2):
    """Two classes lie on either side of 0 in the first feature; a third is far off in the second.

    Of three, all are in both folds of every centre.
    """
    rng = np.random.default_rng(seed)
    number = CENTRES * each
    place = np.arange(number)
    label = (place % 2 if num_classes == 2 else place // 2 % 3).astype(np.int32)
    image = rng.normal(size=(number, F)).astype(np.float32)
    image[:, 0] += np.array([-3, 3, 0])[label]
    image[:, 1] += np.array([0, 0, 5])[label]
    centre = np.repeat(np.arange(CENTRES), each).astype(np.int32)
    return types.Samples(image, label, centre, np.arange(number, dtype=np.uint32) + 7 * seed)


def planted(train, ids, *, flipped=(), image=9.0, num_classes=2):
    damaged, label = train.image.copy(), train.label.copy()
    damaged[ids] = image
    label[list(flipped)] = (label[list(flipped)] + 1) % num_classes
    return train._replace(image=damaged, label=label)


def alike(held_out, num_classes=2):
    """Confusion of a model that takes every scan for one of the first class."""
    confusion = np.zeros((num_classes, num_classes), np.int32)
    confusion[:, 0] = np.bincount(held_out.label, minlength=num_classes)
    return confusion


def perceptron(num_classes):
    classifier = models.get("mlp")(hidden=(8,), classes=num_classes)
    return learner.learner(classifier, lambda cycle: 0.02, task=task.classification(num_classes))


def federation(lrn, data, centre):
    """In memory, of traced samples; who holds those held out is concrete."""
    train, held_out = data
    return memory.memory(lrn, train, held_out._replace(centre=centre), KEY)


def drawn(train):
    return functools.partial(itinerary.itinerary(train.centre), KEY)


def run(train, held_out, cycles=4, num_classes=2, name="screen", **settings):
    """The traveller after some cycles, and the records of all of them."""
    lrn = perceptron(num_classes)
    policy = policies.get(name)(**settings)
    draw = drawn(train)

    @jax.jit
    def one(data, traveller, cycle):
        fed = federation(lrn, data, held_out.centre)
        return travel.cycle(travel.steps(fed, policy, draw), traveller, cycle)

    model = lrn.init(jax.random.key(0), train.image[:1])
    traveller = types.Travel(model, policy.init(len(train.label), alike(held_out, num_classes)))
    records = []
    for cycle in range(cycles):
        traveller, record = one((train, held_out), traveller, cycle)
        records.append(jax.device_get(record))
    return policy, traveller, records


def kept(config, study, folder, name):
    """Parameters of a checkpoint after training."""
    training.train(config, folder, study=study, progress=False)
    like = training.build_learner(config).init(jax.random.key(0), study.train.image[:1])
    return jax.tree.leaves(checkpoints.restore_model(folder / "checkpoints", name, like).params)
