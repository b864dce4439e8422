"""Many models under different masks on one device, together and one after another."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import counterfactual, record
from benchmarks.gpu import network
from harmjax import types
from harmjax.counterfactual import bulk, masks, retraining
from harmjax.engine import learner as learners
from harmjax.runs import course as courses


def replica_rows(size, before) -> list[dict]:
    """SFCNs, in every type and number."""
    del before
    return [
        row
        for dtype in network.DTYPES
        for number in size["replicas"]
        for row in _replicas(size | {"grid": size["quarter"]}, dtype, number)
    ]


def _replicas(size, dtype, number):
    """Each replica leaves another sample out of each of its steps."""
    batch, steps = network.BATCH, size["steps"]
    learner, model, image = network.start(size, dtype, batch)
    label = fold = jnp.arange(batch, dtype=jnp.int32) % 2
    every = jnp.ones(batch, bool)
    keys = jax.random.split(jax.random.key(2), (steps, batch))
    left_out = (np.arange(number)[:, None] + np.arange(steps)) % batch
    weights = jnp.asarray(left_out[..., None] != np.arange(batch), jnp.float32)

    def trained(model, image, weights):
        def body(model, step):
            key, weight = step
            return learner.learn(model, types.Batch(image, label, key, fold), weight, every, 0)

        return jax.lax.scan(body, model, (keys, weights))[1]

    one = jax.jit(trained)
    vmapped = jax.jit(jax.vmap(trained, (None, None, 0)))
    mapped = jax.jit(
        lambda model, image, weights: jax.lax.map(lambda w: trained(model, image, w), weights)
    )
    ways = {
        "one after another": lambda: [one(model, image, each) for each in weights],
        "lax.map": lambda: mapped(model, image, weights),
        "vmap": lambda: vmapped(model, image, weights),
    }
    took = {name: wall for name, (wall, _) in record.in_turns(ways, size["turns"]).items()}
    return [
        {
            "what": "replicas",
            "side": name,
            "type": dtype,
            "grid": "x".join(map(str, size["grid"])),
            "replicas": number,
            "seconds": record.rounded(wall / steps),
            "ratio": round(took["one after another"] / wall, 2),
        }
        for name, wall in took.items()
    ]


def counterfactual_rows(size, before) -> list[dict]:
    """The bulk of a small model, against one retraining after another."""
    del before
    number = size["retrainings"]
    load, classifier, cycles, _ = counterfactual.TASKS["heart-mlp"]
    train, verification = load()
    learner = learners.learner(classifier, learners.published_schedule(1e-3))
    course = courses.course(train.centre, jax.random.key(1))
    again = retraining.retraining(
        learner, train, {"verification": verification}, course, cycles=range(cycles)
    )
    model = learner.init(jax.random.key(0), jnp.asarray(train.image[:1]))
    these = masks.leave_one_out(len(train.label), np.arange(number) % len(train.label))
    one = jax.jit(lambda mask: again.run(again.data, model, mask, 0)[1])
    measured = max(1, min(number, 20))

    ask = bulk.bulk(again, progress=False)
    ways = {
        "one after another": lambda: [one(mask) for mask in these[:measured]],
        "vmap": lambda: ask(model, these),
    }
    took = {name: wall for name, (wall, _) in record.in_turns(ways, size["turns"]).items()}
    took["one after another"] *= number / measured
    return [
        {
            "what": "counterfactual",
            "side": name,
            "replicas": number,
            "seconds": record.rounded(wall),
            "ratio": round(took["one after another"] / wall, 2),
        }
        for name, wall in took.items()
    ]
