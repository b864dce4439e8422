"""Evidence, or harm, gathered per sample over stops and cycles.

Evidence that is relative to its reference, such as the distances of `knn_shapley`, is judged first,
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
    last: types.PyTree  # [N, ...] float32, of the last visit, NaN before it


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
    return Tally(zero.astype(jnp.int32), zero, filled(0.0), filled(jnp.nan))


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

    return Tally(
        visits=tally.visits.at[ids].add(1, mode="drop"),
        weight=tally.weight.at[ids].add(weight, mode="drop"),
        total=jax.tree.map(
            lambda t, e: t.at[ids].add(weight * e, mode="drop"), tally.total, evidence
        ),
        last=jax.tree.map(lambda t, e: t.at[ids].set(e, mode="drop"), tally.last, evidence),
    )


def mean(tally: Tally):
    """Weighted mean [N, ...] over the visits, NaN where there was none."""
    return jax.tree.map(lambda t: t / _as_leaf(tally.weight, t), tally.total)


def _as_leaf(per_sample, leaf):
    return per_sample.reshape(-1, *[1] * (leaf.ndim - 1))
