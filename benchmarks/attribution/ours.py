"""harmjax's scorers, watched while a model travels; and training without what they suspect."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import itinerary, learner, models, scorers, types
from harmjax.federations import memory
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
COMBINED = ("alignment, error", "margin", "neighbours", "distance")
CYCLES, BATCH = 20, 16
TRIED = (1, 2, 4)  # cycles before which the dear scorers look at everyone
LEARNER = learner.learner(models.get("mlp")(hidden=(256,)), learner.published_schedule(1e-3, 0.1))


def samples(image, label, centre) -> types.Samples:
    return types.Samples(
        jnp.asarray(image, jnp.float32),
        jnp.asarray(label, jnp.int32),
        jnp.asarray(centre, jnp.int32),
        jnp.arange(len(label), dtype=jnp.uint32),
    )


def score(cell):
    """Mean harm [N] of every scorer over the cycles of one run, and its seconds, as a dict.

    All families watch the same run, whose seconds are those of training and of all of them
    together; `with_without` and `error_rate` look at everyone before three of the cycles, and their
    seconds come on top.
    """
    train = samples(cell.x, cell.y, cell.centre)
    held_out = samples(cell.vx, cell.vy, cell.held_centre)
    model = _start(cell, train)
    arguments = (model, train, held_out, _stops(cell, 0))
    watched, tries = _compiled(*_hashable(jax.eval_shape(lambda *a: a, *arguments)))
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
    gathered = accumulate.mean(tallies)
    fused = combined.fuse({name: gathered[name] for name in COMBINED})
    found = {**gathered, "combined": fused}
    seconds = {f"{name}:seconds": watching for name in found}
    for name in TRIALS:
        found[name] = np.mean(tried[name], axis=0)
        seconds[f"{name}:seconds"] = watching + trying[name]
    return {name: np.asarray(value) for name, value in (found | seconds).items()}


def accuracies(cell, masks, replicas: int = 3):
    """Test accuracy [K] after training under every mask [K, N], mean over initialisations."""
    train = samples(cell.x, cell.y, np.zeros_like(cell.centre))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(int(cell.seed)), 9), replicas)
    found = _trained(train, jnp.asarray(cell.tx), jnp.asarray(cell.ty), jnp.asarray(masks), keys)
    return np.asarray(found).mean(axis=1)


def _hashable(shapes):
    leaves, structure = jax.tree.flatten(shapes)
    return tuple(leaves), structure


@functools.lru_cache
def _compiled(leaves, structure):
    """The programs for some shapes, compiled beforehand so that seconds are those of running."""
    shapes = jax.tree.unflatten(structure, leaves)
    tries = {name: _tried.lower(name, *shapes).compile() for name in TRIALS}
    return _watched.lower(*shapes).compile(), tries


def _start(cell, train):
    return LEARNER.init(jax.random.key(int(cell.seed)), train.image[:1])


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


@jax.jit
def _trained(train, image, label, masks, keys):
    draw = itinerary.itinerary(np.zeros(train.label.shape, int), batch_size=BATCH)

    def accuracy(mask, key):
        fed = memory.memory(LEARNER, train, train, key)
        number = len(mask)

        def visit(model, stop):
            return fed.learn(model, stop, (stop.ids < number).astype(jnp.float32))[0], None

        def cycle(model, c):
            return jax.lax.scan(visit, model, draw(key, mask, c))[0], None

        model = LEARNER.init(key, train.image[:1])
        model, _ = jax.lax.scan(cycle, model, jnp.arange(CYCLES))
        return jnp.mean((LEARNER.logits(model, image) > 0) == (label == 1))

    return jax.lax.map(lambda mask: jax.vmap(lambda key: accuracy(mask, key))(keys), masks)
