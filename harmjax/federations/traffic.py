"""What centres were asked: messages, samples, passes and bytes, noted where they are sent.

A recorder stands between the algorithm and any federation. What depends on shapes alone is noted
once, when a program is traced; how often a message was sent, to how many centres and about how many
samples is counted while it runs, so that a branch that was not taken costs nothing.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types
from harmjax.federations import passes, permitted, statistics
from harmjax.scorers import measures

MOST_KINDS = 32
NOTHING = np.zeros((MOST_KINDS, 3), np.int32)  # the tally of no message
ABOUT_SAMPLES = ("at", "survey")  # answers are a few numbers a sample; else one answer a centre


class Request(NamedTuple):
    """One kind of message."""

    name: str  # 'learn', 'at', 'survey' or the name of a statistic
    passes: tuple[str, ...]  # over every sample asked about: 'forward' | 'gradient' | 'jvp'
    bytes_out: int  # to a centre, each time
    bytes_back: int  # about every sample of `ABOUT_SAMPLES`, else from every centre


class Asked(NamedTuple):
    """How much of it there was, summed over all messages of the kind."""

    times: int
    centres: int
    samples: int


class Recorder(NamedTuple):
    """Notes what is asked of federations that share a learner and a minimum."""

    watch: Callable[[types.Federation], tuple[types.Federation, Callable[[], types.Array]]]
    # the same, noting; and the tally [K, 3] int32 of all that was asked until then
    asked: Callable[[Iterable], dict[Request, Asked]]  # of tallies: by kind of request, summed


def recorder(learner: types.Learner, image, minimum: int = 5) -> Recorder:
    """A recorder for programs that are traced and for federations that are asked step by step.

    Under `jax.lax.scan` and `jax.lax.cond` the tally passes through loops and branches; elsewhere
    it is added up as messages are sent. A request that is mapped by `jax.vmap` counts once.

    Args:
        learner: What every centre computes.
        image: [_, *S] any images as stored, or their shape.
        minimum: Centres with fewer held-out scans than this answer their confusion only.

    Example:
        >>> Request('confusion', ('forward',), 400, 16).bytes_back
        16
    """
    kinds: list[Request] = []
    known: dict[tuple, tuple[str, ...]] = {}
    image = jax.ShapeDtypeStruct((2, *image.shape[1:]), image.dtype)

    def place(request):
        if request not in kinds:
            if len(kinds) == MOST_KINDS:
                raise ValueError(f"more than {MOST_KINDS} kinds of requests: raise MOST_KINDS")
            kinds.append(request)
        return kinds.index(request)

    def passes_of(name, fn, *arguments):
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple(jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x)) for x in leaves)
        key = name, structure, shapes
        if key not in known:
            known[key] = passes.passes(fn, learner, image, jax.tree.unflatten(structure, shapes))
        return known[key]

    def watch(fed):
        num_samples, num_held_out = len(fed.centre), len(fed.held_out_centre)
        frames = [NOTHING]  # the tally so far of the run, and of every loop and branch inside it
        centre = fed.held_out_centre
        everywhere = len(np.unique(centre))

        def note(request, centres, samples):
            row = np.arange(MOST_KINDS)[:, None] == place(request)
            frames[-1] = frames[-1] + row * tally_row(centres, samples)

        def offered(leg):
            return jnp.sum(leg.ids < num_samples)

        def learn(model: types.Model, leg: types.Stop):
            found = fed.learn(model, leg)
            sent = Request("learn", (passes.GRADIENT,), _bytes((model, leg)), _bytes(found))
            note(sent, 1, offered(leg))
            return found

        def at(asked: types.Measure, model: types.Model, leg: types.Stop, reference):
            found = fed.at(asked, model, leg, reference)
            made_of = passes_of(asked, measures.resolved(asked), model, reference)
            back = _bytes(found) // leg.ids.size
            sent = Request("at", made_of, _bytes((model, leg, reference)), back)
            note(sent, 1, offered(leg))
            return found

        def total(statistic: str, model: types.Model, *args, fold=None):
            found = fed.total(statistic, model, *args, fold=fold)
            made_of = passes_of(statistic, passes.of_statistic(statistic), model, *args)
            sent = Request(statistic, made_of, _bytes((model, args)), _bytes(found))
            if fold is None and statistic in statistics.EVERY_CENTRE:
                note(sent, everywhere, num_held_out)
            else:
                answer = permitted.answering(statistic, centre, fold, minimum)
                note(sent, len(np.unique(centre[answer])), int(answer.sum()))
            return found

        def survey(asked: types.Measure, model: types.Model, reference):
            found = fed.survey(asked, model, reference)
            made_of = passes_of(asked, measures.resolved(asked), model, reference)
            back = _bytes(found) // num_held_out
            sent = Request("survey", made_of, _bytes((model, reference)), back)
            note(sent, everywhere, num_held_out)
            return found

        def framed(fn):
            def run(*operands):
                frames.append(NOTHING)
                try:
                    return fn(*operands), jnp.asarray(frames[-1])
                finally:
                    frames.pop()

            return run

        def scan(body, carry, xs):
            def step(carry, x):
                (carry, output), tally = framed(body)(carry, x)
                return carry, (output, tally)

            carry, (outputs, tally) = fed.scan(step, carry, xs)
            frames[-1] = frames[-1] + jnp.sum(tally, axis=0)
            return carry, outputs

        def cond(predicate, true_fn, false_fn, *operands):
            found, tally = fed.cond(predicate, framed(true_fn), framed(false_fn), *operands)
            frames[-1] = frames[-1] + tally
            return found

        watched = fed._replace(learn=learn, at=at, total=total, survey=survey)
        if fed.cond is jax.lax.cond:
            watched = watched._replace(scan=scan, cond=cond)
        return watched, lambda: jnp.asarray(frames[0])

    def asked(tallies):
        total = sum(np.asarray(tally, np.int64) for tally in jax.device_get(list(tallies)))
        rows = zip(kinds, np.broadcast_to(total, (MOST_KINDS, 3)), strict=False)
        return {kind: Asked(*map(int, row)) for kind, row in rows if row[0]}

    return Recorder(watch, asked)


def silent(fed: types.Federation) -> types.Federation:
    """A federation that answers every request with zeros of the right shapes, computing nothing."""

    def zeros(answer):
        def nothing(*asked, **named):
            shapes = jax.eval_shape(lambda: answer(*asked, **named))
            return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        return nothing

    return fed._replace(
        learn=zeros(fed.learn),
        at=zeros(fed.at),
        total=zeros(fed.total),
        survey=zeros(fed.survey),
    )


def bytes_back(request: Request, asked: Asked) -> int:
    """Bytes that left centres for one kind of request."""
    each = asked.samples if request.name in ABOUT_SAMPLES else asked.centres
    return request.bytes_back * each


def tally_row(centres, samples):
    """One message, as [3] int32: plain where its numbers are."""
    amounts = (1, centres, samples)
    if any(isinstance(a, jax.Array) for a in amounts):
        return jnp.stack([jnp.asarray(a, jnp.int32) for a in amounts])
    return np.array(amounts, np.int32)


def _bytes(tree) -> int:
    return sum(np.size(x) * jnp.result_type(x).itemsize for x in jax.tree.leaves(tree))
