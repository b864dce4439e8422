"""Rounds of a federated run without each centre: arithmetic against training them anew."""

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import counterfactual
from harmjax import models, tables, types
from harmjax import task as tasks
from harmjax.counterfactual import masks, retraining, rounds, survey
from harmjax.engine import learner as learners
from harmjax.engine import travel
from harmjax.policies import fixed
from harmjax.runs import course as courses

CENTRE = np.array([0] * 7 + [1] * 6 + [3] * 4, np.int32)  # centre 2 trains on nothing
NUM_SAMPLES, CYCLES = len(CENTRE), (3, 4)


def samples(centre, num_classes, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(len(centre), 4)).astype(np.float32)
    label = np.digitize(image[:, 0], [-0.3, 0.6][: num_classes - 1]).astype(np.int32)
    identity = rng.integers(0, 2**32, len(centre), dtype=np.uint32)
    return types.Samples(image, label, np.asarray(centre, np.int32), identity)


def federated(num_classes, cycles=CYCLES):
    """A learner, the course of a federated run, the run as a function of a mask, its start."""
    classifier = models.get("mlp")(hidden=(4,), dropout=0.2, classes=num_classes)
    schedule = learners.published_schedule(0.05)
    learner = learners.learner(classifier, schedule, task=tasks.classification(num_classes))
    train = samples(CENTRE, num_classes, 0)
    held_out = {name: samples(np.arange(12) % 2, num_classes, s) for s, name in
                enumerate(("verification", "test"), 1)}  # fmt: skip
    course = courses.course(CENTRE, jax.random.key(5), topology="federated", batch_size=3)
    again = retraining.retraining(learner, train, held_out, course, cycles=cycles)
    return learner, course, again, learner.init(jax.random.key(1), train.image[:1])


def same(one, two, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), one, two)


def row(tree, *at):
    return jax.tree.map(lambda x: x[at], tree)


@pytest.mark.parametrize("num_classes, replicas", [(2, "map"), (3, "vmap")])
def test_without_rescaling_it_is_retraining_with_weight_zero(num_classes, replicas):
    learner, course, again, start = federated(num_classes)
    base = np.ones(NUM_SAMPLES, np.float32)
    base[[2, 15]] = 0
    found = rounds.follow(again, start, mask=base, rescale=False, replicas=replicas, progress=False)
    assert found.cycle.tolist() == [3, 4]
    assert found.samples.tolist() == [[7, 6, 0, 4]] * 2
    np.testing.assert_allclose(found.share, found.samples / 17, rtol=1e-6)
    model = start
    for number, cycle in enumerate(CYCLES):
        one = retraining.retraining(
            learner, again.data.train, again.data.held_out, course, cycles=[cycle]
        )
        run = jax.jit(one.run)
        for centre, kept in enumerate(masks.leave_one_centre_out(CENTRE)):
            _, outcomes = run(one.data, model, base * kept, 0)
            same(row(found.without, number, centre), row(outcomes, 0))
        model, outcomes = run(one.data, model, base, 0)
        same(row(found.whole, number), row(outcomes, 0))
        same(row(found.without, number, 2), row(outcomes, 0))
    assert (found.without["test"].loss[:, [0, 1, 3]] != found.whole["test"].loss[:, None]).all()


def test_with_rescaling_it_is_the_round_of_the_other_centres():
    learner, course, again, start = federated(3)
    found = rounds.follow(again, start, progress=False)

    @jax.jit
    def trained(data, model, number, kept):
        """The round in which only some are offered, as a policy that takes the others out."""
        held_out = data.held_out["test"]._replace(centre=np.arange(12) % 2)
        fed = course.federation(learner, data.train, held_out, data.key)
        policy = fixed.under_mask(kept)
        steps = travel.steps(fed, policy, course.draw, visits=course.visits)
        after, _ = travel.cycle(steps, types.Travel(model, policy.init(NUM_SAMPLES, None)), number)
        return after.model, retraining.outcome(fed, after.model)

    model = start
    for number, cycle in enumerate(CYCLES):
        for centre in (0, 1, 3):
            outcome = trained(again.data, model, cycle, jnp.asarray(centre != CENTRE))[1]
            same(row(found.without["test"], number, centre), outcome)
        model, outcome = trained(again.data, model, cycle, jnp.ones(NUM_SAMPLES, bool))
        same(row(found.whole["test"], number), outcome)


def test_both_meanings_by_hand():
    start = types.Model({"w": jnp.array([1.0])}, {}, {})
    delta = ({"w": jnp.array([[1.0], [5.0], [-2.0]])}, {})
    updates = rounds.Updates(delta, jnp.array([0.5, 0.25, 0.25]))

    def moved(keep, **options):
        return rounds.aggregate(start, updates, jnp.array(keep), **options).params["w"].item()

    assert moved([1.0, 1.0, 1.0]) == moved([1.0, 1.0, 1.0], rescale=False) == 2.25
    assert moved([0.0, 1.0, 1.0]) == 1 + (5 - 2) / 2
    assert moved([0.0, 1.0, 1.0], rescale=False) == 1 + (5 - 2) / 4
    assert moved([0.0, 0.0, 0.0]) == 1, "without anyone nothing moves"


def test_a_run_without_rounds_is_refused():
    learner, _, again, start = federated(2, cycles=[0])
    course = courses.course(CENTRE, jax.random.key(5))
    data = again.data
    again = retraining.retraining(learner, data.train, data.held_out, course)
    with pytest.raises(ValueError, match="the run is not federated"):
        rounds.follow(again, start, progress=False)


@pytest.fixture
def asking(patients):
    patients.train.topology, patients.train.warmup_cycles = "federated", 1
    patients.counterfactual = counterfactual.get_config().counterfactual
    patients.counterfactual.ask = ("centres", "rounds")
    patients.counterfactual.scorers, patients.counterfactual.replicas = (), "map"
    return patients


def asked(config, workdir):
    return survey.survey(config, workdir, progress=False, say=lambda text: None)


def numbers(path, name):
    return [float(row[name]) for row in tables.read(path)]


def test_a_survey_tells_every_round_and_the_bad_centre_first(asking, tmp_path):
    asking.train.cycles, asking.counterfactual.rescale = 2, False
    found = asked(asking, tmp_path)
    by_round, by_centre = (tmp_path / f"counterfactual_{n}.csv" for n in ("rounds", "centres"))
    for name in ("harm", "test_harm", "extra_fp", "extra_fn", "samples"):
        np.testing.assert_allclose(numbers(by_round, name), numbers(by_centre, name), atol=1e-6)
    assert [r["centre"] for r in tables.read(by_round)] == [f"C{c}" for c in range(8)]
    assert numbers(by_centre, "rounds") == numbers(by_round, "harm")
    assert sum(numbers(by_round, "share")) == pytest.approx(1)
    assert "rank correlation with retraining without the centre: 1" in survey.summary(found)

    asking.train.cycles, asking.counterfactual.rescale = 4, True
    asking.counterfactual.ask = ("rounds",)
    shutil.rmtree(tmp_path / "retrained")
    found = asked(asking, tmp_path)
    same(found.followed.whole["test"].loss, found.whole["test"].loss, 1e-5)
    rows = tables.read(by_round)
    assert [*rows[0]] == ["centre", "cycle", "samples", "share", "harm", "test_harm",
                          "extra_fp", "extra_fn"]  # fmt: skip
    assert [(r["cycle"], r["centre"]) for r in rows] == [
        (str(cycle), f"C{centre}") for cycle in (1, 2, 3) for centre in range(8)
    ]
    harm = np.array([float(r["harm"]) for r in rows]).reshape(3, 8).mean(axis=0)
    lines = survey.summary(found).splitlines()
    assert lines[0].startswith("a round with minus without the centre, means over cycles")
    assert lines[2].split()[0] == "C3" == f"C{harm.argmax()}" and harm[3] > 0
    assert lines[2].split()[2] == f"{harm[3]:.3g}" and len(lines) == 10


def test_rounds_are_asked_of_federated_runs_only(asking, tmp_path):
    asking.train.topology = "travelling"
    with pytest.raises(ValueError, match="names 'rounds'.*topology='travelling'.*'federated'"):
        asked(asking, tmp_path / "out")
    assert not (tmp_path / "out").exists()


DEVICES = """
import jax, numpy as np
from harmjax.counterfactual import bulk, masks
from tests import test_rounds
assert len(jax.devices()) == 2
_, _, again, start = test_rounds.federated(2)
start = jax.device_put(start, jax.devices()[0])
ask = bulk.bulk(again, replicas='map', devices=jax.devices(), progress=False)
found = ask(start, masks.leave_one_centre_out(test_rounds.CENTRE)[:2])
one = jax.jit(again.run)(again.data, start, masks.leave_one_centre_out(test_rounds.CENTRE)[1], 0)[1]
np.testing.assert_allclose(found['test'].loss[1], one['test'].loss, atol=1e-6)
"""


def test_a_model_that_training_left_on_one_device_is_asked_on_two():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2",
                                "JAX_PLATFORMS": "cpu"}  # fmt: skip
    subprocess.run([sys.executable, "-c", DEVICES], env=environment, check=True)
