"""What tests of any number of classes share."""

import jax.numpy as jnp
import numpy as np

from harmjax import models, task, types
from harmjax.engine import learner
from harmjax.runs import preparation

NAMES = {2: types.BINARY, 3: ("HC", "MCI", "AD")}


def confused(label, predicted, num_classes):
    """Confusion as nested lists, scan by scan: rows the true class, columns the predicted."""
    table = [[0] * num_classes for _ in range(num_classes)]
    for row, column in zip(label, predicted, strict=True):
        table[int(row)][int(column)] += 1
    return table


def samples(size, seed, num_classes, num_centres=5):
    """Samples of four features, the first of which tells the classes apart."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(size, 4)).astype(np.float32)
    edges = {2: (0.0,), 3: (-0.43, 0.43)}[num_classes]
    return types.Samples(
        image=image,
        label=np.digitize(image[:, 0], edges).astype(np.int32),
        centre=np.sort(rng.integers(0, num_centres, size)).astype(np.int32),
        identity=np.arange(size, dtype=np.uint32) + 1000,
    )


def perceptron(num_classes, rate=0.05, **settings):
    """A learner with a small network."""
    return learner.learner(
        models.get("mlp")(hidden=(5,), classes=num_classes, **settings),
        lambda cycle: jnp.float32(rate),
        task=task.classification(num_classes),
    )


def study(num_classes, sizes=(60, 40, 40), flipped=()):
    """A study of samples at hand, with wrong labels among those to train on."""
    train, verification, test = (samples(n, i, num_classes) for i, n in enumerate(sizes))
    label = train.label.copy()
    label[list(flipped)] = (label[list(flipped)] + 1) % num_classes
    everyone = [[("all", np.ones(n, bool)), ("odd", np.arange(n) % 2 == 1)] for n in sizes[1:]]
    return preparation.Study(
        train=train._replace(label=label),
        verification=verification,
        test=test,
        names=tuple(f"p{i:02}" for i in range(sizes[0])),
        centres=tuple("ABCDE"),
        groups=dict(zip(("verification", "test"), everyone, strict=True)),
        simulated=True,
        corrupted=np.isin(np.arange(sizes[0]), flipped),
        kind=tuple("label_flip" if i in flipped else "" for i in range(sizes[0])),
        word=np.zeros(sizes[0], np.int8),
        text="",
        classes=NAMES[num_classes],
    )
