"""The travelling model: one cycle over all centres under a quality-control policy.

Written once against a `types.Federation`. In memory a cycle is one traced program; over a network
or a disk the same text runs as a Python loop.
"""

from harmjax import types


def visits(
    fed: types.Federation, policy: types.QualityControl, travel: types.Travel, stops: types.Stop
) -> tuple[types.Travel, types.Trail]:
    """The traveller after some stops in a row, and the trail [T, R] of their trials.

    Args:
        fed: Where the data are.
        policy: From `harmjax.policies`.
        travel: Model and policy state before the first stop.
        stops: [T] stops.
    """

    def visit(travel, stop):
        return policy.visit(fed, travel, stop)

    return fed.scan(visit, travel, stops)


def cycle(
    fed: types.Federation,
    policy: types.QualityControl,
    draw,
    travel: types.Travel,
    key,
    number,
    visits=visits,
) -> tuple[types.Travel, tuple[types.Stop, types.Trail, types.Trail]]:
    """The traveller after one whole cycle, and what the log keeps.

    Args:
        fed: Where the data are.
        policy: From `harmjax.policies`.
        draw: From `itinerary.itinerary`.
        travel: Model and policy state before the cycle.
        key: Root key of all itineraries.
        number: The cycle, from 0; int or int32 scalar.
        visits: How the stops change the model: `travel.visits` or `averaging.visits`.

    Returns:
        The traveller, and the stops [T], the trail of the stops [T, R] and that of the close [R].
    """
    if policy.open is not None:
        travel = policy.open(fed, travel, number)
    stops = draw(key, visited(policy, travel.state, number), number)
    travel, trail = visits(fed, policy, travel, stops)
    travel, closing = policy.close(fed, travel, number)
    return travel, (stops, trail, closing)


def visited(policy: types.QualityControl, state, number):
    """[N] bool, which samples the stops of a cycle hold."""
    if policy.visited is not None:
        return policy.visited(state, number)
    return policy.mask(state, number) > 0
