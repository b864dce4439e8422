"""What a scorer makes leave the centres, and what it costs, read off the shapes alone."""

from typing import NamedTuple

import jax

from harmjax import statistics, types
from harmjax.federations import control


class Exchange(NamedTuple):
    """One kind of message between the server and a centre."""

    step: str  # 'reference' or 'evidence'
    request: str  # 'learn', 'at', or the name of a statistic
    centres: str  # 'one', the sample's; 'all'; or 'large', those with enough held-out scans
    times: int
    bytes_out: int  # to one centre, each time
    bytes_back: int  # from one centre, each time
    passes: tuple[str, ...]  # over each sample of the stop, or each held-out scan


def exchanges(
    scorer: types.HarmScorer, fed: types.Federation, model: types.Model, stop: types.Stop
) -> tuple[Exchange, ...]:
    """All messages of one reference and of the evidence of one stop; nothing is computed or sent.

    Args:
        scorer: From `scorers.get`.
        fed: Any federation; only its shapes are used.
        model: Model, or its shapes.
        stop: Stop, or its shapes.

    Example:
        >>> Exchange('evidence', 'at', 'one', 1, 400, 20, ('jvp',)).bytes_back
        20
    """
    sent = []

    def recorded(step):
        def ask(request, centres, passes, answer, *arguments):
            found = jax.eval_shape(answer, *arguments)
            sent.append(
                Exchange(step, request, centres, 1, _bytes(arguments), _bytes(found), passes)
            )
            return jax.tree.map(lambda s: jax.numpy.zeros(s.shape, s.dtype), found)

        def learn(model, stop, weight):
            gradient = (statistics.GRADIENT,)
            return ask("learn", "one", gradient, fed.learn, model, stop, weight)

        def at(measure, model, stop, reference):
            def answer(model, stop, reference):
                return fed.at(measure, model, stop, reference)

            return ask("at", "one", scorer.passes, answer, model, stop, reference)

        def total(statistic, model, *args, among=None):
            def answer(model, *args):
                return fed.total(statistic, model, *args, among=among)

            centres = "all" if statistic in statistics.EVERY_CENTRE else "large"
            return ask(statistic, centres, statistics.PASSES[statistic], answer, model, *args)

        return fed._replace(learn=learn, at=at, total=total, scan=control.scan, cond=control.cond)

    def run(model, stop):
        reference = scorer.reference(recorded("reference"), model, 0)
        watched = recorded("evidence")
        if scorer.trial is not None:
            return scorer.trial(watched, model, stop, reference)
        return watched.at(scorer.measure, model, stop, reference)

    jax.eval_shape(run, model, stop)
    kinds = dict.fromkeys(sent)
    return tuple(kind._replace(times=sent.count(kind)) for kind in kinds)


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
