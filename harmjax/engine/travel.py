"""The travelling model: one cycle over all centres under a quality-control policy.

Written once against a `types.Federation`. In memory a cycle is one traced program; over a network
or a disk the same text runs as a Python loop.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types

DrawFn = Callable[[types.Offer, types.Cycle], types.Stop]  # the stops [T] of a cycle
VisitsFn = Callable[
    [types.Federation, types.QualityControl, types.Travel, types.Stop],
    tuple[types.Travel, types.Info],
]  # how the stops change the traveller: `in_turn`, or `averaging.visits`


class Steps(NamedTuple):
    """The parts of a cycle, bound to a federation and a policy; each may be compiled by itself."""

    open: Callable[[types.Travel, types.Cycle], types.Travel]
    draw: Callable[[types.Travel, types.Cycle], types.Stop]  # [T]
    visits: Callable[[types.Travel, types.Stop], tuple[types.Travel, types.Info]]  # [T], [T, R]
    close: Callable[[types.Travel, types.Cycle], tuple[types.Travel, types.Info]]  # [R]
    evaluate: Callable[[types.Model], Any]  # how the model does on held-out scans


class Record(NamedTuple):
    """What the log keeps of a cycle."""

    stops: types.Stop  # [T]
    info: types.Info  # [T, R]
    closing: types.Info  # [R]
    evaluation: Any


def cycle(steps: Steps, travel: types.Travel, number: types.Cycle) -> tuple[types.Travel, Record]:
    """The traveller after one whole cycle, and what the log keeps.

    Args:
        steps: From `steps`, or compiled parts of them.
        travel: Model and policy state before the cycle.
        number: The cycle.
    """
    travel = steps.open(travel, number)
    stops = steps.draw(travel, number)
    travel, info = steps.visits(travel, stops)
    travel, closing = steps.close(travel, number)
    return travel, Record(stops, info, closing, steps.evaluate(travel.model))


def steps(
    fed: types.Federation,
    policy: types.QualityControl,
    draw: DrawFn,
    *,
    visits: VisitsFn | None = None,
    evaluate: Callable[[types.Model], Any] = lambda model: None,
) -> Steps:
    """The steps of a policy over a federation.

    Args:
        fed: Where the data are.
        policy: From `harmjax.policies`.
        draw: From an itinerary.
        visits: How the stops change the traveller; `in_turn` by default.
        evaluate: What is kept of the model after a cycle.
    """
    rounds = visits or in_turn
    return Steps(
        open=lambda travel, number: policy.open(fed, travel, number) if policy.open else travel,
        draw=lambda travel, number: draw(policy.offer(travel.state, number), number),
        visits=lambda travel, stops: rounds(fed, policy, travel, stops),
        close=lambda travel, number: policy.close(fed, travel, number),
        evaluate=evaluate,
    )


def in_turn(
    fed: types.Federation, policy: types.QualityControl, travel: types.Travel, stops: types.Stop
) -> tuple[types.Travel, types.Info]:
    """The traveller after some stops in a row, and the info [T, R] of their trials.

    Args:
        fed: Where the data are.
        policy: From `harmjax.policies`.
        travel: Model and policy state before the first stop.
        stops: [T] stops.
    """
    legs, gathered = in_legs(fed, stops)
    travel, info = fed.scan(lambda travel, leg: policy.visit(fed, travel, leg), travel, legs)
    return travel, gathered(info)


def in_legs(
    fed: types.Federation, stops: types.Stop
) -> tuple[types.Stop, Callable[[types.PyTree], types.PyTree]]:
    """Stops [T] as legs [L, T'], and a function that puts what came of these, [L, T', ...], back.

    A leg is one stop, or where a federation goes by legs all stops of a centre in a row, with empty
    ones at the end so that all legs are as long as the longest.
    """
    number = len(stops.centre)
    if not fed.by_leg:
        legs = jax.tree.map(lambda x: x[:, None], stops)
        return legs, lambda found: jax.tree.map(lambda x: x[:, 0], found)
    centre = np.asarray(stops.centre)
    first = np.flatnonzero(np.append(True, centre[1:] != centre[:-1]))
    length = np.diff(np.append(first, number))
    within = np.arange(length.max())
    used = within < length[:, None]
    place = np.where(used, first[:, None] + within, first[:, None])
    legs = jax.tree.map(lambda x: jnp.asarray(x)[place], stops)
    slots = used[..., None]
    legs = legs._replace(
        ids=jnp.where(slots, legs.ids, len(fed.centre)), weight=jnp.where(slots, legs.weight, 0.0)
    )
    return legs, lambda found: jax.tree.map(lambda x: x[used], found)
