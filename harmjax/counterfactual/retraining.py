"""Mask in, model out: a training run as a pure function of the weights of its samples."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import averaging, itinerary, travel, types
from harmjax.federations import memory
from harmjax.policies import none

TOPOLOGIES = {
    "travelling": travel.visits,
    "central": travel.visits,
    "federated": averaging.visits,
}


class Outcome(NamedTuple):
    """How a model does on one held-out split."""

    loss: types.Array  # [] float32, nats per scan
    confusion: types.Array  # [K, K] int32


class Data(NamedTuple):
    """Arrays that a retraining reads: arguments of the compiled program, not constants in it."""

    train: types.Samples
    held_out: dict  # split -> Samples
    key: types.Array  # root of the per-sample dropout keys
    stops: types.Stop  # [C, T]


class Retraining(NamedTuple):
    """A training run with the mask as its only free argument."""

    run: Callable
    # (Data, Model, mask[N] float32, first) -> (Model, split -> Outcome [C]); the first cycle starts
    #   at stop `first`, from a model that has seen the stops before it
    advance: Callable  # (Data, Model, first, last) -> Model; stops of the first cycle, mask of ones
    data: Data
    visits: np.ndarray  # [C, T, B] int32, ids of the samples of every stop, N where empty
    late: bool  # whether `first` may be other than 0: stops follow one another


def retraining(
    learner: types.Learner,
    train: types.Samples,
    held_out: Mapping[str, types.Samples],
    key,
    *,
    cycles=range(1),
    topology: str = "travelling",
    batch_size: int = 5,
    drop_remainders: bool = False,
    chunk: int = 256,
    minimum: int = 5,
) -> Retraining:
    """A training run as a pure function *mask in, model out*.

    The mask is a weight on samples: a sample of weight 0 stays in its batch and counts in n of
    `sum(w l) / n`, so that itinerary, batches, dropout and the shares of a federated average are
    the same under every mask, and the mask of ones gives the training run. A policy's mask is
    another thing: it takes samples out of the itinerary.

    The algorithm is that of `travel.cycle`, over a federation that multiplies a sample's weight by
    the mask. Everything after every cycle is kept, so that harm can be followed over cycles.

    Args:
        learner: What every centre computes.
        train: N training samples.
        held_out: Splits to evaluate on after every cycle, as `{"verification": ..., "test": ...}`.
        key: Root of itineraries and dropout, as in `programs.program`: the same key retraces the
            same run.
        cycles: Their numbers, which decide about learning rate and itinerary; a run that starts
            from a warm-up of ten cycles goes on with `range(10, ...)`.
        topology: 'travelling'; 'central', which pools all samples at one centre; or 'federated',
            which averages one pass of every centre.
        batch_size: Samples per stop.
        drop_remainders: See `itinerary.itinerary`.
        chunk: Held-out scans per forward pass.
        minimum: Centres with fewer held-out scans than this do not count in the loss.

    Raises:
        ValueError: Unknown topology, or no cycles.

    Example:
        >>> from harmjax import learner, models
        >>> rng = np.random.default_rng(0)
        >>> samples = types.Samples(
        ...     *(rng.normal(size=(8, 2)).astype('float32'), rng.integers(0, 2, 8)),
        ...     *(np.repeat([0, 1], 4), np.arange(8, dtype='uint32')))
        >>> mlp = learner.learner(models.get('mlp')(hidden=()), learner.published_schedule())
        >>> again = retraining(mlp, samples, {'test': samples}, jax.random.key(0), minimum=1)
        >>> start = mlp.init(jax.random.key(1), samples.image[:1])
        >>> again.run(again.data, start, jnp.ones(8), 0)[1]['test'].loss.shape
        (1,)
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology={topology!r}; known: {', '.join(TOPOLOGIES)}")
    cycles = list(cycles)
    if not cycles:
        raise ValueError("cycles is empty: name at least one cycle to retrain")
    centre = np.zeros_like(train.centre) if topology == "central" else np.asarray(train.centre)
    rounds = topology == "federated"
    draw = itinerary.itinerary(centre, batch_size=batch_size, drop_remainders=drop_remainders)
    key_itinerary, key_dropout = jax.random.split(key)
    keep = jnp.ones(len(centre), bool)
    stops = jax.jit(jax.vmap(lambda cycle: draw(key_itinerary, keep, cycle)))(jnp.array(cycles))
    policy, num_samples = none.none(), len(centre)
    stops = jax.device_get(stops)

    def advance(data, model, first, last):
        fed = memory.memory(learner, data.train, data.train, data.key)
        fed = fed._replace(scan=scan_between(first, last))
        start = types.Travel(model, policy.init(num_samples, None))
        return travel.visits(fed, policy, start, jax.tree.map(lambda x: x[0], data.stops))[0].model

    def run(data, model, mask, first):
        known = jnp.append(mask, 0.0)

        def at(split):
            options = {"chunk": chunk, "minimum": minimum}
            return memory.memory(learner, data.train, data.held_out[split], data.key, **options)

        feds = {split: at(split) for split in data.held_out}
        fed = weighted(next(iter(feds.values())), known)

        def one(state, stops):
            model, since = state
            num_stops = len(stops.cycle)
            late = fed if rounds else fed._replace(scan=scan_between(since, num_stops))
            start = types.Travel(model, policy.init(num_samples, None))
            after, _ = travel.cycle(
                late, policy, lambda *_: stops, start, None, 0, TOPOLOGIES[topology]
            )
            return (after.model, jnp.int32(0)), {s: outcome(feds[s], after.model) for s in feds}

        (model, _), outcomes = jax.lax.scan(one, (model, jnp.int32(first)), data.stops)
        return model, outcomes

    data = Data(*jax.device_put((train, dict(held_out), key_dropout, stops)))
    return Retraining(run, advance, data, stops.ids, not rounds)


def weighted(fed: types.Federation, weight) -> types.Federation:
    """The federation with every training sample's weight multiplied.

    Args:
        fed: In memory.
        weight: [N + 1] float32, 0 at N, where padding points.
    """

    def learn(model, stop, weight_of_slot):
        return fed.learn(model, stop, weight_of_slot * weight[stop.ids])

    return fed._replace(learn=learn)


def scan_between(first, last) -> Callable:
    """`jax.lax.scan` over rounds `first` to `last - 1` only, and without outputs.

    Args:
        first: int32 scalar; may be traced.
        last: Likewise.
    """

    def scan(body, carry, xs):
        def step(i, carry):
            return body(carry, jax.tree.map(lambda x: x[i], xs))[0]

        return jax.lax.fori_loop(first, last, step, carry), None

    return scan


def outcome(fed: types.Federation, model: types.Model) -> Outcome:
    """Loss and confusion of a model over a federation's held-out scans."""
    total, number = fed.total("loss", model)
    return Outcome(total / jnp.maximum(number, 1), fed.total("confusion", model))
