"""The steps of a cycle for one policy, compiled where the federation allows it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.engine import travel
from harmjax.federations import traffic
from harmjax.runs import course as courses

WatchFn = Callable[[types.Travel, types.Stop, types.Info, int], None]
# the traveller after some stops, these, their info and the number of the first


class Program(NamedTuple):
    """What the loop over cycles calls."""

    steps: travel.Steps
    num_stops: int  # of a cycle, a multiple of those of one compiled call
    confusion: Callable[[types.Model], types.Array]  # [K, K] int32 over the verification scans
    asked: Callable[[], dict[traffic.Request, traffic.Asked]]  # of centres since the last time


def program(
    learner: types.Learner,
    policy: types.QualityControl,
    train: types.Samples,
    held_out: types.Samples,
    course: courses.Course,
    *,
    stops_per_call: int = 32,
    evaluate: Callable[[types.Model], Any] = lambda model: None,
    watch: WatchFn = lambda traveller, stops, info, first: None,
) -> Program:
    """The program of one policy over one federation.

    Args:
        learner: What every centre computes.
        policy: From `harmjax.policies`.
        train: N training samples.
        held_out: M verification samples.
        course: See `course.course`.
        stops_per_call: Stops of one compiled call. Averaging, and a federation that goes by legs,
            take all stops of a cycle at once.
        evaluate: What is kept of the model after a cycle.
        watch: Called after every compiled call.
    """
    factory = course.federation
    recorder, tallies = traffic.recorder(learner, train.image, course.minimum), []
    if course.is_traced:
        data, bound, centre = jax.device_put((train, held_out)), None, held_out.centre

        def fed(data):
            train, held_out = data
            return factory(learner, train, held_out._replace(centre=centre), course.key)

        def compiled(step):
            return functools.partial(jax.jit(step), data)
    else:
        data = bound = factory(learner, train, held_out, course.key)

        def fed(data):
            return data

        def compiled(step):
            return functools.partial(step, data)

    whole = course.is_round or (bound is not None and bound.by_leg)
    size = course.num_stops if whole else stops_per_call

    def counted(name):
        def run(data, *args):
            watched, tally = recorder.watch(fed(data))
            of = travel.steps(watched, policy, course.draw, visits=course.visits)
            return getattr(of, name)(*args), tally()

        step = compiled(run)

        def call(*args):
            found, tally = step(*args)
            tallies.append(tally)
            return found

        return call

    @jax.jit
    def drawn(state, number):
        stops = course.draw(policy.offer(state, number), number)
        return _padded(stops, -course.num_stops % size, len(train.centre))

    visit = counted("visits")

    def visits(traveller, stops):
        infos = []
        for first in range(0, len(stops.cycle), size):
            some = jax.tree.map(lambda x: x[first : first + size], stops)  # noqa: B023
            traveller, info = visit(traveller, some)
            infos.append(info)
            watch(traveller, some, info, first)
        return traveller, jax.tree.map(lambda *parts: jnp.concatenate(parts), *infos)

    def asked():
        found = recorder.asked(tallies)
        tallies.clear()
        return found

    steps = travel.Steps(
        open=counted("open") if policy.open is not None else lambda traveller, number: traveller,
        draw=lambda traveller, number: drawn(traveller.state, number),
        visits=visits,
        close=counted("close"),
        evaluate=evaluate,
    )
    return Program(
        steps=steps,
        num_stops=-(-course.num_stops // size) * size,
        confusion=compiled(lambda data, model: fed(data).total("confusion", model)),
        asked=asked,
    )


def _padded(stops: types.Stop, extra: int, num_samples: int) -> types.Stop:
    """Stops with `extra` empty ones at the end, at the last stop's centre."""
    return types.Stop(
        cycle=jnp.pad(stops.cycle, (0, extra), mode="edge"),
        centre=jnp.pad(stops.centre, (0, extra), mode="edge"),
        ids=jnp.pad(stops.ids, ((0, extra), (0, 0)), constant_values=num_samples),
        weight=jnp.pad(stops.weight, ((0, extra), (0, 0))),
    )
