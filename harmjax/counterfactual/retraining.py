"""Mask in, model out: a training run as a pure function of the weights of its samples."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import scorers, types
from harmjax.engine import travel
from harmjax.policies import none
from harmjax.runs import course as courses


class Outcome(NamedTuple):
    """How a model does on one held-out split."""

    loss: types.Array  # [] float32, nats per scan
    confusion: types.Array  # [K, K] int32


class Data(NamedTuple):
    """Arrays that a retraining reads: arguments of the compiled program, not constants in it."""

    train: types.Samples
    held_out: dict  # split -> Samples
    key: types.Array  # root of the per-sample dropout keys
    stops: types.Stop  # [C, T], everyone at full weight


Number = types.Array | np.integer | int  # of a stop, may be traced


class RunFn(Protocol):
    def __call__(
        self, data: Data, model: types.Model, mask: types.AnyArray, first: Number
    ) -> tuple[types.Model, dict[str, Outcome]]:
        """The model, and of each split the outcomes [C] after every cycle.

        Args:
            data: What is read.
            model: To start from.
            mask: [N] float32, a weight on each sample.
            first: The first cycle starts at this stop, from a model that has seen those before it.
        """


class Retraining(NamedTuple):
    """A training run with the mask as its only free argument."""

    run: RunFn
    advance: Callable[[Data, types.Model, Number, Number], types.Model]
    # the model after the stops from one number to another of the first cycle, mask of ones
    data: Data
    visits: np.ndarray  # [C, T, B] int32, ids of the samples of every stop, N where empty
    federations: Callable[[Data], dict[str, types.Federation]]  # over the scans of each split
    late: bool  # whether `first` may be other than 0: stops follow one another


def retraining(
    learner: types.Learner,
    train: types.Samples,
    held_out: Mapping[str, types.Samples],
    course: courses.Course,
    *,
    cycles=range(1),
) -> Retraining:
    """A training run as a pure function *mask in, model out*.

    The mask is a weight on samples: a sample of weight 0 stays in its batch and counts in n of
    `sum(w l) / n`, so that itinerary, batches, dropout and the shares of a federated average are
    the same under every mask, and the mask of ones gives the training run. A policy's mask is
    another thing: it takes samples out of the itinerary.

    The algorithm is `travel.cycle`, over stops whose weights the mask multiplies. Everything after
    every cycle is kept, so that harm can be followed over cycles.

    Args:
        learner: What every centre computes.
        train: N training samples.
        held_out: Splits to evaluate on after every cycle, as `{"verification": ..., "test": ...}`.
        course: In memory; the same course retraces the same run.
        cycles: Their numbers, which decide about learning rate and itinerary; a run that starts
            from a warm-up of ten cycles goes on with `range(10, ...)`.

    Raises:
        ValueError: No cycles.

    Example:
        >>> from harmjax import models
        >>> from harmjax.engine import learner
        >>> rng = np.random.default_rng(0)
        >>> samples = types.Samples(
        ...     *(rng.normal(size=(8, 2)).astype('float32'), rng.integers(0, 2, 8)),
        ...     *(np.repeat([0, 1], 4), np.arange(8, dtype='uint32')))
        >>> mlp = learner.learner(models.get('mlp')(hidden=()), learner.published_schedule())
        >>> course = courses.course(samples.centre, jax.random.key(0), minimum=1)
        >>> again = retraining(mlp, samples, {'test': samples}, course)
        >>> start = mlp.init(jax.random.key(1), samples.image[:1])
        >>> again.run(again.data, start, jnp.ones(8), 0)[1]['test'].loss.shape
        (1,)
    """
    cycles = list(cycles)
    if not cycles:
        raise ValueError("cycles is empty: name at least one cycle to retrain")
    num_samples = len(train.label)
    everyone = types.Offer(jnp.ones(num_samples, bool), jnp.ones(num_samples))
    stops = jax.jit(jax.vmap(lambda cycle: course.draw(everyone, cycle)))(jnp.array(cycles))
    policy, stops = none.none(), jax.device_get(stops)

    def over(data, samples, of):
        samples = samples._replace(centre=np.asarray(of.centre))  # concrete, see `memory.memory`
        return course.federation(learner, data.train, samples, data.key)

    def federations(data):
        return {split: over(data, data.held_out[split], held_out[split]) for split in held_out}

    def advance(data, model, first, last):
        fed = over(data, data.train, train)._replace(scan=scan_between(first, last))
        start = types.Travel(model, policy.init(num_samples, None))
        return travel.in_turn(fed, policy, start, jax.tree.map(lambda x: x[0], data.stops))[0].model

    def run(data, model, mask, first):
        feds = federations(data)
        fed = next(iter(feds.values()))
        known = jnp.append(mask, 0.0)

        def one(state, stops):
            model, since = state
            scan = jax.lax.scan if course.is_round else scan_between(since, len(stops.cycle))
            steps = travel.steps(
                fed._replace(scan=scan),
                policy,
                lambda offer, number: stops._replace(weight=known[stops.ids]),
                visits=course.visits,
                evaluate=lambda model: {s: outcome(feds[s], model) for s in feds},
            )
            start = types.Travel(model, policy.init(num_samples, None))
            after, record = travel.cycle(steps, start, 0)
            return (after.model, jnp.int32(0)), record.evaluation

        (model, _), outcomes = jax.lax.scan(one, (model, jnp.int32(first)), data.stops)
        return model, outcomes

    data = Data(*jax.device_put((train, dict(held_out), course.key, stops)))
    return Retraining(run, advance, data, stops.ids, federations, not course.is_round)


def scan_between(first: Number, last: Number) -> types.ScanFn:
    """`jax.lax.scan` over rounds `first` to `last - 1` only, and without outputs.

    Args:
        first: Of the rounds.
        last: One more than the last of them.
    """

    def scan(body, carry, xs):
        def step(i, carry):
            return body(carry, jax.tree.map(lambda x: x[i], xs))[0]

        return jax.lax.fori_loop(first, last, step, carry), None

    return scan


def outcome(fed: types.Federation, model: types.Model) -> Outcome:
    """Loss and confusion of a model over held-out scans; a loss of NaN if no centre answers."""
    total, number = fed.total("loss", model)
    loss = scorers.answered(total / jnp.maximum(number, 1), number)
    return Outcome(loss, fed.total("confusion", model))
