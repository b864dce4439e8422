"""Models trained beside the delivered one: folds over centres, and the shadow."""

import types as plain

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from harmjax import offers, policies, tables, types
from harmjax.engine import travel
from harmjax.federations import memory, permitted
from harmjax.policies import conformal, evidence, fixed, suspicion, witness
from harmjax.report import page
from harmjax.runs import (
    checkpoints,
    evaluation,
    phases,
    preparation,
    programs,
    training,
    trajectories,
)
from tests import screening, test_training
from tests.conftest import patients_config, write_patients

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


def test_verification_scans_join_as_the_last_samples_in_their_folds():
    train, held_out = screening.samples(0), screening.samples(1)
    study = plain.SimpleNamespace(train=train, verification=held_out)
    fold = trajectories.shadow_fold(study)
    assert fold[: len(train.label)].tolist() == [i % 2 for i in range(len(train.label))]
    assert fold[len(train.label) :].tolist() == permitted.folds(held_out.centre).tolist()


@pytest.fixture
def config(tmp_path):
    """Patients at four hospitals, at one of which every label was wrong from the start."""
    sizes = (40, 40, 40, 40)
    manifest = write_patients(tmp_path / "p.csv", sizes=sizes, held_out=120, seed=3)
    config = patients_config(manifest)
    config.train.learning_rate, config.policy.name = 0.02, "screen"
    config.policy.screen.families = ("margin",)
    config.train.warmup_on, config.train.warmup_cycles, config.train.cycles = "as_is", 3, 5
    config.scenario.name, config.scenario.harm = "centres", ("label_flip",)
    config.scenario.centres, config.scenario.max_fraction = ("C2",), 1.0
    return config


def test_a_hospital_that_was_wrong_from_the_start_leaves_every_mask(config, tmp_path):
    config.policy.screen.folds, config.policy.screen.shadow = 4, True
    study = preparation.prepare(config, tmp_path / "run", progress=False)
    outcome = training.train(config, tmp_path / "run", study=study, progress=False)
    gone = outcome.verdicts.eliminated
    assert len(gone) == 160 and gone[study.corrupted].all()
    assert gone[~study.corrupted].mean() < 0.06
    assert np.array_equal(np.asarray(outcome.mask) == 0, gone | outcome.verdicts.pending)
    rows = tables.read(tmp_path / "run" / "decisions.csv")
    told = [row for row in rows if row["kind"] == "centre"]
    assert len(told) == 40 and {row["centre"] for row in told} == {"C2"}
    assert all(float(row["p_value"]) <= 0.01 for row in told)
    assert {row["cycle"] for row in told} == {"3"}, "before the first examination"
    assert not (tmp_path / "run" / "metrics.csv").exists(), "a shadow's would tell nothing"
    assert [row["cycle"] for row in tables.read(tmp_path / "run" / "delivered.csv")][-1] == "4"
    harm = {row["subject"]: row for row in tables.read(tmp_path / "run" / "harm.csv")}
    assert set(harm) == set(study.names)
    text = page.write(tmp_path / "run", study).read_text(encoding="utf-8")
    assert "40 of 40" in text


def test_what_is_delivered_has_not_met_a_verification_scan(config, tmp_path):
    """It is the model that training under the final mask gives, from scratch."""
    config.policy.screen.shadow = True
    study = preparation.prepare(config, tmp_path / "run", progress=False)
    outcome = training.train(config, tmp_path / "run", study=study, progress=False)
    lrn, course = training.build_learner(config), training.course(config, study)
    program = programs.program(
        lrn,
        fixed.under_mask(outcome.mask),
        study.train,
        study.verification,
        course,
        stops_per_call=4,
    )
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    model = jax.jit(lrn.init)(key, preparation.one_image(study.train))
    traveller = types.Travel(model, jnp.asarray(outcome.mask))
    for cycle in range(config.train.cycles):
        traveller, _ = travel.cycle(program.steps, traveller, cycle)
    for one, two in zip(
        jax.tree.leaves(traveller.model.params), jax.tree.leaves(outcome.model.params), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def kept(config, study, folder, name):
    """Parameters of a checkpoint after the warm-up."""
    training.train(config, folder, study=study, progress=False)
    like = training.build_learner(config).init(jax.random.key(0), study.train.image[:1])
    return jax.tree.leaves(checkpoints.restore_model(folder / "checkpoints", name, like).params)


def test_a_fold_has_not_learned_from_its_own_centres(config, tmp_path):
    config.policy.screen.folds, config.train.warmup_cycles, config.train.cycles = 2, 1, 1
    study = preparation.prepare(config, tmp_path / "data", progress=False)
    own = trajectories.groups(study.train.centre, 2, 4)[study.train.centre] == 0
    label = np.where(own, 1 - study.train.label, study.train.label)
    other = study._replace(train=study.train._replace(label=label))
    for name, alike in (("fold0_0000", True), ("fold1_0000", False)):
        one, two = (kept(config, s, tmp_path / f"{name}{s is other}", name) for s in (study, other))
        assert all(map(np.array_equal, one, two)) == alike, name


def test_the_folds_asked_again_have_not_met_whom_the_first_ones_convict(config, tmp_path):
    config.policy.screen.folds, config.train.cycles = 4, config.train.warmup_cycles
    study = preparation.prepare(config, tmp_path / "data", progress=False)
    there = np.asarray(study.corrupted)
    image = np.where(there[:, None], 1.1 * study.train.image, study.train.image)
    other = study._replace(train=study.train._replace(image=image.astype(np.float32)))
    one, two = (kept(config, s, tmp_path / f"{s is other}", "refold0_0002") for s in (study, other))
    assert all(map(np.array_equal, one, two))
    outcome = training.train(config, tmp_path / "False", study=study, progress=False)
    assert np.array_equal(outcome.verdicts.eliminated, there)
    right = study._replace(
        train=study.train._replace(label=np.where(there, 1 - study.train.label, study.train.label))
    )
    training.train(config, tmp_path / "right", study=right, progress=False)
    assert list((tmp_path / "right" / "checkpoints").glob("fold0_*"))
    assert not list((tmp_path / "right" / "checkpoints").glob("refold*"))


def test_folds_go_on_until_they_know_enough_or_say_so(config, tmp_path, monkeypatch):
    config.policy.screen.folds, config.train.warmup_cycles, config.train.cycles = 2, 1, 4
    study = preparation.prepare(config, tmp_path, progress=False)

    def cycles(enough):
        monkeypatch.setattr(trajectories, "ENOUGH", enough)
        workdir = tmp_path / str(enough)
        training.train(config, workdir, study=study, progress=False)
        return [checkpoints.cycles(workdir / "checkpoints", f"fold{one}") for one in range(2)]

    with pytest.warns(UserWarning, match="a model knows little"):
        assert cycles(1e-9) == [[0], [0]]
    assert cycles(1e9) == [[3], [3]]


@pytest.mark.parametrize("shadow", [True, False])
def test_the_shadow_alone_learns_from_verification_scans(config, tmp_path, shadow):
    config.policy.screen.shadow, config.train.warmup_cycles, config.train.cycles = shadow, 1, 1
    study = preparation.prepare(config, tmp_path / "data", progress=False)
    own = study.verification
    other = study._replace(verification=own._replace(label=1 - own.label))
    one, two = (kept(config, s, tmp_path / f"{s is other}", "warmup_0000") for s in (study, other))
    assert all(map(np.array_equal, one, two)) != shadow


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"folds": 2}, "fold0_0000"), ({"folds": 2}, "fold1_0000"), ({"shadow": True}, "warmup_0000")],
)
def test_no_model_beside_meets_whom_a_person_drops(config, tmp_path, settings, name):
    """What a dropped scan shows and is called changes nothing; of another one it does."""
    config.train.warmup_cycles, config.train.cycles = 1, 1
    config.policy.screen.update(settings)
    study = preparation.prepare(config, tmp_path / "data", progress=False)
    split = "verification" if "shadow" in settings else "train"
    samples, dropped = getattr(study, split), np.arange(len(getattr(study, split).label)) % 9 == 0
    word = np.where(dropped, offers.DROP, offers.OPEN).astype(np.int8)
    study = study._replace(**{"word" if split == "train" else "held_out_word": word})

    def changed(who):
        image = np.where(who[:, None], 5.0, samples.image).astype(np.float32)
        label = np.where(who, 1 - samples.label, samples.label)
        return study._replace(**{split: samples._replace(image=image, label=label)})

    one, two, three = (
        kept(config, changed(who), tmp_path / str(i), name)
        for i, who in enumerate((word * 0 < 0, dropped, ~dropped))
    )
    assert all(map(np.array_equal, one, two)) and not all(map(np.array_equal, one, three))


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


def test_the_course_of_the_shadow_knows_the_folds(config, tmp_path):
    config.policy.screen.shadow = True
    study = preparation.prepare(config, tmp_path / "data", progress=False)
    run = phases.Run(config, tmp_path, study, *[None] * 5)
    found = trajectories.watch(run, None, lambda both, fold: (len(both.names), fold.tolist()))
    assert found.run.course == (280, trajectories.shadow_fold(study).tolist())
    assert found.run.is_shadow and found.keep.all() and found.beside == {"joined": 120}


def test_a_shadow_is_not_evaluated(config, tmp_path):
    config.policy.screen.shadow, config.train.keep_checkpoints = True, "all"
    training.train(config, tmp_path / "run", progress=False)
    for split in ("test", "verification"):
        rows = evaluation.evaluate(tmp_path / "run", split).rows
        assert {row[0] for row in rows} == {"delivery", "final"}


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


@pytest.mark.parametrize("calls", [2, 7, 10])
def test_a_killed_run_goes_on_with_its_folds_and_its_shadow(config, tmp_path, monkeypatch, calls):
    config.policy.screen.folds, config.policy.screen.shadow = 2, True
    config.train.warmup_cycles, config.train.cycles = 2, 4
    study = preparation.prepare(config, tmp_path / "whole", progress=False)
    whole = training.train(config, tmp_path / "whole", study=study, progress=False)
    with monkeypatch.context() as patch:
        test_training.killed_at(patch, (phases, "_write_cycle"), calls)
        with pytest.raises(test_training.Killed):
            training.train(config, tmp_path / "killed", study=study, progress=False)
    again = training.train(config, tmp_path / "killed", study=study, progress=False)
    assert np.array_equal(whole.verdicts.eliminated, again.verdicts.eliminated)
    for name in ("decisions", "harm", "delivered"):
        one, two = (tmp_path / run / f"{name}.csv" for run in ("whole", "killed"))
        assert one.read_bytes() == two.read_bytes(), name


def test_a_person_keeps_who_was_accused(config, tmp_path):
    config.policy.screen.folds = 4
    study = preparation.prepare(config, tmp_path / "run", progress=False)
    kept = np.flatnonzero(study.corrupted)[:3]
    word = study.word.copy()
    word[kept] = offers.KEEP
    outcome = training.train(
        config, tmp_path / "run", study=study._replace(word=word), progress=False
    )
    gone = outcome.verdicts.eliminated
    assert not gone[kept].any() and gone.sum() >= 37
    assert (np.asarray(outcome.mask)[kept] == 1).all()


@pytest.mark.parametrize(
    ("settings", "deliver", "warmup", "match"),
    [
        ({"folds": 1}, "retrain", None, "policy.screen.folds=1: expected 0, or"),
        ({"folds": -2}, "retrain", None, "policy.screen.folds=-2"),
        ({"shadow": True}, "last", None, "train.deliver='last' would deliver the shadow"),
        ({"folds": 2}, "retrain", "other", "warmup=other cannot be shared"),
        ({"shadow": True, "stream": True}, "retrain", None, "train.federation='stream'"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    config, tmp_path, settings, deliver, warmup, match
):
    if settings.pop("stream", False):
        config.train.federation = "stream"
    config.policy.screen.update(settings)
    config.train.deliver = deliver
    with pytest.raises(ValueError, match=match):
        training.train(config, tmp_path / "run", warmup=warmup, progress=False)
    assert not (tmp_path / "run" / "checkpoints").exists()
