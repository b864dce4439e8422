"""Evidence, or harm, gathered per sample over stops and cycles.

Evidence that is relative to its reference, such as the distances of `neighbours`, is judged first,
a cycle at a time; then the harm is gathered.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from harmjax import types


class Tally(NamedTuple):
    """Sums over the visits of each sample; leaves are shaped as evidence, with N in place of B."""

    visits: types.Array  # [N] int32
    weight: types.Array  # [N] float32, of the visits, summed
    total: types.PyTree  # [N, ...] float32, weighted sum
    square: types.PyTree  # [N, ...] float32, weighted sum of squares
    last: types.PyTree  # [N, ...] float32, of the last visit, NaN before it


def by_sample(ids, evidence, num_samples: int):
    """Evidence [N, ...] of the samples of many stops, NaN where there was none.

    Args:
        ids: [T, B] int32, or any shape; no id but N twice.
        evidence: Dict of [T, B, ...].
        num_samples: N.

    Example:
        >>> by_sample(jnp.array([[2, 0], [3, 3]]), {'a': jnp.ones((2, 2))}, 3)['a'].tolist()
        [1.0, nan, 1.0]
    """

    def leaf(e):
        values = e.reshape(-1, *e.shape[ids.ndim :])
        nothing = jnp.full((num_samples, *values.shape[1:]), jnp.nan)
        return nothing.at[ids.ravel()].set(values, mode="drop")

    return jax.tree.map(leaf, evidence)


def start(num_samples: int, evidence) -> Tally:
    """The tally before any visit.

    Args:
        num_samples: N.
        evidence: Any evidence, or its shapes from `jax.eval_shape`; a dict of [B, ...].

    Example:
        >>> tally = start(3, {'loss': jnp.zeros(2)})
        >>> tally = add(tally, jnp.array([2, 3]), {'loss': jnp.array([5.0, jnp.nan])})
        >>> mean(tally)['loss'].tolist()
        [nan, nan, 5.0]
    """

    def filled(value):
        return jax.tree.map(lambda e: jnp.full((num_samples, *e.shape[1:]), value), evidence)

    zero = jnp.zeros(num_samples)
    return Tally(zero.astype(jnp.int32), zero, filled(0.0), filled(0.0), filled(jnp.nan))


def add(tally: Tally, ids, evidence, weight=1.0) -> Tally:
    """The tally after one more stop; slots with id N or with a NaN change nothing.

    Args:
        tally: So far.
        ids: [B] int32, of the stop; no id but N twice.
        evidence: Dict of [B, ...].
        weight: Of this stop in sums and means, such as the learning rate.
    """
    unknown = [jnp.isnan(e).reshape(len(ids), -1).any(axis=1) for e in jax.tree.leaves(evidence)]
    ids = jnp.where(jnp.any(jnp.stack(unknown), axis=0), len(tally.visits), ids)

    def summed(power):
        return lambda t, e: t.at[ids].add(weight * e**power, mode="drop")

    return Tally(
        visits=tally.visits.at[ids].add(1, mode="drop"),
        weight=tally.weight.at[ids].add(weight, mode="drop"),
        total=jax.tree.map(summed(1), tally.total, evidence),
        square=jax.tree.map(summed(2), tally.square, evidence),
        last=jax.tree.map(lambda t, e: t.at[ids].set(e, mode="drop"), tally.last, evidence),
    )


def mean(tally: Tally):
    """Weighted mean [N, ...] over the visits, NaN where there was none."""
    return jax.tree.map(lambda t: t / _as_leaf(tally.weight, t), tally.total)


def total(tally: Tally):
    """Weighted sum [N, ...] over the visits, NaN where there was none."""
    return jax.tree.map(lambda t: jnp.where(_as_leaf(tally.visits, t) > 0, t, jnp.nan), tally.total)


def spread(tally: Tally):
    """Standard deviation [N, ...] over the visits, NaN where there was none."""

    def leaf(t, s):
        weight = _as_leaf(tally.weight, t)
        return jnp.sqrt(jnp.maximum(s / weight - (t / weight) ** 2, 0))

    return jax.tree.map(leaf, tally.total, tally.square)


def ranks(values):
    """Mid-ranks [N] in (0, 1) among the values that are known; NaN stays NaN.

    Example:
        >>> ranks(jnp.array([3.0, jnp.nan, 1.0, 3.0, 2.0])).tolist()
        [0.75, nan, 0.125, 0.75, 0.375]
    """
    known = ~jnp.isnan(values)
    ordered = jnp.sort(values)  # NaN last
    below = jnp.searchsorted(ordered, values, side="left")
    through = jnp.minimum(jnp.searchsorted(ordered, values, side="right"), jnp.sum(known))
    return jnp.where(known, (below + through) / 2 / jnp.maximum(jnp.sum(known), 1), jnp.nan)


def _as_leaf(per_sample, leaf):
    return per_sample.reshape(-1, *[1] * (leaf.ndim - 1))
