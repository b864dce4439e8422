"""All centres' scans in this process's memory: pure JAX, one `jit(lax.scan)` a cycle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types
from harmjax.engine.apart import apart
from harmjax.engine.learner import select
from harmjax.federations import layout, permitted, statistics
from harmjax.scorers import measures


def memory(
    learner: types.Learner,
    train: types.Samples,
    held_out: types.Samples,
    key,
    *,
    chunk: int = 64,
    minimum: int = 5,
    fold=None,
    width: int | None = None,
    control=(jax.lax.scan, jax.lax.cond),
) -> types.Federation:
    """A federation whose functions read from arrays and can be traced, mapped and differentiated.

    Build it inside the jitted function that uses it, so that the arrays stay arguments of the
    program.

    Args:
        learner: What every centre computes.
        train: N training samples.
        held_out: M verification samples; who holds them must be concrete, because it decides about
            the order of summation.
        key: Root of the per-sample dropout keys.
        chunk: Verification scans per forward pass, at most.
        minimum: Centres with fewer held-out scans than this answer their confusion only.
        fold: [N] int, 0 or 1, of the training samples; by default every other one.
        width: Verification scans per forward pass where a centre's own are summed; by default what
            suits the centres, see `layout.width`.
        control: `scan` and `cond` that the algorithm runs with.
    """
    centre = np.asarray(held_out.centre)
    held_out = or_blank(held_out)
    folds = jnp.asarray(permitted.folds(held_out.centre))
    train, held_out = jax.tree.map(jnp.asarray, (train, held_out))
    num_samples, num_held_out = len(train.label), len(centre)
    fold = jnp.arange(num_samples) % 2 if fold is None else jnp.asarray(fold)
    width = width or layout.width(centre, chunk)

    def batch_of(samples, ids, fold, cycle):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, cycle), i))
        return types.Batch(
            samples.image[ids], samples.label[ids], keys(samples.identity[ids]), fold
        )

    def at_stop(stop):
        ids = jnp.minimum(stop.ids, num_samples - 1)
        return batch_of(train, ids, fold[ids], stop.cycle), stop.ids < num_samples

    def learn(model: types.Model, leg: types.Stop):
        def step(model, stop):
            batch, offered = at_stop(stop)
            after, loss = learner.learn(model, batch, stop.weight, offered, stop.cycle)
            return accepted(after, loss, model)

        def step_if_any(model, stop):
            def skip(model, stop):
                return model, jnp.float32(0)

            return jax.lax.cond(jnp.any(stop.ids < num_samples), step, skip, model, stop)

        return over_leg(step if len(leg.cycle) == 1 else step_if_any, model, leg)

    def at(asked: types.Measure, model: types.Model, leg: types.Stop, reference):
        measure = apart(functools.partial(measures.resolved(asked), learner))

        def look(carry, stop):
            batch, offered = at_stop(stop)
            return carry, measured(measure(model, batch, reference), offered)

        return over_leg(look, (), leg)[1]

    def held_out_batch(ids):
        inside = jnp.minimum(ids, len(folds) - 1)
        return batch_of(held_out, inside, folds[inside], 0)

    def total(statistic: str, model: types.Model, *args, fold=None):
        sums_of = apart(functools.partial(statistics.get(statistic), learner))

        def part(ids):
            weight = (ids < num_held_out).astype(jnp.float32)
            return sums_of(model, held_out_batch(ids), weight, *args)

        sizes = {"minimum": minimum, "chunk": chunk, "width": width}
        return in_order(part, *layout.batches(statistic, centre, fold, **sizes))

    def survey(asked: types.Measure, model: types.Model, reference):
        measure = apart(functools.partial(measures.resolved(asked), learner))
        rows, _ = layout.by_centre(centre, np.ones(num_held_out, bool), width)
        found = jax.lax.map(
            lambda ids: measure(model, held_out_batch(ids), reference), jnp.asarray(rows)
        )
        place = np.argsort(rows.ravel(), kind="stable")[:num_held_out]
        return jax.tree.map(lambda e: e.reshape(-1, *e.shape[2:])[place], found)

    num_classes = learner.task.num_classes
    return types.Federation(num_classes, train.centre, centre, learn, at, total, survey, *control)


def or_blank(samples: types.Samples) -> types.Samples:
    """The samples, or where there are none a blank one, which fills slots that are not asked."""
    if len(samples.centre):
        return samples
    return types.Samples(*(np.zeros((1, *x.shape[1:]), x.dtype) for x in samples))


def in_order(part, rows, centre):
    """Sums of `part(ids)` over the rows of each centre, added up in the order of the centres.

    Floating-point sums depend on their order. In this one they are what centres that answer one
    by one add up to.

    Args:
        part: Ids [W] -> sums.
        rows: [P, W] int32, from `layout.by_centre`.
        centre: [P] int, of the rows, ascending.
    """
    first = np.append(True, centre[1:] != centre[:-1])
    last = np.append(first[1:], True)
    shapes = jax.eval_shape(part, jax.ShapeDtypeStruct(rows.shape[1:], jnp.int32))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def step(sums, at):
        own, whole = sums
        ids, first, last = at
        found = part(ids)
        own = jax.tree.map(lambda own, x: jnp.where(first, x, own + x), own, found)
        whole = jax.tree.map(lambda whole, own: jnp.where(last, whole + own, whole), whole, own)
        return (own, whole), None

    (_, whole), _ = jax.lax.scan(step, (zero, zero), (jnp.asarray(rows), first, last))
    return whole


def over_leg(step, carry, leg: types.Stop):
    """`jax.lax.scan` of `step` over the stops of a leg; of a single one without a loop."""
    if len(leg.cycle) > 1:
        return jax.lax.scan(step, carry, leg)
    carry, found = step(carry, jax.tree.map(lambda x: x[0], leg))
    return carry, jax.tree.map(lambda x: x[None], found)


def accepted(after: types.Model, loss, before: types.Model) -> tuple[types.Model, types.Array]:
    """What came back from a stop, or the model that was sent and a loss of NaN.

    An update that is not finite is turned down where it arrives: every scan would
    count as one of the first class, and the centre after the next stop would get the blame.
    """
    leaves = [leaf for leaf in jax.tree.leaves(after) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
    return select(finite, after, before), jnp.where(finite, loss, jnp.nan)


def measured(evidence, offered):
    """Evidence [B, ...] with NaN where a slot is padding, leaf by leaf."""

    def leaf(x):
        return jnp.where(offered.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan)

    return jax.tree.map(leaf, evidence)
