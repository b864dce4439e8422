"""A federated round taken apart: every centre's update, and the round without any of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from harmjax import types
from harmjax.counterfactual import retraining as retrainings
from harmjax.engine import averaging


class Updates(NamedTuple):
    """What every centre would change, all from the same model."""

    delta: tuple  # (params, batch_stats) [C, ...], local minus start
    share: types.Array  # [C] float32, of the samples offered in this round; sums to 1


class Rounds(NamedTuple):
    """A run followed round by round, and every round without each of its centres."""

    cycle: np.ndarray  # [R] int, its number
    samples: np.ndarray  # [R, C] int, offered
    share: np.ndarray  # [R, C] float32, of all that were offered in this round
    whole: dict  # split -> Outcome [R], with all centres
    without: dict  # split -> Outcome [R, C], of the round without this centre


def follow(
    retraining: retrainings.Retraining,
    model: types.Model,
    *,
    mask=None,
    rescale: bool = True,
    replicas: str = "vmap",
    progress: bool = True,
) -> Rounds:
    """What every round of a run would have given without each centre, by arithmetic.

    The model goes on with all centres, as in the run itself: a centre is missing from one round at
    a time. Every centre trains once a round, however many centres there are to leave out.

    Args:
        retraining: The run, federated.
        model: That it starts from.
        mask: [N] float32, what is trained on; everything by default.
        rescale: What "without" means, see `aggregate`.
        replicas: See `updates`.
        progress: Whether to draw a progress bar.

    Raises:
        ValueError: The run has no rounds.
    """
    if retraining.late:
        raise ValueError("the run is not federated: its stops follow one another, without rounds")
    data, stops = retraining.data, jax.device_get(retraining.data.stops)
    centre = np.asarray(data.train.centre)
    num_centres, num_samples = int(centre.max()) + 1, len(centre)
    known = np.append(np.ones(num_samples) if mask is None else mask, 0).astype(np.float32)
    keep = 1 - np.eye(num_centres, dtype=np.float32)

    @jax.jit
    def one(data, model, stops):
        feds = retraining.federations(data)

        def outcomes(model):
            return {split: retrainings.outcome(fed, model) for split, fed in feds.items()}

        found = updates(next(iter(feds.values())), model, stops, replicas=replicas)
        after = aggregate(model, found)
        without = jax.lax.map(
            lambda keep: outcomes(aggregate(model, found, keep, rescale=rescale)), jnp.asarray(keep)
        )
        return after, (found.share, outcomes(after), without)

    rows = []
    bar = tqdm.tqdm(
        range(len(stops.cycle)), desc="rounds", unit="round", disable=None if progress else True
    )
    for number in bar:
        every = by_centre(types.Stop(*(x[number] for x in stops)), num_centres, num_samples)
        samples = (every.ids < num_samples).sum(axis=(1, 2))
        model, found = one(data, model, every._replace(weight=known[every.ids]))
        rows.append((stops.cycle[number, 0], samples, *jax.device_get(found)))
    return Rounds(*jax.tree.map(lambda *parts: np.stack(parts), *rows))


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
        return jax.tree.map(jnp.subtract, averaging.averaged(after), averaging.averaged(model))

    mapped = {"vmap": jax.vmap(local), "map": lambda stops: jax.lax.map(local, stops)}
    size = jnp.sum(stops.ids < len(fed.centre), axis=(1, 2))
    return Updates(mapped[replicas](stops), size / jnp.maximum(jnp.sum(size), 1))


def aggregate(
    model: types.Model, updates: Updates, keep=None, *, rescale: bool = True
) -> types.Model:
    """The model of the round with only some centres: arithmetic, no training.

    Without a centre may mean two things. With `rescale` the shares of the centres that stay are
    scaled up to 1: the round that these centres would have had if the others had never taken part.
    Otherwise a centre left out sends back the model that it was sent, and the others' shares stay
    as they are, which is what weight 0 on its samples does (`retraining.retraining`): the round
    takes a shorter step. A large centre that slows all others down, and yet does better than no
    step at all, is harmful in the first sense and helpful in the second.

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

    params, batch_stats = jax.tree.map(mixed, averaging.averaged(model), updates.delta)
    return types.Model(params, batch_stats, model.opt_state)
