"""harmjax's scorers, watched while a model travels, and what they cost."""

import collections
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.attribution import retrained
from harmjax import itinerary, learner, models, scorers
from harmjax.federations import memory, traffic
from harmjax.scorers import accumulate, combined

ERROR = {"verify": "error"}
WATCHED = {  # row of the table: scorer and settings
    "alignment": ("alignment", {}),
    "alignment, error": ("alignment", ERROR),
    "influence": ("influence", {}),
    "influence, error": ("influence", ERROR),
    "margin": ("margin", {}),
    "loss": ("loss", {}),
    "neighbours": ("neighbours", {}),
    "distance": ("distance", {}),
}
TRIALS = {
    "with_without": ("with_without", {}),
    "with_without, error": ("with_without", ERROR),
    "error_rate": ("error_rate", {}),
}
FAMILIES = ("alignment, error", "influence, error", "margin", "loss", "distance")
COMBINED = {
    "combined": FAMILIES,
    "combined, retrained": ("out of sample", *FAMILIES[1:]),
}
CYCLES, BATCH = 20, 16
TRIED = (1, 2, 4)  # cycles before which the dear scorers look at everyone
LEARNER = learner.learner(models.get("mlp")(hidden=(256,)), learner.published_schedule(1e-3, 0.1))


def score(cell) -> dict:
    """Harm [N] by every method, and its costs, as a dict: see `exchange.scores`.

    All families watch the same run, cycle by cycle; harm is the mean over the cycles, and the
    seconds are those of training and of all families together. `with_without` and `error_rate` look
    at everyone before three of the cycles; their seconds come on top, as do those of the models
    that are retrained for `out of sample`.
    """
    harms, seconds, passes = _run(cell)
    began = time.perf_counter()
    unseen = retrained.unseen(cell, LEARNER, CYCLES, BATCH)
    retraining = time.perf_counter() - began
    trained = unseen.asked * len(cell.y)
    cost = collections.Counter(gradient=trained * CYCLES, forward=trained)
    harms["out of sample"] = unseen.harm
    seconds["out of sample"], passes["out of sample"] = retraining, cost
    found = {}
    for name, harm in harms.items():
        found |= {name: np.asarray(harm, float), f"{name}:seconds": seconds[name]}
        found |= {f"{name}:{kind}": number for kind, number in passes[name].items()}
    return found


def combinations(found, centre) -> dict:
    """Method -> (harm [N], its costs) of the combinations of what `score` has found, likewise."""
    combinations = {}
    for name, members in COMBINED.items():
        costs = [collections.Counter(found[member][1]) for member in members]
        watching = [c for member, c in zip(members, costs, strict=True) if member in WATCHED]
        total = sum(costs, collections.Counter())
        spare = len(watching) - 1  # they watch one run
        total["seconds"] -= spare * watching[0]["seconds"]
        total["gradient"] -= spare * CYCLES * len(found[members[0]][0])
        harm = combined.fuse({member: found[member][0] for member in members}, centre=centre)
        combinations[name] = np.asarray(harm, float), dict(total)
    return combinations


def _run(cell):
    """Harm, seconds and passes, each by method, of what watches one run."""
    train = retrained.samples(cell.x, cell.y, cell.centre)
    held_out = retrained.samples(cell.vx, cell.vy, cell.held_centre)
    model = LEARNER.init(jax.random.key(int(cell.seed)), train.image[:1])
    arguments = (model, train, held_out, _stops(cell, 0))
    watched, tries = _compiled(*_hashable(jax.eval_shape(lambda *a: a, *arguments)))
    passes = _passes(*arguments)
    watching, trying = 0.0, dict.fromkeys(TRIALS, 0.0)
    tallies, tried = None, {name: [] for name in TRIALS}
    for cycle in range(CYCLES):
        stops = _stops(cell, cycle)
        if cycle in TRIED:
            for name in TRIALS:
                began = time.perf_counter()
                harm = tries[name](model, train, held_out, stops)
                tried[name].append(np.asarray(harm))
                trying[name] += time.perf_counter() - began
        began = time.perf_counter()
        model, harms = watched(model, train, held_out, stops)
        if tallies is None:
            tallies = accumulate.start(len(cell.y), harms)
        tallies = accumulate.add(tallies, jnp.arange(len(cell.y)), harms)
        jax.block_until_ready(tallies)
        watching += time.perf_counter() - began
    harms = accumulate.mean(tallies) | {name: np.mean(tried[name], axis=0) for name in TRIALS}
    seconds = {name: watching + trying.get(name, 0.0) for name in harms}
    return harms, seconds, passes


def _passes(model, train, held_out, stops) -> dict:
    """Passes in samples, training included, by method."""
    fed = traffic.silent(memory.memory(LEARNER, train, held_out, jax.random.key(0), chunk=512))
    recorder = traffic.recorder(LEARNER, train.image)
    found = {}

    @functools.partial(jax.jit, static_argnums=0)
    def tally_of(scorer, model, stops):
        watched, tally = recorder.watch(fed)
        reference = scorer.reference(watched, model, 0)
        scorers.survey(scorer, watched, model, stops, reference)
        return tally()

    for row, (name, options) in (WATCHED | TRIALS).items():
        cycles = len(TRIED) if row in TRIALS else CYCLES
        found[row] = collections.Counter(gradient=CYCLES * len(train.label))
        for request, asked in recorder.asked(
            [tally_of(scorers.get(name)(**options), model, stops)]
        ).items():
            for kind in request.passes:
                found[row][kind] += cycles * asked.samples
    return found


def _hashable(shapes):
    leaves, structure = jax.tree.flatten(shapes)
    return tuple(leaves), structure


@functools.lru_cache
def _compiled(leaves, structure):
    """The programs for some shapes, compiled beforehand so that seconds are those of running."""
    shapes = jax.tree.unflatten(structure, leaves)
    tries = {name: _tried.lower(name, *shapes).compile() for name in TRIALS}
    return _watched.lower(*shapes).compile(), tries


def _stops(cell, cycle):
    draw = itinerary.itinerary(cell.centre, batch_size=BATCH)
    key = jax.random.fold_in(jax.random.key(int(cell.seed)), 7)
    return draw(key, jnp.ones(len(cell.y), bool), cycle)


@jax.jit
def _watched(model, train, held_out, stops):
    """The model after one cycle, and every family's harm [N] before each sample's step."""
    fed = memory.memory(LEARNER, train, held_out, jax.random.key(0), chunk=512)
    members = {row: scorers.get(name)(**options) for row, (name, options) in WATCHED.items()}
    references = {n: m.reference(fed, model, stops.cycle[0]) for n, m in members.items()}

    def visit(model, stop):
        seen = {n: scorers.evidence(m, fed, model, stop, references[n]) for n, m in members.items()}
        return fed.learn(model, stop, (stop.ids < len(fed.centre)).astype(jnp.float32))[0], seen

    after, seen = jax.lax.scan(visit, model, stops)
    known = accumulate.by_sample(stops.ids, seen, len(fed.centre))
    return after, {n: m.judge(known[n], references[n]) for n, m in members.items()}


@functools.partial(jax.jit, static_argnums=0)
def _tried(name, model, train, held_out, stops):
    """Harm [N] by a scorer that tries updates out."""
    fed = memory.memory(LEARNER, train, held_out, jax.random.key(0), chunk=512)
    scorer_name, options = TRIALS[name]
    scorer = scorers.get(scorer_name)(**options)
    reference = scorer.reference(fed, model, stops.cycle[0])
    return scorer.judge(scorers.survey(scorer, fed, model, stops, reference), reference)
