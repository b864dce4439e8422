"""What centres may be asked about a model on their held-out scans: sums, found by name.

Each is a `StatisticFn`, pure; a federation adds the sums over batches and centres. Fewer scans than
the minimum are summed for `EVERY_CENTRE` alone; where a sum goes by class, a class may have fewer.
"""

import inspect
from typing import Protocol

import jax
import jax.numpy as jnp

from harmjax import plugins, task, types
from harmjax.engine import precision
from harmjax.scorers import descriptors

EVERY_CENTRE = ("confusion",)  # anything finer is asked only of centres with enough scans
WHOLE_NUMBERS = ("confusion",)


class StatisticFn(Protocol):
    def __call__(
        self,
        learner: types.Learner,
        model: types.Model,
        batch: types.Batch,
        weight: types.Array,
        *args: types.PyTree,
    ) -> types.PyTree:
        """The sums over one batch.

        Args:
            learner: What every centre computes.
            model: That is asked about.
            batch: Held-out scans.
            weight: [B] float32, 0 where a slot is not asked.
            args: What else the statistic takes.
        """


def get(name: str) -> StatisticFn:
    """The statistic of this name.

    Raises:
        ValueError: No such statistic; lists the known ones.
    """
    plugins.one_of("statistic", name, names())
    return globals()[name]


def names() -> tuple[str, ...]:
    """Names of all statistics."""
    return tuple(
        name
        for name, fn in globals().items()
        if inspect.isfunction(fn) and fn.__module__ == __name__ and not name.startswith("_")
        if name not in ("get", "names")
    )


def confusion(learner: types.Learner, model, batch, weight):
    """How often [K, K] int32 a scan of each class (rows) was taken for each (columns)."""
    predicted = learner.task.predicted(learner.logits(model, batch.image))
    return task.confusion(predicted, batch.label, weight > 0, learner.task.num_classes)


def loss(learner: types.Learner, model, batch, weight):
    """Summed cross-entropy in nats, and the number of scans: two float32 scalars."""
    return jnp.sum(weight * task.of_samples(learner, model, batch)), jnp.sum(weight)


def gradient(learner: types.Learner, model, batch, weight):
    """Gradient of the summed loss by the parameters, and the number of scans."""
    return jax.grad(_summed_loss(learner, model, batch, weight))(model.params), jnp.sum(weight)


def error(learner: types.Learner, model, batch, weight):
    """Summed probability of the wrong classes, and the number of scans.

    Over their number it is a misdiagnosis rate without a threshold. Label noise that hits both
    classes alike only shrinks its differences between models, to 1 - 2 noise of their size; those
    of the cross-entropy it can reverse. Of K classes the factor is 1 - K / (K - 1) noise.

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

    The matrix is the sum of `J^T (diag p - p p^T) J` over scans, J [K, P] the derivatives of a
    scan's logits by the parameters and p its probabilities: the Hessian without the logits' own
    curvature, never negative.
    """

    def logits(params):
        return learner.logits(model._replace(params=params), batch.image)

    outputs, change = jax.jvp(logits, (model.params,), (tangent,))
    curved = learner.task.curve(outputs, change)
    pulled = jax.vjp(logits, model.params)[1](weight[:, None] * curved)
    return pulled[0], jnp.sum(weight)


def feature_moments(learner: types.Learner, model, batch, weight):
    """Numbers [K] and feature sums [K, F] of each class, and the sum of x x^T [F, F] over all."""
    features = learner.features(model, batch.image)
    members = jax.nn.one_hot(batch.label, learner.task.num_classes) * weight[:, None]
    return jnp.sum(members, axis=0), *_moments(members, weight, features)


@precision.full
def appearance_sums(learner: types.Learner, model, batch, weight):
    """Number of scans, and the sum of their descriptors [D]; no model is run."""
    del learner, model
    return jnp.sum(weight), weight @ jax.vmap(descriptors.describe)(batch.image)


@precision.full
def appearance_scatter(learner: types.Learner, model, batch, weight, mean):
    """Sum of (x - m)(x - m)^T [D, D] over descriptors x, about a point m [D] near their mean.

    About 0 it would be a small difference of large sums, and at the mercy of their rounding.
    """
    del learner, model
    off = jax.vmap(descriptors.describe)(batch.image) - mean
    return jnp.einsum("b,bd,be->de", weight, off, off)


def nearest_feature_sums(learner: types.Learner, model, batch, weight, prototypes):
    """Numbers [K, P] and feature sums [K, P, F] of the scans nearest each prototype of their class.

    Args:
        learner, model, batch, weight: See `StatisticFn`.
        prototypes: [K, P, F].
    """
    features = learner.features(model, batch.image)
    own = prototypes[batch.label]
    distance = jnp.sum((features[:, None] - own) ** 2, axis=-1)
    chosen = jax.nn.one_hot(jnp.argmin(distance, axis=1), prototypes.shape[1])
    classes = jax.nn.one_hot(batch.label, learner.task.num_classes) * weight[:, None]
    members = classes[:, :, None] * chosen[:, None]
    return jnp.sum(members, axis=0), jnp.einsum("bcp,bf->cpf", members, features)


@precision.full
def _moments(members, weight, x):
    """Sums of the rows of `x` [B, D] by `members` [B] or [B, K], and of `weight x x^T` [D, D]."""
    return members.T @ x, jnp.einsum("b,bd,be->de", weight, x, x)


def _summed_error(learner, model, batch, weight):
    def summed(params):
        logits = learner.logits(model._replace(params=params), batch.image)
        return jnp.sum(weight * learner.task.error(logits, batch.label))

    return summed


def _summed_loss(learner, model, batch, weight):
    def summed(params):
        return jnp.sum(weight * task.of_samples(learner, model._replace(params=params), batch))

    return summed
