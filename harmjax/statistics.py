"""What centres may be asked about a model on their held-out scans: sums, found by name.

Each is a pure function `(learner, Model, Batch, weight[B], *args) -> sums`; a federation adds the sums
over batches and centres, so nothing about a single scan leaves a centre.
"""

import jax.numpy as jnp

from harmjax import losses, types

EVERY_CENTRE = ("counts",)  # anything finer is asked only of centres with enough scans


def counts(learner: types.Learner, model, batch, weight) -> types.Counts:
    """Confusion counts at threshold 0.5, int32."""
    positive = learner.logits(model, batch.image) > 0
    diseased = batch.label == 1
    used = weight > 0

    def number(where):
        return jnp.sum(where & used, dtype=jnp.int32)

    return types.Counts(
        tp=number(positive & diseased),
        fp=number(positive & ~diseased),
        tn=number(~positive & ~diseased),
        fn=number(~positive & diseased),
    )


def loss(learner: types.Learner, model, batch, weight):
    """Summed binary cross-entropy in nats, and the number of scans: two float32 scalars."""
    each = losses.binary_cross_entropy(learner.logits(model, batch.image), batch.label)
    return jnp.sum(weight * each), jnp.sum(weight)
