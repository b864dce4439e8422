"""A model that looks at everyone and trains on some: evidence from outside, for `folds`."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from harmjax import offers, types
from harmjax.engine import trials
from harmjax.engine.apart import apart
from harmjax.policies import centrewise, conformal, evidence, screen, suspicion


class State(NamedTuple):
    """What such a model has seen."""

    seen: suspicion.State
    held_out_label: types.Array  # [M] int32, -1 before the first cycle


def watching(weight, judged, asked: evidence.Families, *, max_batch: int = 5):
    """A policy that trains under a mask, accumulates evidence, and decides nothing.

    Args:
        weight: [N] bool or weights in [0, 1], of each sample's loss.
        judged: [N] bool, whom evidence is wanted of, trained on or not.
        asked: From `evidence.families`.
        max_batch: Largest number of samples of one stop.
    """
    rules = suspicion.Rules(asked, 0.0, 1.0, 1, centres=False, word=None)
    accumulate = apart(functools.partial(suspicion.accumulate, rules))
    weight, judged = jnp.asarray(weight, jnp.float32), jnp.asarray(judged)

    def init(num_samples, baseline):
        num_held_out = int(jnp.sum(baseline))
        seen = suspicion.unsuspecting(rules, num_samples, num_held_out)
        return State(seen, jnp.full(num_held_out, -1, jnp.int32))

    def offer(state, cycle):
        del state, cycle
        return offers.offer(weight, judged | (weight > 0))

    def open_(fed: types.Federation, travel: types.Travel, cycle):
        seen = travel.state.seen
        made, total, known = evidence.calibrate(
            asked, fed, travel.model, cycle, 0, seen.held_out_evidence, seen.held_out_known
        )
        seen = seen._replace(calibration=made, held_out_known=known, held_out_evidence=total)
        return travel._replace(state=State(seen, made.held_out_label))

    def visit(fed: types.Federation, travel: types.Travel, leg: types.Stop):
        seen = travel.state.seen
        found = screen.measured(asked, fed, seen.calibration, leg)
        ids = leg.ids.ravel()
        harm = found["harm"].reshape(len(ids), -1)
        seen = accumulate(seen, ids, harm, found["label"].ravel())
        learned = offers.empty(leg, leg.weight == 0, len(fed.centre))
        model, loss = screen.learn(fed, travel.model, learned)
        info = trials.unverified(fed, learned.ids, loss, max_batch)
        return types.Travel(model, travel.state._replace(seen=seen)), info

    def close(fed: types.Federation, travel: types.Travel, cycle):
        del cycle
        seen = travel.state.seen._replace(calibration=None)
        return travel._replace(state=travel.state._replace(seen=seen)), trials.nothing(fed, 1, 1)

    def verdicts(state, cycle):
        del cycle
        nobody = jnp.zeros(len(state.seen.label), bool)
        return types.Verdicts(
            harm=jnp.full(len(nobody), jnp.nan),
            pending=nobody,
            eliminated=nobody,
            cycle=jnp.full(len(nobody), -1, jnp.int32),
        )

    return types.QualityControl(init, offer, visit, close, verdicts, open_)


def accusation(states: Sequence[State], group, centre, held_out_centre, *, num_classes: int):
    """[N] float32, family-wise p-value of every sample's centre, judged by models without it.

    Model g has not seen the centres of group g, nor any verification scan. Both kinds of scan of
    group g are judged by model g, so that those of a good centre are alike in what the model knows
    of them, however many other centres were wrong when it was trained; and a centre's own
    verification scans convict it, see `centrewise.p_values`.

    Args:
        states: Of the models, one a group.
        group: [C] int, of every centre.
        centre: [N] int32.
        held_out_centre: [M] int32.
        num_classes: K.
    """
    every: State = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    seen, held_out_label = every.seen, jnp.max(every.held_out_label, axis=0)
    own, held_out_own = group[centre], group[held_out_centre]
    label = jnp.max(seen.label, axis=0)
    mean = jax.vmap(suspicion.evidence_so_far)(seen)[own, jnp.arange(len(own))]
    held_out = evidence.averaged(seen.held_out_evidence, seen.held_out_known)
    held_out = held_out[held_out_own, jnp.arange(len(held_out_own))]

    def by_family(mean, held_out):
        scale = conformal.scale(held_out, held_out_label, num_classes=num_classes)
        known = ~jnp.isnan(mean), ~jnp.isnan(held_out)
        found = (
            conformal.p_value(scale, mean, label),
            conformal.p_value(scale, held_out, held_out_label),
        )
        return [jnp.where(k, p, jnp.nan) for k, p in zip(known, found, strict=True)]

    training, verified = jax.vmap(by_family, 1, 1)(mean, held_out)
    used = jnp.max(seen.visits, axis=0) > 0
    return centrewise.p_values((training, centre, used), (verified, held_out_centre))
