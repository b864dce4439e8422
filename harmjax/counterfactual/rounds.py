"""A federated round taken apart: every centre's update, and the round without any of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types


class Updates(NamedTuple):
    """What every centre would change, all from the same model."""

    delta: tuple  # (params, batch_stats) [C, ...], local minus start
    share: types.Array  # [C] float32, of the samples offered in this round; sums to 1


def by_centre(stops: types.Stop, num_centres: int, num_samples: int) -> types.Stop:
    """The stops of one cycle sorted by centre, [C, K] with K the most stops of any centre.

    Args:
        stops: [T] concrete stops.
        num_centres: C.
        num_samples: N, the id of empty slots.
    """
    centre, ids = np.asarray(stops.centre), np.asarray(stops.ids)
    most = np.bincount(centre, minlength=num_centres).max()
    rows = np.full((num_centres, most, ids.shape[1]), num_samples, np.int32)
    for c in range(num_centres):
        own = ids[centre == c]
        rows[c, : len(own)] = own
    return types.Stop(
        cycle=np.full((num_centres, most), np.asarray(stops.cycle)[0], np.int32),
        centre=np.repeat(np.arange(num_centres, dtype=np.int32)[:, None], most, axis=1),
        ids=rows,
        weight=(rows < num_samples).astype(np.float32),
    )


def updates(
    fed: types.Federation, model: types.Model, stops: types.Stop, *, replicas: str = "vmap"
) -> Updates:
    """All centres' updates from one model as one mapped call.

    Args:
        fed: In memory.
        model: That every centre starts from, with a fresh optimiser state.
        stops: [C, K] from `by_centre`.
        replicas: 'vmap', side by side; 'map', one after another.

    References:
        McMahan et al., Communication-efficient learning of deep networks from decentralized data,
        AISTATS 2017, arXiv 1602.05629.
    """

    def local(stops):
        after, _ = fed.learn(model, stops)
        return jax.tree.map(jnp.subtract, averaged(after), averaged(model))

    mapped = {"vmap": jax.vmap(local), "map": lambda stops: jax.lax.map(local, stops)}
    size = jnp.sum(stops.ids < len(fed.centre), axis=(1, 2))
    return Updates(mapped[replicas](stops), size / jnp.maximum(jnp.sum(size), 1))


def aggregate(
    model: types.Model, updates: Updates, keep=None, *, rescale: bool = True
) -> types.Model:
    """The model of the round with only some centres: arithmetic, no training.

    With `rescale` the shares of the centres that stay are scaled up to 1, as if the others had
    never taken part. Without it a centre left out contributes no change and the others' shares
    stay as they are, which is what weight 0 on its samples does (`retraining.retraining`).

    Args:
        model: At the start of the round.
        updates: From `updates`.
        keep: [C] float, weight of every centre; all ones by default. `jax.vmap` over it asks for
            many rounds at once.
        rescale: See above.

    Example:
        >>> start = types.Model({'w': jnp.zeros(1)}, {}, {})
        >>> found = Updates(({'w': jnp.array([[1.0], [5.0]])}, {}), jnp.array([0.5, 0.5]))
        >>> aggregate(start, found, jnp.array([1.0, 0.0])).params['w'].tolist()
        [1.0]
    """
    share = updates.share if keep is None else updates.share * keep
    if rescale:
        share = share / jnp.where(jnp.sum(share) > 0, jnp.sum(share), 1.0)

    def mixed(start, delta):
        return start + jnp.tensordot(share.astype(delta.dtype), delta, 1)

    params, batch_stats = jax.tree.map(mixed, averaged(model), updates.delta)
    return types.Model(params, batch_stats, model.opt_state)


def averaged(model: types.Model) -> tuple:
    """What a round averages: parameters and batch statistics."""
    return model.params, model.batch_stats
