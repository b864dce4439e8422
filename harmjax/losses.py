"""Logits against labels: per-sample losses, confusion counts and the loss of one stop."""

import jax.numpy as jnp
import optax

from harmjax import types


def binary_cross_entropy(logits, labels):
    """Binary cross-entropy of every sample, in nats.

    Args:
        logits: [B] float32.
        labels: [B] 0 or 1, any dtype.

    Returns:
        [B] float32.
    """
    return optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype))


def of_samples(learner: types.Learner, model: types.Model, batch: types.Batch):
    """Binary cross-entropy [B] in nats of every sample, with running statistics and no dropout."""
    return binary_cross_entropy(learner.logits(model, batch.image), batch.label)


def confusion(logits, label, used) -> types.Counts:
    """Confusion counts at threshold 0.5 of logits [B] and labels [B] where `used` [B] is True."""
    positive, diseased = logits > 0, label == 1

    def number(where):
        return jnp.sum(where & used, dtype=jnp.int32)

    return types.Counts(
        tp=number(positive & diseased),
        fp=number(positive & ~diseased),
        tn=number(~positive & ~diseased),
        fn=number(~positive & diseased),
    )


def stop_loss(losses, weight, offered):
    """Loss of one stop, `sum(w l) / n` with n the number of samples offered.

    Dividing by n and not by `sum(w)` keeps the others' share when one sample is left out; otherwise
    leaving out any sample of a wholly bad batch would change nothing.

    Args:
        losses: [B] float32, nats.
        weight: [B] float32 in [0, 1].
        offered: [B] bool, False where the slot is padding, pending or eliminated.

    Returns:
        [] float32, 0 if nothing is offered.
    """
    used = jnp.where(offered, weight, 0.0)
    return jnp.sum(jnp.where(used > 0, used * losses, 0.0)) / jnp.maximum(jnp.sum(offered), 1)
