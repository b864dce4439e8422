"""Rows of the info that a policy leaves for the log."""

import functools

import jax
import jax.numpy as jnp

from harmjax import types


def no_trial(fed: types.Federation, slots: int) -> types.Info:
    """The row of a trial that did not take place: `slots` empty ids, no fields with [R]."""
    zero = jnp.zeros((fed.num_classes, fed.num_classes), jnp.int32)
    return types.Info(
        kind=jnp.int32(types.NO_TRIAL),
        ids=jnp.full(slots, len(fed.centre), jnp.int32),
        loss=jnp.float32(0),
        confusion=zero,
        reference=zero,
        allowed=jnp.float32(0),
        accepted=jnp.bool_(False),
        p_value=jnp.float32(jnp.nan),
    )


def nothing(fed: types.Federation, rows: int, slots: int) -> types.Info:
    """The info of `rows` trials that did not take place."""
    return stack([no_trial(fed, slots)] * rows)


def unverified(fed: types.Federation, ids, loss, slots: int | None = None) -> types.Info:
    """The info [T, 1] of a leg that was trained on, or skipped where it was empty, unverified.

    Args:
        fed: Where the data are.
        ids: [T, B] int32.
        loss: [T] float32.
        slots: Of a row; by default B.
    """
    return _unverified(no_trial(fed, slots or ids.shape[1]), ids, loss, len(fed.centre))


@functools.partial(jax.jit, static_argnums=3)
def _unverified(nothing, ids, loss, num_samples):
    def row(ids, loss):
        trained = jnp.any(ids < num_samples)
        one = nothing._replace(
            kind=jnp.where(trained, types.UNVERIFIED, types.NO_TRIAL).astype(jnp.int32),
            ids=nothing.ids.at[: len(ids)].set(ids),
            loss=loss,
            accepted=trained,
        )
        return stack([one])

    return jax.vmap(row)(ids, loss)


def stack(rows) -> types.Info:
    """Rows of one trial each as an info of R = len(rows) rows."""
    return jax.tree.map(lambda *each: jnp.stack(each), *rows)


def join(*infos, axis: int = 0) -> types.Info:
    """Infos one after the other; along axis 1 where they are of a leg, [T, R]."""
    return jax.tree.map(lambda *each: jnp.concatenate(each, axis), *infos)


def flatten(info: types.Info) -> types.Info:
    """An info of a scan, [T, R, ...], as one of [T * R, ...]."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), info)
