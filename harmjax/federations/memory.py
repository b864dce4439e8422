"""All centres' scans in this process's memory: pure JAX, one `jit(lax.scan)` a cycle."""

import jax
import jax.numpy as jnp

from harmjax import statistics, types
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
    chunk = min(chunk, num_held_out)
    starts = jnp.arange(0, num_held_out, chunk)

    def batch_of(samples, ids, cycle):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, cycle), i))
        return types.Batch(samples.image[ids], samples.label[ids], keys(samples.identity[ids]))

    def learn(model, stop, weight):
        offered = stop.ids < num_samples
        batch = batch_of(train, jnp.minimum(stop.ids, num_samples - 1), stop.cycle)
        return accepted(*learner.learn(model, batch, weight, offered, stop.cycle), model)

    def at(measure, model, stop, reference):
        offered = stop.ids < num_samples
        batch = batch_of(train, jnp.minimum(stop.ids, num_samples - 1), stop.cycle)
        return measured(measure(learner, model, batch, reference), offered)

    def total(statistic, model, *args, among=None):
        statistic_fn = getattr(statistics, statistic)
        asked = answering(statistic, held_out.centre, among, minimum)

        def part(start):
            ids = start + jnp.arange(chunk)
            inside = jnp.minimum(ids, num_held_out - 1)
            weight = jnp.where((ids < num_held_out) & asked[inside], 1.0, 0.0)
            return statistic_fn(learner, model, batch_of(held_out, inside, 0), weight, *args)

        sums = jax.lax.map(part, starts)
        return jax.tree.map(lambda s: jnp.sum(s, axis=0), sums)

    def survey(measure, model, reference):
        def part(start):
            inside = jnp.minimum(start + jnp.arange(chunk), num_held_out - 1)
            return measure(learner, model, batch_of(held_out, inside, 0), reference)

        found = jax.lax.map(part, starts)
        return jax.tree.map(lambda e: e.reshape(-1, *e.shape[2:])[:num_held_out], found)

    num_classes = learner.task.num_classes
    return types.Federation(
        num_classes, train.centre, held_out.centre, learn, at, total, survey, *control
    )


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


def answering(statistic: str, centre, among=None, minimum: int = 5):
    """Which held-out scans [M] bool answer: of centres with enough scans among those meant.

    Args:
        statistic: Name of a function of `harmjax/statistics.py`.
        centre: [M] int, who holds each scan.
        among: [M] bool, the scans that are meant; all by default.
        minimum: Fewest of them at a centre; `statistics.EVERY_CENTRE` are answered by all.
    """
    meant = jnp.ones(len(centre), bool) if among is None else among
    if statistic in statistics.EVERY_CENTRE:
        return meant
    return meant & (_group_sizes(centre, meant) >= minimum)


def _group_sizes(centre, meant):
    """For every held-out scan, how many of those meant are at its centre, [M] int32."""
    _, place = jnp.unique(centre, return_inverse=True, size=len(centre))
    return jnp.zeros(len(centre), jnp.int32).at[place].add(meant)[place]
