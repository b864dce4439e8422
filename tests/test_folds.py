"""Models that have not seen a group of centres judge it."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from harmjax import offers, types
from harmjax.engine import travel
from harmjax.policies import conformal, evidence, suspicion, witness
from harmjax.runs import (
    checkpoints,
    phases,
    preparation,
    training,
    trajectories,
)
from tests import screening

pytestmark = pytest.mark.filterwarnings("ignore:policy.screen.folds")  # few cycles tell little


@hypothesis.given(
    strategies.lists(strategies.integers(1, 40), min_size=2, max_size=12), strategies.integers(2, 5)
)
def test_groups_of_centres_are_balanced_and_none_is_empty(sizes, number):
    number = min(number, len(sizes))
    found = trajectories.groups(np.repeat(np.arange(len(sizes)), sizes), number, len(sizes))
    total = np.bincount(found, weights=sizes, minlength=number)
    assert len(found) == len(sizes) and (total > 0).all()
    assert total.max() - total.min() <= max(sizes), "else the largest group would lose its last one"


def alone(train, weight, judged, held_out, cycles=2):
    """The traveller of a model that watches."""
    lrn, asked = screening.perceptron(2), evidence.families(("margin",))
    policy = witness.watching(weight, judged, asked)
    fed = screening.federation(lrn, (train, held_out), held_out.centre)
    steps = travel.steps(fed, policy, screening.drawn(train))
    model = lrn.init(jax.random.key(0), train.image[:1])
    found = types.Travel(model, policy.init(len(train.label), screening.alike(held_out)))
    one = jax.jit(lambda traveller, cycle: travel.cycle(steps, traveller, cycle)[0])
    for cycle in range(cycles):
        found = one(found, cycle)
    return found


def test_a_witness_does_not_learn_from_those_it_judges():
    train, held_out = screening.samples(0), screening.samples(1)
    own = train.centre == 3
    seen = alone(train, ~own, own, held_out)
    changed = screening.planted(train, own, flipped=np.flatnonzero(own), image=-2.0)
    again = alone(changed, ~own, own, held_out)
    assert jax.tree.all(jax.tree.map(np.array_equal, seen.model, again.model))
    one, two = (np.asarray(t.state.seen.evidence)[:, 0] for t in (seen, again))
    assert not np.array_equal(one[own], two[own]) and np.array_equal(one[~own], two[~own])
    assert (np.asarray(seen.state.seen.visits) == 2).all(), "everyone is met"


@pytest.fixture(scope="module")
def folded():
    """Four groups of two centres, and what four models saw of the cohort with centre 5 flipped."""
    clean, held_out = screening.samples(0), screening.samples(1)
    train = screening.planted(clean, [], flipped=np.flatnonzero(clean.centre == 5))
    group = np.arange(screening.CENTRES) % 4
    states = [
        alone(train, group[train.centre] != g, group[train.centre] == g, held_out).state
        for g in range(4)
    ]
    return train, held_out, group, states


def accused(folded, states=None):
    train, held_out, group, seen = folded
    return np.asarray(
        witness.accusation(
            states or seen,
            jnp.asarray(group),
            jnp.asarray(train.centre),
            jnp.asarray(held_out.centre),
            num_classes=2,
        )
    )


def test_folds_convict_a_centre_of_wrong_labels_and_no_other(folded):
    train, found = folded[0], accused(folded)
    assert (found[train.centre == 5] < 1e-3).all()
    assert (found[train.centre != 5] > 0.01).all()
    assert all(len(set(found[train.centre == c])) == 1 for c in range(screening.CENTRES))


def test_only_the_model_without_a_centre_speaks_of_it(folded):
    """What the other models saw of a centre changes nothing."""
    train, held_out, group, states = folded
    loud = []
    for g, state in enumerate(states):
        others = (group[train.centre] != g)[:, None]
        held_out_others = (group[held_out.centre] != g)[:, None]
        seen = state.seen
        seen = seen._replace(
            evidence=jnp.where(others, 1e3, seen.evidence),
            held_out_evidence=jnp.where(held_out_others, -1e3, seen.held_out_evidence),
        )
        loud.append(state._replace(seen=seen))
    np.testing.assert_array_equal(accused(folded, loud), accused(folded))


def test_a_model_that_knows_nothing_of_a_centre_convicts_nobody(folded):
    states = folded[3]
    blind = [
        state._replace(seen=state.seen._replace(known=0 * state.seen.known)) for state in states
    ]
    assert (accused(folded, blind) == 1).all()


def test_a_fold_has_not_learned_from_its_own_centres(flipped, tmp_path):
    flipped.policy.screen.folds, flipped.train.warmup_cycles, flipped.train.cycles = 2, 1, 1
    study = preparation.prepare(flipped, tmp_path / "data", progress=False)
    own = trajectories.groups(study.train.centre, 2, 4)[study.train.centre] == 0
    label = np.where(own, 1 - study.train.label, study.train.label)
    other = study._replace(train=study.train._replace(label=label))
    for name, alike in (("fold0_0000", True), ("fold1_0000", False)):
        one, two = (
            screening.kept(flipped, s, tmp_path / f"{name}{s is other}", name)
            for s in (study, other)
        )
        assert all(map(np.array_equal, one, two)) == alike, name


def test_the_folds_asked_again_have_not_met_whom_the_first_ones_convict(flipped, tmp_path):
    flipped.policy.screen.folds, flipped.train.cycles = 4, flipped.train.warmup_cycles
    study = preparation.prepare(flipped, tmp_path / "data", progress=False)
    there = np.asarray(study.corrupted)
    image = np.where(there[:, None], 1.1 * study.train.image, study.train.image)
    other = study._replace(train=study.train._replace(image=image.astype(np.float32)))
    one, two = (
        screening.kept(flipped, s, tmp_path / f"{s is other}", "refold0_0002")
        for s in (study, other)
    )
    assert all(map(np.array_equal, one, two))
    outcome = training.train(flipped, tmp_path / "False", study=study, progress=False)
    assert np.array_equal(outcome.verdicts.eliminated, there)
    right = study._replace(
        train=study.train._replace(label=np.where(there, 1 - study.train.label, study.train.label))
    )
    training.train(flipped, tmp_path / "right", study=right, progress=False)
    assert list((tmp_path / "right" / "checkpoints").glob("fold0_*"))
    assert not list((tmp_path / "right" / "checkpoints").glob("refold*"))


def test_folds_go_on_until_they_know_enough_or_say_so(flipped, tmp_path, monkeypatch):
    flipped.policy.screen.folds, flipped.train.warmup_cycles, flipped.train.cycles = 2, 1, 4
    study = preparation.prepare(flipped, tmp_path, progress=False)

    def cycles(enough):
        monkeypatch.setattr(trajectories, "ENOUGH", enough)
        workdir = tmp_path / str(enough)
        training.train(flipped, workdir, study=study, progress=False)
        return [checkpoints.cycles(workdir / "checkpoints", f"fold{one}") for one in range(2)]

    with pytest.warns(UserWarning, match="a model knows little"):
        assert cycles(1e-9) == [[0], [0]]
    assert cycles(1e9) == [[3], [3]]
    monkeypatch.delattr(phases, "_write_cycle")  # what is finished is not trained again
    assert cycles(1e9) == [[3], [3]]


def test_a_centre_convicted_beforehand_lends_nothing_to_others():
    """Benjamini and Hochberg test those who were visited, by hand: of 4, .04 is not 1 in 2."""
    families = evidence.families(("margin",))
    accusation = jnp.where(jnp.arange(100) < 96, 1e-9, 1.0)
    rules = suspicion.Rules(families, 0.05, 0.05, 1, False, None, accusation=accusation)
    state = suspicion.unsuspecting(rules, 100, 4)
    there = jnp.arange(100) >= 96
    state = state._replace(
        visits=there.astype(int), p_value=jnp.where(jnp.arange(100) == 99, 0.02, state.p_value)
    )
    assert state.eliminated.sum() == 96
    tested = suspicion._judged(rules, state)
    assert tested.tolist() == there.tolist()
    assert conformal.largest_rejected(state.p_value, tested, rules.false_share) == -1


def test_a_person_keeps_who_was_accused(flipped, tmp_path):
    flipped.policy.screen.folds = 4
    study = preparation.prepare(flipped, tmp_path / "run", progress=False)
    kept = np.flatnonzero(study.corrupted)[:3]
    word = study.word.copy()
    word[kept] = offers.KEEP
    outcome = training.train(
        flipped, tmp_path / "run", study=study._replace(word=word), progress=False
    )
    gone = outcome.verdicts.eliminated
    assert not gone[kept].any() and gone.sum() >= 37
    assert (np.asarray(outcome.mask)[kept] == 1).all()
