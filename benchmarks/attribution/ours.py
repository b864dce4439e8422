"""harmjax's scorers, watched while a model travels, and what they cost."""

import collections
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.attribution import retrained
from harmjax import models, offers
from harmjax.engine import itinerary, learner
from harmjax.federations import memory, traffic
from harmjax.scorers import accumulate, combined, measures

ERROR = {"verify": "error"}
WATCHED = {  # by row of the table
    "alignment": measures.measure("alignment"),
    "alignment, error": measures.measure("alignment", ERROR),
    "influence": measures.measure("influence"),
    "influence, error": measures.measure("influence", ERROR),
    "margin": measures.measure("margin"),
    "loss": measures.measure("loss"),
    "knn_shapley": measures.measure("knn_shapley"),
    "mahalanobis": measures.measure("mahalanobis"),
}
TRIALS = {
    "with_without": measures.measure("with_without"),
    "with_without, error": measures.measure("with_without", ERROR),
    "error_rate": measures.measure("error_rate"),
}
FAMILIES = ("alignment, error", "influence, error", "margin", "loss", "mahalanobis")
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
    order = np.argsort(cell.held_centre, kind="stable")  # so that seeds share a program
    held_centre = cell.held_centre[order]
    held_out = retrained.samples(cell.vx[order], cell.vy[order], held_centre)
    model = LEARNER.init(jax.random.key(int(cell.seed)), train.image[:1])
    arguments = (model, train, held_out, _stops(cell, 0))
    shapes = _hashable(jax.eval_shape(lambda *a: a, *arguments))
    watched, tries = _compiled(tuple(held_centre.tolist()), *shapes)
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
    def tally_of(measure, model, stops):
        watched, tally = recorder.watch(fed)
        reference = measures.scorer(measure).reference(watched, model, 0)
        measures.survey(measure, watched, model, stops, reference)
        return tally()

    for row, measure in (WATCHED | TRIALS).items():
        cycles = len(TRIED) if row in TRIALS else CYCLES
        found[row] = collections.Counter(gradient=CYCLES * len(train.label))
        for request, asked in recorder.asked([tally_of(measure, model, stops)]).items():
            for kind in request.passes:
                found[row][kind] += cycles * asked.samples
    return found


def _hashable(shapes):
    leaves, structure = jax.tree.flatten(shapes)
    return tuple(leaves), structure


@functools.lru_cache
def _compiled(held_centre, leaves, structure):
    """The programs for some shapes, compiled beforehand so that seconds are those of running."""
    shapes = jax.tree.unflatten(structure, leaves)
    tries = {name: _tried.lower(name, held_centre, *shapes).compile() for name in TRIALS}
    return _watched.lower(held_centre, *shapes).compile(), tries


def _stops(cell, cycle):
    draw = itinerary.itinerary(cell.centre, batch_size=BATCH)
    key = jax.random.fold_in(jax.random.key(int(cell.seed)), 7)
    return draw(key, offers.offer(jnp.ones(len(cell.y))), cycle)


def _federation(held_centre, train, held_out):
    held_out = held_out._replace(centre=np.array(held_centre))
    return memory.memory(LEARNER, train, held_out, jax.random.key(0), chunk=512)


@functools.partial(jax.jit, static_argnums=0)
def _watched(held_centre, model, train, held_out, stops):
    """The model after one cycle, and every family's harm [N] before each sample's step."""
    fed = _federation(held_centre, train, held_out)
    members = {row: measures.scorer(measure) for row, measure in WATCHED.items()}
    references = {n: m.reference(fed, model, stops.cycle[0]) for n, m in members.items()}

    def visit(model, stop):
        seen = {
            row: measures.evidence(measure, fed, model, stop, references[row])
            for row, measure in WATCHED.items()
        }
        return fed.learn(model, offers.leg(stop))[0], seen

    after, seen = jax.lax.scan(visit, model, stops)
    known = measures.by_sample(stops.ids, seen, len(fed.centre))
    return after, {n: m.judge(known[n], references[n]) for n, m in members.items()}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _tried(name, held_centre, model, train, held_out, stops):
    """Harm [N] by a scorer that tries updates out."""
    fed = _federation(held_centre, train, held_out)
    scorer = measures.scorer(TRIALS[name])
    reference = scorer.reference(fed, model, stops.cycle[0])
    return scorer.judge(measures.survey(TRIALS[name], fed, model, stops, reference), reference)
