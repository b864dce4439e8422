"""Centres whose scans stay on disk: batches are read ahead while the model learns.

For cohorts that do not fit in memory. Images are NumPy arrays, as a rule memory maps; only the
scans of the current request are on the device.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types
from harmjax.data import stream as reading
from harmjax.federations import layout, loops, memory, permitted, statistics
from harmjax.scorers import measures


def stream(
    learner: types.Learner,
    train: types.Samples,
    held_out: types.Samples,
    key,
    *,
    chunk: int = 64,
    minimum: int = 5,
    fold=None,
) -> types.Federation:
    """A federation that reads every batch from `image` when it is asked for.

    Takes the arguments of `memory.memory` and gives the same answers. Verification scans, and the
    batches of the stops of one scan, are read ahead by a background thread.
    """
    num_samples, num_held_out = len(train.label), len(held_out.label)
    centre = np.asarray(held_out.centre)
    own_fold, width = permitted.folds(centre), layout.width(centre, chunk)
    train_fold = np.arange(num_samples) % 2 if fold is None else np.asarray(fold)
    ahead: dict[bytes, np.ndarray] = {}

    def batch_of(cycle, image, label, identity, fold):
        at_cycle = jax.random.fold_in(key, cycle)
        keys = jax.vmap(lambda i: jax.random.fold_in(at_cycle, i))(identity)
        return types.Batch(image, label, keys, fold)

    @jax.jit
    def update(model, stop, *sample):
        batch, offered = batch_of(stop.cycle, *sample), stop.ids < num_samples
        return memory.accepted(
            *learner.learn(model, batch, stop.weight, offered, stop.cycle), model
        )

    @functools.partial(jax.jit, static_argnums=0)
    def look(asked, model, reference, cycle, *sample):
        return measures.resolved(asked)(learner, model, batch_of(cycle, *sample), reference)

    def fetch(ids):
        return np.asarray(train.image[np.minimum(ids, num_samples - 1)])

    def samples_of(stop):
        ids = np.asarray(stop.ids)
        inside = np.minimum(ids, num_samples - 1)
        image = ahead.get(ids.tobytes())
        image = fetch(ids) if image is None else image
        return image, train.label[inside], train.identity[inside], train_fold[inside]

    def learn(model: types.Model, leg: types.Stop):
        return loops.scan(lambda model, stop: update(model, stop, *samples_of(stop)), model, leg)

    def at(asked: types.Measure, model: types.Model, leg: types.Stop, reference):
        def one(carry, stop):
            evidence = look(asked, model, reference, stop.cycle, *samples_of(stop))
            return carry, memory.measured(evidence, stop.ids < num_samples)

        return loops.scan(one, (), leg)[1]

    def scan(body, carry, xs):
        if not isinstance(xs, types.Stop):
            return loops.scan(body, carry, xs)
        read = reading.batches(fetch, np.asarray(xs.ids).reshape(-1, xs.ids.shape[-1]))

        def with_images(carry, leg):
            ahead.clear()
            for ids in np.asarray(leg.ids).reshape(-1, leg.ids.shape[-1]):
                ahead[ids.tobytes()] = next(read)
            return body(carry, leg)

        try:
            return loops.scan(with_images, carry, xs)
        finally:
            ahead.clear()
            read.close()

    @functools.partial(jax.jit, static_argnums=0)
    def part(statistic, model, args, weight, *sample):
        batch = batch_of(0, *sample)
        return statistics.get(statistic)(learner, model, batch, weight, *args)

    def held_out_parts(rows):
        inside = [np.minimum(ids, num_held_out - 1) for ids in rows]
        images = reading.batches(lambda ids: np.asarray(held_out.image[ids]), inside)
        for at, image in zip(inside, images, strict=True):
            yield image, held_out.label[at], held_out.identity[at], own_fold[at]

    def total(statistic: str, model: types.Model, *args, fold=None):
        sizes = {"minimum": minimum, "chunk": chunk, "width": width}
        rows, owner = layout.batches(statistic, centre, fold, **sizes)
        own, sums = None, None
        edges = np.append(owner[1:] != owner[:-1], True)
        for ids, sample, is_last in zip(rows, held_out_parts(rows), edges, strict=True):
            weight = jnp.asarray(ids < num_held_out, jnp.float32)
            found = part(statistic, model, args, weight, *sample)
            own = found if own is None else jax.tree.map(jnp.add, own, found)
            if is_last:
                sums, own = own if sums is None else jax.tree.map(jnp.add, sums, own), None
        return sums

    def survey(asked: types.Measure, model: types.Model, reference):
        rows, _ = layout.by_centre(centre, np.ones(num_held_out, bool), width)
        found = [look(asked, model, reference, 0, *sample) for sample in held_out_parts(rows)]
        place = np.argsort(rows.ravel(), kind="stable")[:num_held_out]
        return jax.tree.map(lambda *each: jnp.concatenate(each)[place], *found)

    return types.Federation(
        learner.task.num_classes,
        jnp.asarray(train.centre),
        centre,
        learn,
        at,
        total,
        survey,
        scan,
        loops.cond,
    )
