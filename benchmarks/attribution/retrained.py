"""Models retrained under masks: one score from them, and the truth that all are measured by."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import offers, types
from harmjax.counterfactual import bulk, masks, out_of_sample, retraining
from harmjax.engine import itinerary
from harmjax.federations import memory
from harmjax.runs import course as courses

MODELS, ROUNDS = 32, 2  # of the out-of-sample harm
SUBSETS = 256  # of half the samples each, for the linear datamodelling score


def samples(image, label, centre) -> types.Samples:
    return types.Samples(
        jnp.asarray(image, jnp.float32),
        jnp.asarray(label, jnp.int32),
        jnp.asarray(centre, jnp.int32),
        jnp.arange(len(label), dtype=jnp.uint32),
    )


def unseen(cell, learner, cycles, batch) -> out_of_sample.Trusting:
    """Harm by models that have not seen the sample; the verification samples are not used."""
    train = samples(cell.x, cell.y, cell.centre)
    held_out = samples(cell.vx, cell.vy, cell.held_centre)

    def keep(model, outcomes):
        del outcomes
        return learner.logits(model, train.image)

    ask = _asked(cell, learner, cycles, batch, held_out, keep)
    return out_of_sample.trusting(ask, cell.y, models=MODELS, rounds=ROUNDS, seed=int(cell.seed))


def subsets(cell, learner, cycles, batch):
    """Random halves of the training samples, masks [R, N], and their loss [R] on the test set."""
    chosen = masks.random_subsets(len(cell.y), SUBSETS, seed=10_000 + int(cell.seed))
    test = samples(cell.tx, cell.ty, np.zeros_like(cell.ty))

    def keep(model, outcomes):
        del model
        return outcomes["held out"].loss[-1]

    return chosen, _asked(cell, learner, cycles, batch, test, keep)(chosen)


def _asked(cell, learner, cycles, batch, held_out, keep):
    train = samples(cell.x, cell.y, cell.centre)
    again = retraining.retraining(
        learner,
        train,
        {"held out": held_out},
        courses.course(
            cell.centre, jax.random.fold_in(jax.random.key(int(cell.seed)), 11), batch_size=batch
        ),
        cycles=range(cycles),
    )
    start = learner.init(jax.random.key(int(cell.seed)), train.image[:1])
    ask = bulk.bulk(again, keep=keep, progress=False)
    return lambda asked: ask(start, asked)


def accuracies(cell, learner, cycles, batch, kept, replicas: int = 3):
    """Test accuracy [K] of a model trained on what is kept [K, N], mean over initialisations."""
    train = samples(cell.x, cell.y, np.zeros_like(cell.centre))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(int(cell.seed)), 9), replicas)
    test = jnp.asarray(cell.tx), jnp.asarray(cell.ty)
    found = _trained(learner, cycles, batch, train, *test, jnp.asarray(kept), keys)
    return np.asarray(found).mean(axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _trained(learner, cycles, batch, train, image, label, kept, keys):
    centre = np.zeros(train.label.shape, int)
    draw = itinerary.itinerary(centre, batch_size=batch)
    unused = train._replace(centre=centre)  # nothing is asked of held-out scans

    def accuracy(mask, key):
        fed = memory.memory(learner, train, unused, key)

        def visit(model, stop):
            return fed.learn(model, offers.leg(stop))[0], None

        def cycle(model, c):
            return jax.lax.scan(visit, model, draw(key, offers.offer(mask), c))[0], None

        model = learner.init(key, train.image[:1])
        model, _ = jax.lax.scan(cycle, model, jnp.arange(cycles))
        return jnp.mean(learner.task.predicted(learner.logits(model, image)) == label)

    return jax.lax.map(lambda mask: jax.vmap(lambda key: accuracy(mask, key))(keys), kept)
