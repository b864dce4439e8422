"""The federation in memory behind one jitted call per request, under plain Python control flow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types
from harmjax.federations import loops, memory


def stepwise(
    learner: types.Learner, train: types.Samples, held_out: types.Samples, key, **options
) -> types.Federation:
    """The same answers as `memory.memory`, asked one at a time.

    This is how the algorithm runs where a branch decides about a message, and how a run is
    debugged: every model, count and decision is a concrete array between two calls.

    Args:
        learner: See `memory.memory`, which also takes the options.
        train: N training samples.
        held_out: M verification samples.
        key: Root of the per-sample dropout keys.
    """

    centre = np.asarray(held_out.centre)

    def federation(data):
        train, held_out, key = data
        return memory.memory(learner, train, held_out._replace(centre=centre), key, **options)

    @jax.jit
    def learn(data, model, leg):
        return federation(data).learn(model, leg)

    @functools.partial(jax.jit, static_argnums=1)
    def at(data, asked, model, leg, reference):
        return federation(data).at(asked, model, leg, reference)

    @functools.partial(jax.jit, static_argnums=1, static_argnames="fold")
    def total(data, statistic, model, *args, fold=None):
        return federation(data).total(statistic, model, *args, fold=fold)

    @functools.partial(jax.jit, static_argnums=1)
    def survey(data, asked, model, reference):
        return federation(data).survey(asked, model, reference)

    data = (train, held_out, key)
    return types.Federation(
        learner.task.num_classes,
        jnp.asarray(train.centre),
        centre,
        functools.partial(learn, data),
        functools.partial(at, data),
        functools.partial(total, data),
        functools.partial(survey, data),
        loops.scan,
        loops.cond,
    )
