"""What is decided between: the only place that knows the number of classes and what a logit is.

Of two classes one logit z tells: a classifier emits `[0, z]`, whose softmax is the sigmoid of z.
Only z is read, and what is computed is what the published binary classifier computes, bit for bit.
"""

import jax
import jax.numpy as jnp
import optax

from harmjax import types


def classification(num_classes: int = 2) -> types.Task:
    """The task of telling K classes apart by cross-entropy.

    Args:
        num_classes: K.

    Raises:
        ValueError: Fewer than two classes.

    Example:
        >>> two, three = classification(2), classification(3)
        >>> float(two.loss(jnp.zeros((1, 2)), jnp.array([1]))[0]).__round__(3)
        0.693
        >>> three.predicted(jnp.array([[0.0, 2.0, 1.0]])).tolist()
        [1]
    """
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: name two classes or more")
    if num_classes == 2:
        return types.Task(2, _binary_loss, _binary_error, _binary_predicted, _binary_curve)
    return types.Task(num_classes, _loss, _error, _predicted, _curve)


def margin(logits, label):
    """`z_y - max_{j != y} z_j` [B]: how clearly the label's logit stands above all others.

    Args:
        logits: [B, K] float32.
        label: [B] int32.

    References:
        Pleiss, Zhang, Elenberg & Weinberger, Identifying mislabeled data using the area under the
        margin ranking, NeurIPS 2020, arXiv 2001.10528, equation 2.

    Example:
        >>> margin(jnp.array([[0.0, 2.0], [0.0, 2.0]]), jnp.array([0, 1])).tolist()
        [-2.0, 2.0]
    """
    own = jnp.arange(logits.shape[1]) == label[:, None]
    others = jnp.max(jnp.where(own, -jnp.inf, logits), axis=1)
    return jnp.sum(jnp.where(own, logits, 0.0), axis=1) - others


def confusion(predicted, label, used, num_classes: int):
    """How often [K, K] int32 a scan of the class of each row was taken for that of each column.

    Args:
        predicted: [B] int32, from `types.Task.predicted`.
        label: [B] int32.
        used: [B] bool, which scans count.
        num_classes: K.

    Example:
        >>> confusion(jnp.array([1, 0, 1]), jnp.array([1, 1, 0]), True, 2).tolist()
        [[0, 1], [1, 1]]
    """
    known = jnp.arange(num_classes)
    row = (label[:, None] == known) & jnp.broadcast_to(used, label.shape)[:, None]
    column = predicted[:, None] == known
    return jnp.sum(row[:, :, None] & column[:, None, :], axis=0, dtype=jnp.int32)


def errors(confusion):
    """Misdiagnosed scans of each class [..., K], of confusion counts [..., K, K]."""
    return totals(confusion) - confusion.diagonal(axis1=-2, axis2=-1)


def totals(confusion):
    """Scans of each class [..., K], of confusion counts [..., K, K]."""
    return confusion.sum(-1)


def of_samples(learner: types.Learner, model: types.Model, batch: types.Batch):
    """Loss [B] in nats of every sample, with running statistics and no dropout."""
    return learner.task.loss(learner.logits(model, batch.image), batch.label)


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


def _binary(logits):
    return logits[:, 1]


def _binary_loss(logits, label):
    return optax.sigmoid_binary_cross_entropy(_binary(logits), label.astype(logits.dtype))


def _binary_error(logits, label):
    return jnp.abs(jax.nn.sigmoid(_binary(logits)) - label)


def _binary_predicted(logits):
    return (_binary(logits) > 0).astype(jnp.int32)  # the first class where the logit is NaN


def _binary_curve(logits, change):
    probability = jax.nn.sigmoid(_binary(logits))
    second = probability * (1 - probability) * _binary(change)
    return jnp.stack([-second, second], axis=1)


def _loss(logits, label):
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def _error(logits, label):
    own = jnp.arange(logits.shape[1]) == label[:, None]
    return jnp.sum(jnp.where(own, 0.0, jax.nn.softmax(logits)), axis=1)


def _predicted(logits):
    known = jnp.where(jnp.isnan(logits), -jnp.inf, logits)
    return jnp.argmax(known, axis=1).astype(jnp.int32)


def _curve(logits, change):
    probability = jax.nn.softmax(logits)
    return probability * (change - jnp.sum(probability * change, axis=1, keepdims=True))
