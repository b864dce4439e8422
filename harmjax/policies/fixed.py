"""Training under a mask that is known beforehand: the common part of `none` and `oracle`."""

import jax.numpy as jnp

from harmjax import types
from harmjax.policies import trails


def under_mask(keep=None) -> types.QualityControl:
    """A policy that trains on `keep` and verifies nothing.

    Args:
        keep: [N] bool, or weights in [0, 1], or None for every sample. Samples of weight 0 or NaN
            are left out and count as eliminated.

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

    def mask(state, cycle):
        del cycle
        return state

    def visit(fed, travel, stop):
        offered = stop.ids < len(fed.centre)

        def train(model):
            weight = travel.state[jnp.minimum(stop.ids, len(fed.centre) - 1)]
            return fed.learn(model, stop, jnp.where(offered, weight, 0).astype(jnp.float32))

        def skip(model):
            return model, jnp.float32(0)

        model, loss = fed.cond(jnp.any(offered), train, skip, travel.model)
        return travel._replace(model=model), trails.unverified(
            fed, stop.ids, loss, jnp.any(offered)
        )

    def close(fed, travel, cycle):
        del cycle
        nothing = jnp.full(1, len(fed.centre), jnp.int32)
        return travel, trails.unverified(fed, nothing, jnp.float32(0), jnp.bool_(False))

    def verdicts(state, cycle):
        del cycle
        return types.Verdicts(
            harm=jnp.full(len(state), jnp.nan, jnp.float32),
            pending=jnp.zeros(len(state), bool),
            eliminated=state == 0,
            cycle=jnp.full(len(state), -1, jnp.int32),
        )

    return types.QualityControl(init, mask, visit, close, verdicts)
