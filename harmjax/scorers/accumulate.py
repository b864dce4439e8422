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
    total: types.PyTree  # [N, ...] float32


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
    total = jax.tree.map(lambda e: jnp.zeros((num_samples, *e.shape[1:])), evidence)
    return Tally(jnp.zeros(num_samples, jnp.int32), total)


def add(tally: Tally, ids, evidence) -> Tally:
    """The tally after one more stop; slots with id N or with a NaN change nothing.

    Args:
        tally: So far.
        ids: [B] int32, of the stop; no id but N twice.
        evidence: Dict of [B, ...].
    """
    unknown = [jnp.isnan(e).reshape(len(ids), -1).any(axis=1) for e in jax.tree.leaves(evidence)]
    ids = jnp.where(jnp.any(jnp.stack(unknown), axis=0), len(tally.visits), ids)

    def added(total, e):
        return total.at[ids].add(e, mode="drop")

    return Tally(added(tally.visits, 1), jax.tree.map(added, tally.total, evidence))


def mean(tally: Tally):
    """Mean [N, ...] over the visits, NaN where there was none."""
    return jax.tree.map(lambda t: t / tally.visits.reshape(-1, *[1] * (t.ndim - 1)), tally.total)
