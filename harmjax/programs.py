"""The steps of a cycle for one policy, compiled where the federation allows it."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import averaging, itinerary, travel, types
from harmjax.federations import memory, stepwise, stream, traffic

TOPOLOGIES = ("travelling", "federated", "central")
FEDERATIONS = {"memory": memory.memory, "stepwise": stepwise.stepwise, "stream": stream.stream}


class Program(NamedTuple):
    """What the loop over cycles calls."""

    open: Callable  # (Travel, cycle) -> (Travel, tally)
    stops: Callable  # (Travel, cycle) -> Stop [T], T a multiple of stops_per_call
    visits: (
        Callable  # (Travel, Stop [stops_per_call]) -> (Travel, Trail [stops_per_call, R], tally)
    )
    close: Callable  # (Travel, cycle) -> (Travel, Trail [R], tally)
    confusion: Callable  # (Model) -> [K, K] int32 over the verification scans
    verdicts: Callable  # (state, cycle) -> Verdicts
    stops_per_call: int
    asked: Callable  # (tallies) -> what they say was asked of centres, see `traffic.Recorder`


def program(
    learner: types.Learner,
    policy: types.QualityControl,
    train: types.Samples,
    held_out: types.Samples,
    key,
    *,
    topology: str = "travelling",
    federation: str = "memory",
    batch_size: int = 5,
    drop_remainders: bool = False,
    stops_per_call: int = 32,
    chunk: int = 64,
    minimum: int = 5,
) -> Program:
    """The program of one policy over one federation.

    Args:
        learner: What every centre computes.
        policy: From `harmjax.policies`.
        train: N training samples.
        held_out: M verification samples.
        key: Root of itineraries and dropout.
        topology: 'travelling'; 'central', which pools all samples at one centre; or 'federated',
            which averages one pass of every centre.
        federation: 'memory', 'stepwise' or 'stream'.
        batch_size: Samples per stop.
        drop_remainders: See `itinerary.itinerary`.
        stops_per_call: Stops of one compiled call; between calls progress is reported. Averaging
            takes all stops of a cycle at once.
        chunk: Verification scans per forward pass.
        minimum: Centres with fewer held-out scans than this answer their confusion only.

    Raises:
        ValueError: Unknown topology or federation.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"train.topology={topology!r}; known: {', '.join(TOPOLOGIES)}")
    if federation not in FEDERATIONS:
        raise ValueError(f"train.federation={federation!r}; known: {', '.join(FEDERATIONS)}")
    centre = np.zeros_like(train.centre) if topology == "central" else np.asarray(train.centre)
    key_itinerary, key_dropout = jax.random.split(key)
    draw = itinerary.itinerary(centre, batch_size=batch_size, drop_remainders=drop_remainders)
    rounds = averaging.visits if topology == "federated" else travel.visits
    num_stops = int(np.sum(-(-np.bincount(centre) // batch_size)))
    if topology == "federated":
        stops_per_call = num_stops
    options = {"chunk": chunk, "minimum": minimum}

    @jax.jit
    def stops(state, number):
        drawn = draw(key_itinerary, travel.visited(policy, state, number), number)
        return _padded(drawn, -num_stops % stops_per_call, len(centre))

    if federation == "memory":
        data = jax.device_put((train, held_out))

        def fed(data):
            return memory.memory(learner, *data, key_dropout, **options)

        def compiled(step):
            return functools.partial(jax.jit(step), data)
    else:
        data = FEDERATIONS[federation](learner, train, held_out, key_dropout, **options)

        def fed(data):
            return data

        def compiled(step):
            return functools.partial(step, data)

    recorder = traffic.recorder(learner, train.image, minimum)

    def counted(step):
        def run(data, *args):
            watched, tally = recorder.watch(fed(data))
            return *step(watched, *args), tally()

        return compiled(run)

    def unopened(traveller, number):
        return traveller, traffic.NOTHING

    opened = counted(lambda fed, *args: (policy.open(fed, *args),))
    return Program(
        open=opened if policy.open is not None else unopened,
        stops=lambda traveller, number: stops(traveller.state, number),
        visits=counted(lambda fed, *args: rounds(fed, policy, *args)),
        close=counted(policy.close),
        confusion=compiled(lambda data, model: fed(data).total("confusion", model)),
        verdicts=policy.verdicts,
        stops_per_call=stops_per_call,
        asked=recorder.asked,
    )


def _padded(stops: types.Stop, extra: int, num_samples: int) -> types.Stop:
    """Stops with `extra` empty ones at the end, at the last stop's centre."""
    return types.Stop(
        cycle=jnp.pad(stops.cycle, (0, extra), mode="edge"),
        centre=jnp.pad(stops.centre, (0, extra), mode="edge"),
        ids=jnp.pad(stops.ids, ((0, extra), (0, 0)), constant_values=num_samples),
    )


def logits(learner: types.Learner, chunk: int = 64) -> Callable:
    """A function `(Model, images [M, *S]) -> [M, K] float32` in NumPy, `chunk` scans at a time."""
    forward = jax.jit(learner.logits)

    def evaluate(model, images):
        size = min(chunk, len(images))
        parts = []
        for start in range(0, len(images), size):
            ids = np.minimum(np.arange(start, start + size), len(images) - 1)
            parts.append(np.asarray(forward(model, jnp.asarray(images[ids]))))
        if not parts:
            return np.zeros((0, learner.task.num_classes), np.float32)
        return np.concatenate(parts)[: len(images)]

    return evaluate
