"""Passes over a sample that a measure or a statistic takes, found by watching the learner."""

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching

from harmjax import types
from harmjax.federations import statistics

FORWARD, GRADIENT, JVP = "forward", "gradient", "jvp"


def passes(fn, learner: types.Learner, image, arguments) -> tuple[str, ...]:
    """The passes of `fn(learner, model, batch, *rest)`, in the order in which they are asked for.

    Every answer of the learner is marked. A mark that derivatives pass through forward is a jvp,
    and one that they come back through a gradient; each as often as the answer was differentiated.
    Nothing is computed.

    Args:
        fn: `measure` of a scorer, or `of_statistic`.
        learner: What every centre computes.
        image: Shape of a batch [B, *S].
        arguments: Shapes of the model and the rest.

    Example:
        >>> from harmjax import models
        >>> from harmjax.engine import learner
        >>> mlp = learner.learner(models.get('mlp')(hidden=(4,)), lambda cycle: 0.1)
        >>> image = jax.ShapeDtypeStruct((2, 3), jnp.float32)
        >>> model = jax.eval_shape(lambda: mlp.init(jax.random.key(0), jnp.zeros((1, 3))))
        >>> passes(of_statistic('gradient'), mlp, image, (model,))
        ('gradient',)
    """
    calls: list[dict] = []

    def run(image, model, *rest):
        return fn(_watched(learner, calls), model, batch(image), *rest)

    jax.eval_shape(run, image, *arguments)
    return tuple(kind for call in calls for kind in _kinds(call))


def batch(image) -> types.Batch:
    """A batch with these images [B, *S] and nothing else in it, for shapes."""
    nothing = jnp.zeros(len(image), jnp.int32)
    keys = jax.random.split(jax.random.key(0), len(image))
    return types.Batch(image, nothing, keys, nothing)


def of_statistic(name: str):
    """A statistic as a function `(learner, model, batch, *args)` that every sample counts in."""

    def sums(learner, model, batch, *args):
        return statistics.get(name)(learner, model, batch, jnp.ones(len(batch.label)), *args)

    return sums


def _kinds(call):
    kind = GRADIENT if call["back"] else JVP
    return (kind,) * call["along"] or (FORWARD,)


def _watched(learner, calls):
    def noted(fn):
        def answer(model, image):
            calls.append({"along": 0, "back": False})
            return _marked(calls[-1])(fn(model, image))

        return answer

    return learner._replace(
        logits=noted(learner.logits),
        features=noted(learner.features),
        forward=noted(learner.forward),
    )


def _marked(call):
    @jax.custom_jvp
    def marked(x):
        return x

    @marked.defjvp
    def rule(primals, tangents):
        call["along"] += 1
        moved = jax.tree.map(lambda t: _tangent.bind(t, back=back), tangents[0])
        return marked(primals[0]), moved

    def back():
        call["back"] = True

    return marked


def _transposed(cotangent, _, *, back):
    back()
    return [cotangent]


_tangent = core.Primitive("tangent")
_tangent.def_abstract_eval(lambda tangent, **_: tangent)
ad.deflinear2(_tangent, _transposed)
batching.defvectorized(_tangent)
