"""Which samples take part in a cycle: the one place where policy, person and padding meet.

A policy offers samples by a weight, and may have some met that it does not train on. A person's
word stands above it. The itinerary turns an offer into stops, whose empty slots have id N and
weight 0.
"""

import jax.numpy as jnp

from harmjax import types

KEEP, OPEN, DROP = 1, 0, -1  # a person's word: train on it whatever the policy says, or never


def offer(weight, met=None, word=None) -> types.Offer:
    """The offer of a policy, with a person's word above it.

    Args:
        weight: [N] bool, or weights in [0, 1], of each sample's loss.
        met: [N] bool, whom the stops hold; by default those of weight above 0.
        word: [N] int8 of KEEP, OPEN and DROP; nobody decided by default.

    Example:
        >>> found = offer(jnp.array([True, False, False]), word=jnp.array([DROP, KEEP, OPEN]))
        >>> found.met.tolist(), found.weight.tolist()
        ([False, True, False], [0.0, 1.0, 0.0])
    """
    met = weight > 0 if met is None else met
    weight = jnp.asarray(weight, jnp.float32)
    if word is None:
        return types.Offer(met, weight)
    word = jnp.asarray(word)
    kept, dropped = word == KEEP, word == DROP
    weight = jnp.where(dropped, 0.0, jnp.where(kept, 1.0, weight))
    return types.Offer((met | kept) & ~dropped, weight)


def told(verdicts: types.Verdicts, word=None) -> types.Verdicts:
    """Verdicts in which nobody whom a person keeps is pending or eliminated."""
    if word is None:
        return verdicts
    others = jnp.asarray(word) != KEEP
    return verdicts._replace(
        pending=verdicts.pending & others, eliminated=verdicts.eliminated & others
    )


def said(word, what: int, num_samples: int):
    """[N] bool, of whom a person said KEEP or DROP."""
    if word is None:
        return jnp.zeros(num_samples, bool)
    return jnp.asarray(word) == what


def empty(stop: types.Stop, where, num_samples: int) -> types.Stop:
    """The stop with its slots empty where `where` is True."""
    return stop._replace(
        ids=jnp.where(where, num_samples, stop.ids), weight=jnp.where(where, 0.0, stop.weight)
    )


def alone(fed: types.Federation, cycle, i) -> types.Stop:
    """The leg [1] that holds sample `i` and nothing else; an empty one where `i` is N."""
    one = jnp.asarray(i)[None]
    weight = (one < len(fed.centre)).astype(jnp.float32)
    return leg(types.Stop(jnp.asarray(cycle, jnp.int32), fed.centre[i], one, weight))


def leg(stop: types.Stop) -> types.Stop:
    """One stop as a leg [1]."""
    return types.Stop(*(jnp.asarray(x)[None] for x in stop))
