"""Mask in, model out: against the training run, against retraining by hand, and across layouts."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import models, types
from harmjax.counterfactual import (
    bulk,
    masks,
    parts,
    prediction,
    retraining,
    rounds,
    values,
)
from harmjax.engine import averaging, itinerary, travel
from harmjax.engine import learner as learners
from harmjax.federations import memory
from harmjax.policies import fixed, none
from harmjax.runs import course as courses
from harmjax.runs import programs
from harmjax.scorers import measures
from tests import classes

NUM_SAMPLES, CYCLES = 17, range(3, 5)
CENTRE = np.array([0] * 7 + [1] * 6 + [2] * 4, np.int32)


def samples(number, centre, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(number, 4)).astype(np.float32)
    label = (image[:, 0] + 0.5 * rng.normal(size=number) > 0).astype(np.int32)
    identity = rng.integers(0, 2**32, number, dtype=np.uint32)
    return types.Samples(image, label, np.asarray(centre, np.int32), identity)


TRAIN = samples(NUM_SAMPLES, CENTRE, 0)
HELD_OUT = samples(12, np.arange(12) % 2, 1)
SPLITS = {"verification": HELD_OUT}
KEY = jax.random.key(5)
CLASSIFIER = models.get("mlp")(hidden=(4,), dropout=0.2)
LEARNER = learners.learner(CLASSIFIER, learners.published_schedule(0.05))
EVERYONE = types.Offer(jnp.ones(NUM_SAMPLES, bool), jnp.ones(NUM_SAMPLES))


def course(topology="travelling", centre=CENTRE):
    return courses.course(centre, KEY, topology=topology)


@pytest.fixture(scope="module")
def start():
    return LEARNER.init(jax.random.key(1), TRAIN.image[:1])


@pytest.fixture(scope="module")
def again():
    return retraining.retraining(LEARNER, TRAIN, SPLITS, course(), cycles=CYCLES)


@pytest.fixture(scope="module")
def without_each(again, start):
    """Models and outcomes without each sample in turn, one after another."""
    return ask(again, start, masks.leave_one_out(NUM_SAMPLES), replicas="map", chunk=6)


def everything_kept(model, outcomes):
    return model, outcomes


def ask(again, start, which, **options):
    folder = options.pop("folder", None)
    return bulk.bulk(again, keep=everything_kept, progress=False, **options)(start, which, folder)


def same(one, two, tolerance=0.0):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), one, two)


def row(tree, r):
    return jax.tree.map(lambda x: x[r], tree)


def federation(key):
    return memory.memory(LEARNER, TRAIN, HELD_OUT, key)


def trained(topology, start, policy, cycles=CYCLES):
    """What a real run's program does, and its verification loss after every cycle."""
    asked = course(topology)

    @jax.jit
    def loss(data, model):
        train, held_out = data
        held_out = held_out._replace(centre=HELD_OUT.centre)
        return retraining.outcome(asked.federation(LEARNER, train, held_out, asked.key), model).loss

    program = programs.program(
        LEARNER,
        policy,
        TRAIN,
        HELD_OUT,
        asked,
        stops_per_call=3,
        evaluate=lambda model: loss((TRAIN, HELD_OUT), model),
    )
    traveller, losses = types.Travel(start, policy.init(NUM_SAMPLES, None)), []
    for cycle in cycles:
        traveller, record = travel.cycle(program.steps, traveller, cycle)
        losses.append(record.evaluation)
    return traveller.model, np.array(losses)


@pytest.mark.optimised
@pytest.mark.parametrize("topology", courses.TOPOLOGIES)
def test_removing_nothing_is_the_training_run_bit_for_bit(topology, start):
    again = retraining.retraining(LEARNER, TRAIN, SPLITS, course(topology), cycles=CYCLES)
    everything = masks.everything(NUM_SAMPLES)
    model, losses = trained(topology, start, none.none())
    found, outcomes = ask(again, start, everything, replicas="map")
    same(row(found, 0), model)
    same(outcomes["verification"].loss[0], losses)
    if topology == "federated":
        found, outcomes = ask(again, start, everything, replicas="vmap")
        same(row(found, 0), model, 1e-5)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_what_retrained_models_do_by_class_is_that_of_their_predictions(num_classes):
    train, held_out = (classes.samples(n, i, num_classes) for i, n in enumerate((17, 40)))
    lrn = classes.perceptron(num_classes)
    splits = {"verification": held_out}
    again = retraining.retraining(lrn, train, splits, course(centre=train.centre), cycles=range(2))
    first = lrn.init(jax.random.key(1), train.image[:1])
    which = masks.leave_one_out(17)[:3]
    found, outcomes = ask(again, first, which, replicas="map", chunk=3)
    confusion = outcomes["verification"].confusion
    assert confusion.shape == (3, 2, num_classes, num_classes)
    for r in range(3):
        logits = np.asarray(lrn.logits(row(found, r), held_out.image), float)
        predicted = logits.argmax(1)
        assert confusion[r, -1].tolist() == classes.confused(held_out.label, predicted, num_classes)
        log_p = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
        loss = -log_p[np.arange(40), held_out.label]
        asked = (np.bincount(held_out.centre) >= 5)[held_out.centre]
        np.testing.assert_allclose(
            outcomes["verification"].loss[r, -1], loss[asked].mean(), rtol=1e-5
        )


def test_side_by_side_replicas_are_those_one_after_another(again, start, without_each):
    which = masks.leave_one_out(NUM_SAMPLES)
    same(ask(again, start, which, replicas="vmap"), without_each, 1e-5)


def test_as_many_run_side_by_side_as_memory_bears(again, start, without_each, tmp_path):
    which = masks.leave_one_out(NUM_SAMPLES)
    with pytest.raises(ValueError, match="one replica takes") as refused:
        ask(again, start, which, memory=1)
    one = int(re.findall(r"takes (\d+) bytes", str(refused.value))[0])
    same(ask(again, start, which, memory=2 * one, folder=tmp_path), without_each, 1e-5)
    assert len(list(tmp_path.glob("*.npz"))) > 1


def test_leave_one_out_is_retraining_with_that_weight_zero(again, start, without_each):
    without = 9
    weight = jnp.ones(NUM_SAMPLES + 1).at[jnp.array([without, NUM_SAMPLES])].set(0)
    learn = jax.jit(LEARNER.learn)
    model = start
    for cycle in range(len(CYCLES)):
        for ids in again.visits[cycle]:
            inside = np.minimum(ids, NUM_SAMPLES - 1)
            at_cycle = jax.random.fold_in(again.data.key, CYCLES[cycle])
            keys = jax.vmap(jax.random.fold_in, (None, 0))(at_cycle, TRAIN.identity[inside])
            batch = types.Batch(TRAIN.image[inside], TRAIN.label[inside], keys, inside % 2)
            model, _ = learn(model, batch, weight[ids], ids < NUM_SAMPLES, CYCLES[cycle])
    same(row(without_each[0], without), model, 1e-6)


def test_leaving_a_centre_out_is_travelling_past_it(again, start):
    found, _ = ask(again, start, masks.leave_one_centre_out(CENTRE), replicas="map")
    fed = federation(again.data.key)

    @jax.jit
    def past(model, stops):
        traveller = types.Travel(model, jnp.ones(NUM_SAMPLES, bool))
        return travel.in_turn(fed, none.none(), traveller, stops)[0].model

    for centre in range(3):
        model = start
        for cycle in range(len(CYCLES)):
            stops = row(jax.device_get(again.data.stops), cycle)
            elsewhere = stops.centre != centre
            # padding to one length keeps the number of compiled programs at one
            extra = (0, int((~elsewhere).sum()))
            stops = jax.tree.map(lambda x: x[elsewhere], stops)  # noqa: B023
            stops = types.Stop(
                np.pad(stops.cycle, extra, mode="edge"),
                np.pad(stops.centre, extra, mode="edge"),
                np.pad(stops.ids, (extra, (0, 0)), constant_values=NUM_SAMPLES),
                np.pad(stops.weight, (extra, (0, 0))),
            )
            model = past(model, stops)
        same(row(found, centre), model, 1e-6)


@pytest.mark.optimised
def test_chunks_and_late_starts_change_nothing(again, start, without_each):
    which = masks.leave_one_out(NUM_SAMPLES)
    first = bulk.first_difference(again, which)
    assert len(set(first)) > 2
    assert all(i in again.visits[0, first[i]] for i in range(NUM_SAMPLES))
    same(ask(again, start, which, replicas="map", chunk=3), without_each)
    from_the_beginning = again._replace(late=False)
    same(ask(from_the_beginning, start, which, replicas="map", chunk=6), without_each)


@pytest.mark.optimised
def test_masks_asked_twice_and_in_any_order(again, start, without_each):
    which = masks.leave_one_out(NUM_SAMPLES)[[4, 2, 4]]
    same(ask(again, start, which, replicas="map", chunk=2), row(without_each, np.array([4, 2, 4])))


def test_a_killed_run_keeps_what_was_finished(again, start, without_each, tmp_path):
    which = masks.leave_one_out(NUM_SAMPLES)
    blocked = tmp_path / f".rows_0000012.npz.{os.getpid()}.part"
    blocked.mkdir()
    with pytest.raises(OSError):
        ask(again, start, which, replicas="map", chunk=6, folder=tmp_path)
    blocked.rmdir()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(kept) == 2
    same(ask(again, start, which, replicas="map", chunk=6, folder=tmp_path), without_each)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with pytest.raises(ValueError, match="answers another question"):
        ask(again, start, which[:5], replicas="map", chunk=5, folder=tmp_path)


def test_parts_are_found_again(tmp_path):
    whole = {"a": np.arange(6.0).reshape(3, 2), "b": np.arange(3)}
    parts.save(tmp_path, "why", np.array([2, 0]), row(whole, np.array([2, 0])))
    (tmp_path / ".rows_0000001.npz.1.part").write_bytes(b"killed while writing")
    found = jax.tree.map(np.zeros_like, whole)
    assert parts.load(tmp_path, "why", found).tolist() == [True, False, True]
    same(row(found, np.array([0, 2])), row(whole, np.array([0, 2])))
    part = tmp_path / "rows_0000002.npz"
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"{part} is damaged"):
        parts.load(tmp_path, "why", found)


def test_asking_again_does_not_compile_again(again, start, without_each, caplog):
    ask = bulk.bulk(again, replicas="map", chunk=6, progress=False)
    which = masks.leave_one_out(NUM_SAMPLES)
    expected = without_each[1]["verification"].loss
    with jax.log_compiles():
        same(ask(start, which)["verification"].loss, expected)
        assert "compilation" in caplog.text
        caplog.clear()
        same(ask(start, which[::-1])["verification"].loss, expected[::-1])
    assert "compilation" not in caplog.text


def test_too_little_memory_says_so(again, start):
    with pytest.raises(ValueError, match="one replica takes .* raise memory"):
        ask(again, start, masks.everything(NUM_SAMPLES), replicas="map", memory=1)


def test_questions_that_make_no_sense(again, start):
    with pytest.raises(ValueError, match=r"\(2, 3\): need \[R, 17\]"):
        ask(again, start, np.ones((2, 3)))
    with pytest.raises(ValueError, match="known: vmap, map"):
        ask(again, start, masks.everything(NUM_SAMPLES), replicas="pmap")
    with pytest.raises(ValueError, match="known: travelling"):
        course("ring")
    with pytest.raises(ValueError, match="at least one cycle"):
        retraining.retraining(LEARNER, TRAIN, SPLITS, course(), cycles=range(0))
    with pytest.raises(ValueError, match=r"\[17\]: samples are numbered 0 to 16"):
        masks.leave_one_out(17, ids=[17])
    with pytest.raises(ValueError, match="fraction=50"):
        masks.random_subsets(4, 1, fraction=50)


def test_the_exact_scorer_predicts_what_the_last_stop_does(start):
    again = retraining.retraining(LEARNER, TRAIN, SPLITS, course())
    everything = masks.everything(NUM_SAMPLES)
    which = np.concatenate([everything, masks.leave_one_out(NUM_SAMPLES)])
    _, outcomes = ask(again, start, which, replicas="map", chunk=6)
    loss = outcomes["verification"].loss[:, -1]
    exact = values.leave_one_out(loss[0], loss[1:])
    asked = measures.measure("with_without")
    harm = np.asarray(prediction.predicted(asked, again, start))
    assert harm.shape == (1, NUM_SAMPLES) and np.isfinite(harm).all()
    last = [ids[ids < NUM_SAMPLES] for ids in again.visits[0]][-1]
    np.testing.assert_allclose(harm[0, last], exact[last], atol=1e-6)


DEVICES = """
import numpy as np, jax
from harmjax.counterfactual import bulk, masks, retraining
from tests import test_counterfactual as t
assert len(jax.devices()) == 4
again = retraining.retraining(t.LEARNER, t.TRAIN, t.SPLITS, t.course(), cycles=t.CYCLES)
start = t.LEARNER.init(jax.random.key(1), t.TRAIN.image[:1])
which = masks.leave_one_out(t.NUM_SAMPLES)
for replicas in ('map', 'vmap'):
    ask = bulk.bulk(again, replicas=replicas, chunk=3, devices=jax.devices(), progress=False)
    found = ask(start, which)
    np.save(f'{replicas}.npy', found['verification'].loss)
"""


def test_four_devices_give_the_same(without_each, tmp_path):
    flags = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.getcwd(),
        "JAX_PLATFORMS": "cpu",
    }
    subprocess.run([sys.executable, "-c", DEVICES], cwd=tmp_path, env=flags, check=True)
    expected = without_each[1]["verification"].loss
    same(np.load(tmp_path / "map.npy"), expected, 1e-6)
    same(np.load(tmp_path / "vmap.npy"), expected, 1e-5)


@pytest.fixture(scope="module")
def a_round(start):
    """A federated round: the federation, its stops, every centre's update."""
    fed = federation(KEY)
    stops = jax.jit(itinerary.itinerary(CENTRE))(KEY, EVERYONE, 3)
    grouped = rounds.by_centre(stops, 3, NUM_SAMPLES)
    return fed, stops, jax.jit(lambda m: rounds.updates(fed, m, grouped))(start)


def test_the_round_is_put_together_again(a_round, start):
    fed, stops, updates = a_round

    @jax.jit
    def trained(model):
        traveller = types.Travel(model, jnp.ones(NUM_SAMPLES, bool))
        return averaging.visits(fed, none.none(), traveller, stops)[0].model

    same(rounds.aggregate(start, updates), trained(start), 1e-6)
    grouped = rounds.by_centre(stops, 3, NUM_SAMPLES)
    one_by_one = jax.jit(lambda m: rounds.updates(fed, m, grouped, replicas="map"))(start)
    same(one_by_one, updates, 1e-6)


def test_a_round_without_a_centre_needs_no_retraining(a_round, start):
    fed, stops, updates = a_round
    keep = jnp.asarray(1 - np.eye(3), jnp.float32)
    without = jax.vmap(lambda k: rounds.aggregate(start, updates, k))(keep)
    in_place = jax.vmap(lambda k: rounds.aggregate(start, updates, k, rescale=False))(keep)

    @jax.jit
    def retrained(kept):
        policy = fixed.under_mask(kept)
        traveller = types.Travel(start, policy.init(NUM_SAMPLES, None))
        left = jnp.where(kept[jnp.minimum(stops.ids, NUM_SAMPLES - 1)], stops.ids, NUM_SAMPLES)
        return averaging.visits(fed, policy, traveller, stops._replace(ids=left))[0].model

    @jax.jit
    def weighted(kept):
        light = stops._replace(weight=jnp.append(kept.astype(jnp.float32), 0)[stops.ids])
        traveller = types.Travel(start, jnp.ones(NUM_SAMPLES, bool))
        return averaging.visits(fed, none.none(), traveller, light)[0].model

    for centre in range(3):
        kept = jnp.asarray(centre != CENTRE)
        same(row(without, centre), retrained(kept), 1e-6)
        same(row(in_place, centre), weighted(kept), 1e-6)
