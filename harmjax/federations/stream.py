"""Centres whose scans stay on disk: batches are read ahead while the model learns.

For cohorts that do not fit in memory. Images are NumPy arrays, as a rule memory maps; only the
scans of the current request are on the device.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import statistics, types
from harmjax.data import stream as reading
from harmjax.federations import control, memory


def stream(
    learner: types.Learner,
    train: types.Samples,
    held_out: types.Samples,
    key,
    *,
    chunk: int = 64,
    minimum: int = 5,
) -> types.Federation:
    """A federation that reads every batch from `image` when it is asked for.

    Takes the arguments of `memory.memory` and gives the same answers. Verification scans, and the
    batches of the stops of one scan, are read ahead by a background thread.
    """
    num_samples, num_held_out = len(train.label), len(held_out.label)
    chunk = min(chunk, num_held_out)
    ahead = {}

    def batch_keys(identity, cycle):
        at_cycle = jax.random.fold_in(key, cycle)
        return jax.vmap(lambda i: jax.random.fold_in(at_cycle, i))(identity)

    @jax.jit
    def update(model, image, label, identity, stop, weight):
        batch = types.Batch(image, label, batch_keys(identity, stop.cycle))
        offered = stop.ids < num_samples
        return memory.accepted(*learner.learn(model, batch, weight, offered, stop.cycle), model)

    def fetch(ids):
        return np.asarray(train.image[np.minimum(ids, num_samples - 1)])

    def samples_of(stop):
        ids = np.asarray(stop.ids)
        inside = np.minimum(ids, num_samples - 1)
        image = ahead.get(ids.tobytes())
        image = fetch(ids) if image is None else image
        return image, train.label[inside], train.identity[inside]

    def learn(model, stop, weight):
        return update(model, *samples_of(stop), stop, weight)

    @functools.partial(jax.jit, static_argnums=0)
    def look(measure, model, image, label, identity, cycle, reference):
        batch = types.Batch(image, label, batch_keys(identity, cycle))
        return measure(learner, model, batch, reference)

    def at(measure, model, stop, reference):
        evidence = look(measure, model, *samples_of(stop), stop.cycle, reference)
        return memory.measured(evidence, stop.ids < num_samples)

    def scan(body, carry, xs):
        if not isinstance(xs, types.Stop):
            return control.scan(body, carry, xs)
        read = reading.batches(fetch, np.asarray(xs.ids))

        def with_images(carry, stop):
            ahead.clear()
            ahead[np.asarray(stop.ids).tobytes()] = next(read)
            return body(carry, stop)

        try:
            return control.scan(with_images, carry, xs)
        finally:
            ahead.clear()
            read.close()

    jitted = {}

    def part(statistic, model, batch, weight, *args):
        if statistic not in jitted:
            statistic_fn = getattr(statistics, statistic)
            jitted[statistic] = jax.jit(
                lambda model, batch, weight, *args: statistic_fn(
                    learner, model, batch, weight, *args
                )
            )
        return jitted[statistic](model, batch, weight, *args)

    rows = [np.arange(start, start + chunk) for start in range(0, num_held_out, chunk)]
    inside = [np.minimum(ids, num_held_out - 1) for ids in rows]

    def held_out_images():
        return reading.batches(lambda ids: np.asarray(held_out.image[ids]), inside)

    def total(statistic, model, *args, among=None):
        asked = np.asarray(memory.answering(statistic, held_out.centre, among, minimum))
        sums = None
        for ids, at, image in zip(rows, inside, held_out_images(), strict=True):
            weight = jnp.asarray((ids < num_held_out) & asked[at], jnp.float32)
            batch = types.Batch(image, held_out.label[at], batch_keys(held_out.identity[at], 0))
            found = part(statistic, model, batch, weight, *args)
            sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
        return sums

    def survey(measure, model, reference):
        found = [
            look(measure, model, image, held_out.label[at], held_out.identity[at], 0, reference)
            for at, image in zip(inside, held_out_images(), strict=True)
        ]
        return jax.tree.map(lambda *each: jnp.concatenate(each)[:num_held_out], *found)

    return types.Federation(
        learner.task.num_classes,
        jnp.asarray(train.centre),
        jnp.asarray(held_out.centre),
        learn,
        at,
        total,
        survey,
        scan,
        control.cond,
    )
