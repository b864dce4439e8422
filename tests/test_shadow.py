"""The model that trains on verification scans too, and is neither delivered nor evaluated."""

import types as plain

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import policies, types
from harmjax.engine import travel
from harmjax.federations import memory, permitted
from harmjax.policies import conformal, evidence, fixed
from harmjax.runs import (
    evaluation,
    phases,
    preparation,
    programs,
    training,
    trajectories,
)
from tests import screening


def test_verification_scans_join_as_the_last_samples_in_their_folds():
    train, held_out = screening.samples(0), screening.samples(1)
    study = plain.SimpleNamespace(train=train, verification=held_out)
    fold = trajectories.shadow_fold(study)
    assert fold[: len(train.label)].tolist() == [i % 2 for i in range(len(train.label))]
    assert fold[len(train.label) :].tolist() == permitted.folds(held_out.centre).tolist()


def test_what_is_delivered_has_not_met_a_verification_scan(flipped, tmp_path):
    """It is the model that training under the final mask gives, from scratch."""
    flipped.policy.screen.shadow = True
    study = preparation.prepare(flipped, tmp_path / "run", progress=False)
    outcome = training.train(flipped, tmp_path / "run", study=study, progress=False)
    lrn, course = training.build_learner(flipped), training.course(flipped, study)
    program = programs.program(
        lrn,
        fixed.under_mask(outcome.mask),
        study.train,
        study.verification,
        course,
        stops_per_call=4,
    )
    key = jax.random.fold_in(jax.random.key(flipped.seed), 1)
    model = jax.jit(lrn.init)(key, preparation.one_image(study.train))
    traveller = types.Travel(model, jnp.asarray(outcome.mask))
    for cycle in range(flipped.train.cycles):
        traveller, _ = travel.cycle(program.steps, traveller, cycle)
    for one, two in zip(
        jax.tree.leaves(traveller.model.params), jax.tree.leaves(outcome.model.params), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shadow", [True, False])
def test_the_shadow_alone_learns_from_verification_scans(flipped, tmp_path, shadow):
    flipped.policy.screen.shadow, flipped.train.warmup_cycles, flipped.train.cycles = shadow, 1, 1
    study = preparation.prepare(flipped, tmp_path / "data", progress=False)
    own = study.verification
    other = study._replace(verification=own._replace(label=1 - own.label))
    one, two = (
        screening.kept(flipped, s, tmp_path / f"{s is other}", "warmup_0000")
        for s in (study, other)
    )
    assert all(map(np.array_equal, one, two)) != shadow


@pytest.fixture(scope="module")
def shadowed():
    """The state of `screen` under a shadow, and of what: evidence that needs a reference."""
    train, held_out = screening.samples(0), screening.samples(1)
    both = types.Samples(*map(np.concatenate, zip(train, held_out, strict=True)))
    study = plain.SimpleNamespace(train=train, verification=held_out)
    fold = trajectories.shadow_fold(study)
    joined = len(held_out.label)
    policy = policies.get("screen")(families=("appearance", "margin"), joined=joined)
    lrn, draw = screening.perceptron(2), screening.drawn(both)
    model = lrn.init(jax.random.key(0), both.image[:1])
    start = types.Travel(model, policy.init(len(both.label), screening.alike(held_out)))

    @jax.jit
    def opened_and_visited(data, traveller):
        train, held = data
        held = held._replace(centre=held_out.centre)
        fed = memory.memory(lrn, train, held, screening.KEY, fold=fold)
        steps = travel.steps(fed, policy, draw)
        traveller = steps.open(traveller, 0)
        return steps.visits(traveller, steps.draw(traveller, 0))[0].state

    return policy, joined, jax.device_get(opened_and_visited((both, held_out), start))


def test_a_scan_that_joined_is_measured_as_it_calibrates(shadowed):
    """At its stop it is judged against the fold that it is not in, as in the survey."""
    _, joined, state = shadowed
    np.testing.assert_allclose(state.evidence[-joined:], state.held_out_evidence, atol=1e-4)


def test_the_p_value_of_a_scan_that_joined_counts_it_once(shadowed):
    """Its rank among the verification scans of its class, below the tail; by brute force."""
    _, joined, state = shadowed
    label = state.label[-joined:]
    by_family = evidence.p_values_by_family(
        state.calibration, jnp.asarray(state.held_out_evidence), label, conformal.own_p_value
    )
    score = np.asarray(evidence.combine_p_values(by_family, jnp.array([0.5, 0.5])))
    found = state.p_value[-joined:]
    for k in range(2):
        own, low = label == k, np.zeros(0)
        rank = np.array([np.mean(score[own] >= s - 1e-4) for s in score[own]])
        low = rank > 0.2
        np.testing.assert_allclose(found[own][low], rank[low], atol=0.02)
        assert np.isclose(found[own].max(), 1.0), "the least suspicious of all"


def test_the_course_of_the_shadow_knows_the_folds(flipped, tmp_path):
    flipped.policy.screen.shadow = True
    study = preparation.prepare(flipped, tmp_path / "data", progress=False)
    run = phases.Run(flipped, tmp_path, study, *[None] * 5)
    found = trajectories.watch(run, None, lambda both, fold: (len(both.names), fold.tolist()))
    assert found.run.course == (280, trajectories.shadow_fold(study).tolist())
    assert found.run.is_shadow and found.keep.all() and found.beside == {"joined": 120}


def test_a_shadow_is_not_evaluated(flipped, tmp_path):
    flipped.policy.screen.shadow, flipped.train.keep_checkpoints = True, "all"
    training.train(flipped, tmp_path / "run", progress=False)
    for split in ("test", "verification"):
        rows = evaluation.evaluate(tmp_path / "run", split).rows
        assert {row[0] for row in rows} == {"delivery", "final"}
