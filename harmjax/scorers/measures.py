"""What may be asked about a sample, by name and settings, resolved alike at server and centre."""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from harmjax import scorers, types
from harmjax.engine.learner import once

CROSS_FITTED = "cross_fitted"


def measure(name: str, settings: Mapping | None = None) -> types.Measure:
    """What the scorer of this name measures.

    Args:
        name: Of a file of `harmjax/scorers`.
        settings: Of its factory; numbers, texts, and sequences of them.

    Example:
        >>> measure("alignment", {"verify": "error"})
        Measure(name='alignment', settings=(('verify', 'error'),))
    """
    given = sorted((settings or {}).items())
    return types.Measure(name, tuple((key, _hashable(value)) for key, value in given))


def cross_fitted(members: Sequence[types.Measure]) -> types.Measure:
    """The harm by several scorers at once, each sample judged against the fold it is not in.

    Its reference has a dict of all members' with leaves [2, ...]: at index f what samples of fold f
    are judged against, which is made of the others. Its evidence has `harm` [B, E] and `label` [B],
    in which classes are told apart: that much of a sample leaves its centre.

    Args:
        members: E of them, of other names.
    """
    return types.Measure(CROSS_FITTED, (("members", tuple(members)),))


@functools.cache
def scorer(asked: types.Measure) -> types.HarmScorer:
    """The scorer that a measure is of.

    Raises:
        ValueError: No such scorer, or settings that it does not take.
    """
    try:
        return scorers.get(asked.name)(**dict(asked.settings))
    except TypeError as error:
        raise ValueError(f"scorer {asked.name}: {error}; settings: {asked.settings}") from error


@functools.cache
def resolved(asked: types.Measure) -> types.MeasureFn:
    """What a centre computes for a measure; the same object for equal ones.

    Raises:
        ValueError: No such scorer, or one that measures nothing at a centre.
    """
    if asked.name == CROSS_FITTED:
        return _against_other_fold(dict(asked.settings)["members"])
    found = scorer(asked).measure
    if found is None:
        raise ValueError(f"scorer {asked.name!r} tries updates out and measures nothing")
    return found


def _against_other_fold(members):
    judged_by = {member.name: (scorer(member), resolved(member)) for member in members}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        learner = once(learner, model, batch.image)

        def against(fold):
            harms = []
            for name, (of, measured) in judged_by.items():
                own = jax.tree.map(lambda leaf: leaf[fold], reference[name])
                harms.append(of.judge(measured(learner, model, batch, own), own))
            return jnp.stack(harms, axis=1)

        harm = jnp.where(batch.fold[:, None] == 0, against(0), against(1))
        return {"harm": harm, "label": batch.label.astype(jnp.float32)}

    return measure


def evidence(
    asked: types.Measure, fed: types.Federation, model: types.Model, stop: types.Stop, reference
):
    """Evidence [B] about the samples of one stop, NaN in padding.

    Args:
        asked: Of a scorer.
        fed: Where the data are.
        model: As it arrives at the stop.
        stop: One stop.
        reference: From the scorer's `reference`, of this model or an earlier one.
    """
    of = scorer(asked)
    if of.trial is not None:
        return of.trial(fed, model, stop, reference)
    leg = types.Stop(*(jnp.asarray(x)[None] for x in stop))
    return jax.tree.map(lambda e: e[0], fed.at(asked, model, leg, reference))


def survey(
    asked: types.Measure, fed: types.Federation, model: types.Model, stops: types.Stop, reference
):
    """Evidence [N] about every sample of some stops for one model, NaN where there was no stop.

    Args:
        asked: Of a scorer.
        fed: Where the data are.
        model: The same at every stop; nothing is trained.
        stops: [T], such as a cycle drawn by `itinerary.itinerary`.
        reference: From the scorer's `reference`.
    """

    def look(carry, stop):
        return carry, evidence(asked, fed, model, stop, reference)

    _, found = fed.scan(look, (), stops)
    return by_sample(stops.ids, found, len(fed.centre))


def by_sample(ids, evidence, num_samples: int):
    """Evidence [N, ...] of the samples of many stops, NaN where there was none.

    Args:
        ids: [T, B] int32, or any shape; no id but N twice.
        evidence: Dict of [T, B, ...].
        num_samples: N.

    Example:
        >>> by_sample(jnp.array([[2, 0], [3, 3]]), {'a': jnp.ones((2, 2))}, 3)['a'].tolist()
        [1.0, nan, 1.0]
    """

    def leaf(e):
        values = e.reshape(-1, *e.shape[ids.ndim :])
        nothing = jnp.full((num_samples, *values.shape[1:]), jnp.nan)
        return nothing.at[ids.ravel()].set(values, mode="drop")

    return jax.tree.map(leaf, evidence)


def _hashable(value):
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    return tuple(map(_hashable, value))
