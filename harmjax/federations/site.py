"""One centre: pure operations over its own scans, each a message in and a message out."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from harmjax import plugins, types
from harmjax.engine import forward
from harmjax.federations import assessment, stepwise, wire


def site(
    learner: types.Learner,
    train: types.Samples,
    held_out: Mapping[str, types.Samples],
    groups: Mapping[str, list],
    key,
    *,
    fold,
    width: int,
    minimum: int,
) -> Callable[[bytes], bytes]:
    """A centre over its own scans: the function from a request to its answer.

    Args:
        learner: Agreed on by all.
        train: n training samples, or none.
        held_out: Split -> samples, or none; 'verification' is what statistics are about.
        groups: Split -> pairs of a subgroup's name and its members.
        key: Root of the per-sample dropout keys, the same at all centres.
        fold: [n] int32, which fold each training sample is in.
        width: Held-out scans of one batch, the same at all centres.
        minimum: The centre's own: of fewer scans it says nothing but their confusion.
    """
    verification = held_out["verification"]
    nobody = np.zeros(len(verification.label), np.int32)
    own = verification._replace(centre=nobody)
    fed = stepwise.stepwise(
        learner, train, own, key, chunk=width, width=width, fold=fold, minimum=minimum
    )
    image = jax.ShapeDtypeStruct((1, *train.image.shape[1:]), train.image.dtype)
    like = jax.eval_shape(learner.init, jax.random.key(0), image)
    logits = forward.logits(learner, width)

    def model_of(leaves):
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def variables_of(leaves):
        structure = jax.tree.structure((like.params, like.batch_stats))
        params, batch_stats = jax.tree.unflatten(structure, leaves)
        return types.Model(params, batch_stats, ())

    def leg_of(asked):
        rows = asked["rows"]
        cycle = np.full(len(rows), asked["cycle"], np.int32)
        return types.Stop(cycle, np.zeros(len(rows), np.int32), rows, asked["weight"])

    def answer_learn(asked):
        model, loss = fed.learn(model_of(asked["model"]), leg_of(asked))
        return {"model": jax.tree.leaves(model), "loss": loss}

    def answer_at(asked):
        model, leg = variables_of(asked["model"]), leg_of(asked)
        return fed.at(measure_of(asked["measure"]), model, leg, asked["reference"])

    def answer_total(asked):
        model, args = variables_of(asked["model"]), asked["args"]
        sums = fed.total(asked["statistic"], model, *args, fold=asked["fold"])
        return {"sums": sums}

    def answer_survey(asked):
        model = variables_of(asked["model"])
        return fed.survey(measure_of(asked["measure"]), model, asked["reference"])

    def answer_assess(asked):
        model = variables_of(asked["model"])
        return {
            split: {
                name: assessment.assess(
                    found, samples.label, members, minimum=minimum, counted=name == "all"
                )
                for name, members in groups[split]
            }
            for split, samples in held_out.items()
            for found in [logits(model, samples.image)]
        }

    operations = {
        "learn": answer_learn,
        "at": answer_at,
        "total": answer_total,
        "survey": answer_survey,
        "assess": answer_assess,
    }

    def handle(request: bytes) -> bytes:
        asked = wire.unpack(request)
        op = str(asked.get("op")) if isinstance(asked, dict) else ""
        plugins.one_of("op", op, operations)
        return wire.pack(operations[op](asked))

    return handle


def measure_of(told) -> types.Measure:
    """A measure from what `told_of` made of it."""
    name, settings = told
    return types.Measure(name, tuple((key, _setting_of(value)) for key, value in settings))


def told_of(measure: types.Measure):
    """A measure as it travels: nested tuples of texts and numbers."""
    return measure.name, tuple((key, _told(value)) for key, value in measure.settings)


def _told(value):
    if isinstance(value, types.Measure):
        return {"measure": told_of(value)}
    return tuple(map(_told, value)) if isinstance(value, tuple) else value


def _setting_of(value):
    if isinstance(value, dict):
        return measure_of(value["measure"])
    return tuple(map(_setting_of, value)) if isinstance(value, tuple) else value
