"""What centres may be asked about a model on their held-out scans: sums, found by name.

Each is a pure function `(learner, Model, Batch, weight[B], *args) -> sums`; a federation adds the
sums over batches and centres, so nothing about a single scan leaves a centre.
"""

import jax
import jax.numpy as jnp

from harmjax import descriptors, losses, precision, types

EVERY_CENTRE = ("counts",)  # anything finer is asked only of centres with enough scans


def counts(learner: types.Learner, model, batch, weight) -> types.Counts:
    """Confusion counts at threshold 0.5, int32."""
    return losses.confusion(learner.logits(model, batch.image), batch.label, weight > 0)


def loss(learner: types.Learner, model, batch, weight):
    """Summed binary cross-entropy in nats, and the number of scans: two float32 scalars."""
    return jnp.sum(weight * losses.of_samples(learner, model, batch)), jnp.sum(weight)


def gradient(learner: types.Learner, model, batch, weight):
    """Gradient of the summed loss by the parameters, and the number of scans."""
    return jax.grad(_summed_loss(learner, model, batch, weight))(model.params), jnp.sum(weight)


def error(learner: types.Learner, model, batch, weight):
    """Summed probability of the wrong class, |p - y|, and the number of scans.

    Over their number it is a misdiagnosis rate without a threshold. Label noise that hits both
    classes alike only shrinks its differences between models, to 1 - 2 noise of their size; those
    of the cross-entropy it can reverse.

    References:
        Ghosh, Kumar & Sastry, Robust loss functions under label noise for deep neural networks,
        AAAI 2017, arXiv 1712.09482, theorem 1.
    """
    return _summed_error(learner, model, batch, weight)(model.params), jnp.sum(weight)


def error_gradient(learner: types.Learner, model, batch, weight):
    """Gradient of the summed `error` by the parameters, and the number of scans."""
    return jax.grad(_summed_error(learner, model, batch, weight))(model.params), jnp.sum(weight)


def hessian_product(learner: types.Learner, model, batch, weight, tangent):
    """Hessian of the summed loss times `tangent` (shaped as the parameters), and the number."""
    slope = jax.grad(_summed_loss(learner, model, batch, weight))
    return jax.jvp(slope, (model.params,), (tangent,))[1], jnp.sum(weight)


def gauss_newton_product(learner: types.Learner, model, batch, weight, tangent):
    """Gauss-Newton matrix of the summed loss times `tangent`, and the number of scans.

    The matrix is the sum of `p (1 - p) J J^T` over scans, J the gradient of a scan's logit and p
    its probability: the Hessian without the logit's own curvature, never negative.
    """

    def logits(params):
        return learner.logits(model._replace(params=params), batch.image)

    outputs, change = jax.jvp(logits, (model.params,), (tangent,))
    probability = jax.nn.sigmoid(outputs)
    pulled = jax.vjp(logits, model.params)[1](weight * probability * (1 - probability) * change)
    return pulled[0], jnp.sum(weight)


def feature_moments(learner: types.Learner, model, batch, weight):
    """Numbers [2] and feature sums [2, F] of each class, and the sum of x x^T [F, F] over both."""
    features = learner.features(model, batch.image)
    members = jax.nn.one_hot(batch.label, 2) * weight[:, None]
    return jnp.sum(members, axis=0), *_moments(members, weight, features)


def appearance_moments(learner: types.Learner, model, batch, weight):
    """Number of scans, and sums of their descriptors [D] and of x x^T [D, D]; no model is run."""
    del learner, model
    described = jax.vmap(descriptors.describe)(batch.image)
    return jnp.sum(weight), *_moments(weight, weight, described)


def nearest_feature_sums(learner: types.Learner, model, batch, weight, prototypes):
    """Numbers [2, P] and feature sums [2, P, F] of the scans nearest each prototype of their class.

    Args:
        learner: What every centre computes.
        model: The model whose features are meant.
        batch: Held-out scans.
        weight: [B], 0 where a slot is not asked.
        prototypes: [2, P, F].
    """
    features = learner.features(model, batch.image)
    own = prototypes[batch.label]
    distance = jnp.sum((features[:, None] - own) ** 2, axis=-1)
    chosen = jax.nn.one_hot(jnp.argmin(distance, axis=1), prototypes.shape[1])
    classes = jax.nn.one_hot(batch.label, 2) * weight[:, None]
    members = classes[:, :, None] * chosen[:, None]
    return jnp.sum(members, axis=0), jnp.einsum("bcp,bf->cpf", members, features)


@precision.full
def _moments(members, weight, x):
    """Sums of the rows of `x` [B, D] by `members` [B] or [B, K], and of `weight x x^T` [D, D]."""
    return members.T @ x, jnp.einsum("b,bd,be->de", weight, x, x)


def _summed_error(learner, model, batch, weight):
    def summed(params):
        logits = learner.logits(model._replace(params=params), batch.image)
        return jnp.sum(weight * jnp.abs(jax.nn.sigmoid(logits) - batch.label))

    return summed


def _summed_loss(learner, model, batch, weight):
    def summed(params):
        return jnp.sum(weight * losses.of_samples(learner, model._replace(params=params), batch))

    return summed
