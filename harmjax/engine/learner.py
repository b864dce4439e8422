"""One local update at a centre, as a pure function of model, batch and weights."""

import jax
import jax.numpy as jnp
import optax

from harmjax import task as tasks
from harmjax import types


def published_schedule(
    learning_rate: float = 1e-4, decay: float = 0.1, *, restart: int | None = None
) -> types.ScheduleFn:
    """The learning rate `learning_rate * exp(-decay) ** cycle` as a function of the cycle.

    A rollback rewinds the optimiser's step count, so the rate never depends on it.

    Args:
        learning_rate: Rate of cycle 0.
        decay: Per cycle.
        restart: The authors' quirk: from this cycle on the exponent is `cycle - restart + 1`. Their
            script decays the rate once before it first sets it, so that cycle `restart` runs at
            `learning_rate * exp(-decay)`. None never restarts.

    Example:
        >>> round(float(published_schedule(1e-4, 0.1)(10)) * 1e5, 3)
        3.679
    """

    def rate(cycle):
        since = jnp.asarray(cycle)
        if restart is not None:
            since = jnp.where(since >= restart, since - restart + 1, since)
        return learning_rate * jnp.exp(-decay * since.astype(jnp.float32))

    return rate


def learner(
    classifier: types.Classifier,
    schedule: types.ScheduleFn,
    *,
    task: types.Task | None = None,
    optimiser: optax.GradientTransformation | None = None,
) -> types.Learner:
    """A learner for one classifier, see `types.Learner`.

    `learn` takes one optimiser step on `sum(w l) / n` (n = samples offered). If every weight is 0
    the model comes back untouched, optimiser state and batch statistics included.

    Args:
        classifier: From `harmjax.models`.
        schedule: Such as `published_schedule`.
        task: What the classifier's logits are read as; two classes by default.
        optimiser: An optax transformation without a learning rate; by default Adam with eps 1e-7 as
            published.

    References:
        Souza et al., Self-supervised identification and elimination of harmful datasets in
        distributed machine learning for medical image analysis, npj Digital
        Medicine 2025, doi 10.1038/s41746-025-01499-0.

    Example:
        >>> from harmjax import models
        >>> mlp = learner(models.get('mlp')(hidden=(4,)), published_schedule())
        >>> model = mlp.init(jax.random.key(0), jnp.zeros((1, 3)))
        >>> mlp.logits(model, jnp.zeros((2, 3))).shape
        (2, 2)
    """
    task = task or tasks.classification()
    optimiser = optimiser or optax.scale_by_adam(eps=1e-7)

    def init(key, image) -> types.Model:
        variables = classifier.init(key, image)
        return types.Model(*variables, optimiser.init(variables.params))

    def learn(model: types.Model, batch: types.Batch, weight, offered, cycle):
        weight = jnp.where(offered, weight, 0.0)

        def objective(params):
            variables = types.Variables(params, model.batch_stats)
            logits, _, after = classifier.apply(variables, batch.image, weight, batch.keys, True)
            loss = task.loss(logits, batch.label)
            return tasks.stop_loss(loss, weight, offered), after.batch_stats

        (loss, batch_stats), gradient = jax.value_and_grad(objective, has_aux=True)(model.params)
        direction, opt_state = optimiser.update(gradient, model.opt_state, model.params)
        step = jax.tree.map(lambda d: -schedule(cycle) * d, direction)
        after = types.Model(optax.apply_updates(model.params, step), batch_stats, opt_state)
        return select(jnp.any(weight > 0), after, model), loss

    def forward(model: types.Model, image):
        weight = jnp.ones(len(image))
        keys = jax.vmap(jax.random.key)(jnp.zeros(len(image), jnp.uint32))
        variables = types.Variables(model.params, model.batch_stats)
        return classifier.apply(variables, image, weight, keys, False)[:2]

    def logits(model, image):
        return forward(model, image)[0]

    def features(model, image):
        return forward(model, image)[1]

    return types.Learner(task, init, learn, logits, features, schedule, forward)


def once(learner: types.Learner, model: types.Model, image) -> types.Learner:
    """The learner with a single forward pass of `model` over `image`, however often it is asked.

    Args:
        learner: Any.
        model: The very object that will be asked about; others are passed on.
        image: The same.
    """
    logits, features = learner.forward(model, image)

    def remembered(found, otherwise):
        return lambda m, i: found if m is model and i is image else otherwise(m, i)

    return learner._replace(
        logits=remembered(logits, learner.logits),
        features=remembered(features, learner.features),
    )


def select(chosen, this, that):
    """`this` where the scalar `chosen` is True, else `that`, leaf by leaf and bit for bit."""
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), this, that)
