"""Training under a mask that is known beforehand: the common part of `none` and `oracle`."""

import jax.numpy as jnp

from harmjax import offers, types
from harmjax.engine import trials


def under_mask(keep=None, *, word=None) -> types.QualityControl:
    """A policy that trains on `keep` and verifies nothing.

    Args:
        keep: [N] bool, or weights in [0, 1], or None for every sample. Samples of weight 0 or NaN
            are left out and count as eliminated.
        word: [N] int8, a person's, see `offers`.

    Raises:
        ValueError: From `init`, a mask of another length.
    """

    def init(num_samples, baseline):
        del baseline
        if keep is None:
            return jnp.ones(num_samples, bool)
        if jnp.shape(keep) != (num_samples,):
            raise ValueError(f"a mask of shape {jnp.shape(keep)} for {num_samples} samples")
        return jnp.nan_to_num(jnp.asarray(keep))

    def offer(state, cycle):
        del cycle
        return offers.offer(state, word=word)

    def visit(fed: types.Federation, travel: types.Travel, leg: types.Stop):
        offered = leg.ids < len(fed.centre)

        def skip(model):
            return model, jnp.zeros(len(leg.cycle))

        def train(model):
            return fed.learn(model, leg)

        model, loss = fed.cond(jnp.any(offered), train, skip, travel.model)
        return travel._replace(model=model), trials.unverified(fed, leg.ids, loss)

    def close(fed: types.Federation, travel: types.Travel, cycle):
        del cycle
        return travel, trials.nothing(fed, 1, 1)

    def verdicts(state, cycle):
        del cycle
        found = types.Verdicts(
            harm=jnp.full(len(state), jnp.nan, jnp.float32),
            pending=jnp.zeros(len(state), bool),
            eliminated=state == 0,
            cycle=jnp.full(len(state), -1, jnp.int32),
        )
        return offers.told(found, word)

    return types.QualityControl(init, offer, visit, close, verdicts)
