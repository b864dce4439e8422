"""How a model comes by the samples: topology, itinerary, keys and federation, in one place."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from harmjax import plugins, types
from harmjax.engine import averaging, itinerary, travel
from harmjax.federations import memory, stepwise, stream

TOPOLOGIES: dict[str, travel.VisitsFn] = {
    "travelling": travel.in_turn,
    "central": travel.in_turn,
    "federated": averaging.visits,
}
FEDERATIONS: dict[str, types.FederationFn] = {
    "memory": memory.memory,
    "stepwise": stepwise.stepwise,
    "stream": stream.stream,
}


class Course(NamedTuple):
    """What all cycles of a run, and all counterfactuals of it, have in common."""

    draw: travel.DrawFn
    visits: travel.VisitsFn
    num_stops: int  # T
    is_round: bool  # whether all stops of a cycle belong together, so that none is visited alone
    key: types.Array  # root of the per-sample dropout keys
    federation: types.FederationFn
    is_traced: bool  # whether the federation is made and asked within compiled functions
    minimum: int  # held-out scans of a centre that says more of them than their confusion


def course(
    centre,
    key,
    *,
    topology: str = "travelling",
    federation: str | types.FederationFn = "memory",
    batch_size: int = 5,
    drop_remainders: bool = False,
    chunk: int = 64,
    minimum: int = 5,
    fold=None,
) -> Course:
    """The course of a run.

    Args:
        centre: [N] int, who holds each training sample.
        key: Root of itineraries and dropout.
        topology: 'travelling'; 'central', which pools all samples at one centre; or 'federated',
            which averages one pass of every centre.
        federation: 'memory', 'stepwise' or 'stream'; or another factory.
        batch_size: Samples per stop.
        drop_remainders: See `itinerary.itinerary`.
        chunk: Held-out scans per forward pass.
        minimum: Centres with fewer held-out scans than this answer their confusion only.
        fold: [N] int, 0 or 1, of the samples; by default every other one.

    Raises:
        ValueError: Unknown topology or federation.
    """
    plugins.one_of("train.topology", topology, TOPOLOGIES)
    if isinstance(federation, str):
        plugins.one_of("train.federation", federation, FEDERATIONS)
    centre = np.zeros_like(centre) if topology == "central" else np.asarray(centre)
    key_itinerary, key_dropout = jax.random.split(key)
    draw = itinerary.itinerary(centre, batch_size=batch_size, drop_remainders=drop_remainders)
    options = {"chunk": chunk, "minimum": minimum} | ({} if fold is None else {"fold": fold})
    factory = FEDERATIONS[federation] if isinstance(federation, str) else federation
    return Course(
        draw=functools.partial(draw, key_itinerary),
        visits=TOPOLOGIES[topology],
        num_stops=int(np.sum(-(-np.bincount(centre) // batch_size))),
        is_round=topology == "federated",
        key=key_dropout,
        federation=functools.partial(factory, **options),
        is_traced=factory is memory.memory,
        minimum=minimum,
    )


def of_config(train, centre, key, **changed) -> Course:
    """The course that group `train` of a config describes.

    Args:
        train: See `defaults`.
        centre: [N] int.
        key: As in `course`.
        changed: Options of `course` instead of the config's.
    """
    options = {
        "topology": train.topology,
        "federation": train.federation,
        "batch_size": train.batch_size,
        "drop_remainders": train.drop_remainders,
        "chunk": train.verification_batch,
        "minimum": train.minimum_group,
    }
    return course(centre, key, **options | changed)
