"""All centres' scans in this process's memory: pure JAX, one `jit(lax.scan)` a cycle."""

import jax
import jax.numpy as jnp

from harmjax import measures, statistics, types
from harmjax.learner import select


def memory(
    learner: types.Learner,
    train: types.Samples,
    held_out: types.Samples,
    key,
    *,
    chunk: int = 64,
    minimum: int = 5,
    control=(jax.lax.scan, jax.lax.cond),
) -> types.Federation:
    """A federation whose functions read from arrays and can be traced, mapped and differentiated.

    Build it inside the jitted function that uses it, so that the arrays stay arguments of the
    program.

    Args:
        learner: What every centre computes.
        train: N training samples.
        held_out: M verification samples.
        key: Root of the per-sample dropout keys.
        chunk: Verification scans per forward pass.
        minimum: Centres with fewer held-out scans than this answer their confusion only.
        control: `scan` and `cond` that the algorithm runs with.
    """
    train, held_out = jax.tree.map(jnp.asarray, (train, held_out))
    num_samples, num_held_out = len(train.label), len(held_out.label)
    fold = folds(held_out.centre)
    chunk = min(chunk, num_held_out)
    starts = jnp.arange(0, num_held_out, chunk)

    def batch_of(samples, ids, fold, cycle):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, cycle), i))
        return types.Batch(
            samples.image[ids], samples.label[ids], keys(samples.identity[ids]), fold
        )

    def at_stop(stop):
        ids = jnp.minimum(stop.ids, num_samples - 1)
        return batch_of(train, ids, ids % 2, stop.cycle), stop.ids < num_samples

    def learn(model, leg):
        def step(model, stop):
            batch, offered = at_stop(stop)
            after, loss = learner.learn(model, batch, stop.weight, offered, stop.cycle)
            return accepted(after, loss, model)

        return over_leg(step, model, leg)

    def at(asked, model, leg, reference):
        measure = measures.resolved(asked)

        def look(carry, stop):
            batch, offered = at_stop(stop)
            return carry, measured(measure(learner, model, batch, reference), offered)

        return over_leg(look, (), leg)[1]

    def total(statistic, model, *args, fold=None):
        statistic_fn = getattr(statistics, statistic)
        asked = answering(statistic, held_out.centre, fold, minimum)

        def part(start):
            batch, inside, is_scan = chunk_at(start)
            weight = jnp.where(is_scan & asked[inside], 1.0, 0.0)
            return statistic_fn(learner, model, batch, weight, *args)

        sums = jax.lax.map(part, starts)
        return jax.tree.map(lambda s: jnp.sum(s, axis=0), sums)

    def survey(asked, model, reference):
        measure = measures.resolved(asked)

        def part(start):
            return measure(learner, model, chunk_at(start)[0], reference)

        found = jax.lax.map(part, starts)
        return jax.tree.map(lambda e: e.reshape(-1, *e.shape[2:])[:num_held_out], found)

    def chunk_at(start):
        ids = start + jnp.arange(chunk)
        inside = jnp.minimum(ids, num_held_out - 1)
        return batch_of(held_out, inside, fold[inside], 0), inside, ids < num_held_out

    num_classes = learner.task.num_classes
    return types.Federation(
        num_classes, train.centre, held_out.centre, learn, at, total, survey, *control
    )


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


def answering(statistic: str, centre, fold=None, minimum: int = 5):
    """Which held-out scans [M] bool answer: of centres with enough scans among those meant.

    Args:
        statistic: Name of a function of `harmjax/statistics.py`.
        centre: [M] int, who holds each scan.
        fold: 0 or 1, that of the scans that are meant; all by default.
        minimum: Fewest of them at a centre; `statistics.EVERY_CENTRE` are answered by all.
    """
    meant = jnp.ones(len(centre), bool) if fold is None else folds(centre) == fold
    if statistic in statistics.EVERY_CENTRE:
        return meant
    return meant & (_group_sizes(centre, meant) >= minimum)


def folds(centre):
    """Which fold [M], 0 or 1, each held-out scan is in: every other one of its centre."""
    order = jnp.argsort(centre, stable=True)
    ordered = centre[order]
    place = jnp.arange(len(centre)) - jnp.searchsorted(ordered, ordered, side="left")
    return jnp.zeros(len(centre), jnp.int32).at[order].set(place % 2)


def _group_sizes(centre, meant):
    """For every held-out scan, how many of those meant are at its centre, [M] int32."""
    _, place = jnp.unique(centre, return_inverse=True, size=len(centre))
    return jnp.zeros(len(centre), jnp.int32).at[place].add(meant)[place]
