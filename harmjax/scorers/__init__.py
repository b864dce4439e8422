"""Harm scorers: what makes a sample suspicious, each a factory of hyperparameters in its own file.

A scorer is a `types.HarmScorer`. `reference` is made at the server and travels out; `measure` runs
at the centre that holds the sample; `judge` turns what comes back into harm, > 0 where including
the sample raises the verification loss. Scorers are found by name, without a registry.
"""

import jax
import jax.numpy as jnp

from harmjax import plugins, types
from harmjax.scorers import accumulate


def names() -> tuple[str, ...]:
    """Names of all scorers in this folder."""
    return plugins.names(__name__)


def get(name: str):
    """The scorer's factory.

    Raises:
        ValueError: No such scorer; lists the known ones.
    """
    return plugins.get(__name__, name)


def answered(reference, number):
    """A reference, or evidence, that is made of sums over `number` scans: NaN if there are none.

    Without it, sums of nothing would pass for a mean of 0.
    """
    return jax.tree.map(lambda leaf: jnp.where(number > 0, leaf, jnp.nan), reference)


def evidence(
    scorer: types.HarmScorer, fed: types.Federation, model: types.Model, stop: types.Stop, reference
):
    """Evidence [B] about the samples of one stop, NaN in padding.

    Args:
        scorer: From `get`.
        fed: Where the data are.
        model: As it arrives at the stop.
        stop: One stop.
        reference: From `scorer.reference`, of this model or an earlier one.
    """
    if scorer.trial is not None:
        return scorer.trial(fed, model, stop, reference)
    return fed.at(scorer.measure, model, stop, reference)


def survey(
    scorer: types.HarmScorer,
    fed: types.Federation,
    model: types.Model,
    stops: types.Stop,
    reference,
):
    """Evidence [N] about every sample of some stops for one model, NaN where there was no stop.

    Args:
        scorer: From `get`.
        fed: Where the data are.
        model: The same at every stop; nothing is trained.
        stops: [T], such as a cycle drawn by `itinerary.itinerary`.
        reference: From `scorer.reference`.
    """

    def look(carry, stop):
        return carry, evidence(scorer, fed, model, stop, reference)

    _, found = fed.scan(look, (), stops)
    return accumulate.by_sample(stops.ids, found, len(fed.centre))
