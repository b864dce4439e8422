"""Harm scorers: what makes a sample suspicious, each a factory of hyperparameters in its own file.

A scorer is a `types.HarmScorer`. `reference` is made at the server and travels out; `measure` runs
at the centre that holds the sample; `judge` turns what comes back into harm, > 0 where including
the sample raises the verification loss. Scorers are found by name, without a registry; `measures`
asks a federation for what they measure.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from harmjax import plugins, types


def names() -> tuple[str, ...]:
    """Names of all scorers in this folder."""
    return plugins.names(__name__)


def get(name: str) -> Callable[..., types.HarmScorer]:
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
