"""Federated averaging: every centre learns from the same model, and the results are averaged."""

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.engine import trials
from harmjax.engine.apart import apart
from harmjax.engine.learner import select
from harmjax.engine.travel import in_legs


def visits(
    fed: types.Federation, policy: types.QualityControl, travel: types.Travel, stops: types.Stop
) -> tuple[types.Travel, types.Info]:
    """The averaged model after one round; takes the place of `travel.in_turn`.

    Every centre starts from the round's model with the initial optimiser state, which therefore
    stays in the traveller unchanged, and makes one pass over its kept samples. Parameters and batch
    statistics are averaged with the numbers of kept samples as weights. Of the policy only the mask
    counts, which has shaped the stops: nothing is verified or rolled back.

    Args:
        fed: Where the data are.
        policy: One that verifies nothing.
        travel: Averaged model and policy state before the round.
        stops: [T] all the stops of the round, those of one centre in a row.

    References:
        McMahan et al., Communication-efficient learning of deep networks from decentralized data,
        AISTATS 2017, arXiv 1602.05629, algorithm 1.
    """
    start = travel.model
    del policy
    legs, gathered = in_legs(fed, stops)
    offered = legs.ids < len(fed.centre)
    centre = legs.centre[:, 0]
    changes = centre[1:] != centre[:-1]
    edge = jnp.ones(1, bool)
    size = jnp.zeros(len(fed.centre)).at[centre].add(jnp.sum(offered, axis=(1, 2)))
    share = size[centre] / jnp.maximum(jnp.sum(offered), 1)
    share = jnp.where(jnp.concatenate([changes, edge]), share, 0.0)

    def step(carry, at):
        local, total = carry
        leg, first, share = at
        local = select(first, start, local)

        def train(model):
            return fed.learn(model, leg)

        def skip(model):
            return model, jnp.zeros(len(leg.cycle))

        offered = leg.ids < len(fed.centre)
        local, loss = fed.cond(jnp.any(offered), train, skip, local)
        total = added(total, share, averaged(local))
        return (local, total), trials.unverified(fed, leg.ids, loss)

    @apart
    def added(total, share, local):
        return jax.tree.map(lambda t, x: t + share.astype(t.dtype) * x, total, local)

    zero = jax.tree.map(jnp.zeros_like, averaged(start))
    firsts = jnp.concatenate([edge, changes])
    (_, (params, batch_stats)), info = fed.scan(step, (start, zero), (legs, firsts, share))
    model = select(jnp.any(offered), types.Model(params, batch_stats, start.opt_state), start)
    return travel._replace(model=model), gathered(info)


def averaged(model: types.Model) -> tuple:
    """What a round averages: parameters and batch statistics."""
    return model.params, model.batch_stats
