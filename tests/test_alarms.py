"""The alarms of `screen`: what it cannot judge, and that missing evidence releases no brake."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harmjax import models, policies, types
from harmjax.engine import learner, travel
from harmjax.federations import memory
from harmjax.policies import evidence, suspicion
from harmjax.runs import training
from tests.screening import (
    KEY,
    alike,
    drawn,
    federation,
    perceptron,
    planted,
    run,
    samples,
)


@pytest.mark.parametrize(
    "train, held_out, alarm",
    [
        (samples(0), samples(1), []),
        (planted(samples(0), np.arange(120)), samples(1), [suspicion.MOST]),
        (samples(0, 60), planted(samples(1, 60), np.arange(0, 480, 12)), [suspicion.CONTAMINATED]),
        (samples(0), planted(samples(1), [5], image=np.nan), [suspicion.BLIND]),
        (samples(0, 30, 3), samples(1, 30, 3), []),
        (planted(samples(0, 30, 3), np.arange(180)), samples(1, 30, 3), [suspicion.MOST]),
    ],
)
def test_it_says_what_it_cannot_judge(train, held_out, alarm):
    settings = {"num_classes": int(held_out.label.max()) + 1}
    policy, traveller, _ = run(train, held_out, cycles=2, **settings)
    verdicts = policy.verdicts(traveller.state, 2)
    assert np.flatnonzero(verdicts.alarms).tolist() == alarm
    if suspicion.MOST in alarm:
        assert not verdicts.eliminated.any()


LEARNER = learner.learner(models.get("mlp")(hidden=(8,)), lambda cycle: 0.02)


@pytest.fixture(scope="module")
def trained_on():
    """`(train, held out, model, cycles) -> (policy, state, records)`, and a model that knows it."""
    train, held_out = mixed(0), mixed(1)
    families = ("margin", "appearance", "alignment")
    policy = policies.get("screen")(families=families)
    alone = policies.get("screen")(families=families, centres=False)
    draw = drawn(train)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def one(policy, changed, data, traveller, cycle):
        fed = changed(federation(LEARNER, data, held_out.centre), cycle)
        return travel.cycle(travel.steps(fed, policy, draw), traveller, cycle)

    start = LEARNER.init(jax.random.key(0), train.image[:1])
    traveller = types.Travel(start, policies.get("none")().init(len(train.label), None))
    plain = policies.get("none")()
    for cycle in range(2):
        traveller, _ = one(plain, unchanged, (mixed(2), held_out), traveller, cycle)

    def run(train, held_out, model, cycles=2, changed=unchanged, alarms=(0, 0, 0), policy=policy):
        state = policy.init(len(train.label), alike(held_out))
        after = types.Travel(model, state._replace(alarms=jnp.array(alarms, bool)))
        records = []
        for cycle in range(cycles):
            after, record = one(policy, changed, (train, held_out), after, cycle)
            records.append(jax.device_get(record))
        return policy, after.state, records

    run.alone = alone
    return run, traveller.model


def unchanged(fed, cycle):
    del cycle
    return fed


def mixed(seed):
    """Samples of both classes in either fold of every centre, 60 at each."""
    found = samples(seed, 60)
    label = (np.arange(len(found.label)) // 2 % 2).astype(np.int32)
    image = found.image.copy()
    image[:, 0] += 6 * (label - found.label)
    return found._replace(image=image, label=label)


@pytest.mark.parametrize("on", list(itertools.product((False, True), repeat=3)))
def test_alarms_are_independent_and_most_stops_everything(trained_on, on):
    """Three of four labels wrong; outliers among the verification scans; no alignment at all."""
    (run, model), train, held_out = trained_on, mixed(0), mixed(1)
    expected = np.zeros(3, bool)
    expected[[suspicion.MOST, suspicion.CONTAMINATED, suspicion.BLIND]] = on
    if expected[suspicion.MOST]:
        train = planted(train, [], flipped=np.flatnonzero(np.arange(480) % 4 > 0))
    if expected[suspicion.CONTAMINATED]:
        image = held_out.image.copy()
        signs = np.random.default_rng(3).choice([-1, 1], image[::11, 1:].shape)
        image[::11, 1:] += 30 * signs
        held_out = held_out._replace(image=image)
    if expected[suspicion.BLIND]:  # an optimiser that has overflowed gives no direction
        lost = jax.tree.map(lambda x: x * jnp.nan, optax.tree_utils.tree_get(model.opt_state, "nu"))
        model = model._replace(opt_state=optax.tree_utils.tree_set(model.opt_state, nu=lost))
    policy, state, _ = run(train, held_out, model)
    verdicts = policy.verdicts(state, 2)
    assert np.asarray(verdicts.alarms).tolist() == expected.tolist()
    if expected[suspicion.MOST]:
        assert not verdicts.eliminated.any()
    texts = training.alarms(verdicts)
    assert texts == [text for text, shown in zip(suspicion.ALARMS, expected, strict=True) if shown]


def test_a_brake_that_was_on_stays_on(trained_on):
    (run, model), train, held_out = trained_on, planted(mixed(0), [3, 44, 101]), mixed(1)
    free = run(train, held_out, model)[1]
    assert np.asarray(free.eliminated)[[3, 44, 101]].all() and not free.alarms.any()
    state = run(train, held_out, model, alarms=(1, 0, 0))[1]
    assert not state.eliminated.any() and state.alarms[suspicion.MOST]


def without_even_ones(fed, cycle):
    del cycle
    return lost(fed, lambda leg: leg.ids % 2 == 0)


def lost(fed, where):
    """The federation whose evidence about some samples at stops is not a number."""

    def at(measure, model, leg, reference):
        found = fed.at(measure, model, leg, reference)
        return found | {"harm": jnp.where(where(leg)[..., None], jnp.nan, found["harm"])}

    return fed._replace(at=at)


def test_evidence_that_is_missing_releases_no_brake(trained_on):
    """Of four harmful samples in five two are not known: less than half look harmful."""
    (run, model), held_out = trained_on, mixed(1)
    train = planted(mixed(0), np.flatnonzero(np.arange(480) % 5 > 0))
    settings = {"changed": without_even_ones, "policy": run.alone}  # no centre is convicted
    policy, state, _ = run(train, held_out, model, **settings)
    assert (np.asarray(state.p_value) <= 0.05).mean() < 0.45
    verdicts = policy.verdicts(state, 2)
    assert verdicts.alarms[suspicion.MOST] and not verdicts.eliminated.any()
    unknown = np.arange(480) % 2 == 0
    assert (np.asarray(state.p_value)[unknown] == 1).all()
    assert np.isnan(np.asarray(verdicts.harm)).tolist() == unknown.tolist()
    assert np.isnan(np.asarray(verdicts.evidence["margin"])).tolist() == unknown.tolist()


def spoiled_at_first(fed, cycle):
    """Sample 3 and verification scan 7 are not numbers in cycle 0."""

    def survey(measure, model, reference):
        found = fed.survey(measure, model, reference)
        gone = (cycle == 0) & (jnp.arange(480) == 7)
        return found | {"harm": jnp.where(gone[:, None], jnp.nan, found["harm"])}

    spoiled = lost(fed, lambda leg: (leg.cycle[:, None] == 0) & (leg.ids == 3))
    return spoiled._replace(survey=survey)


def test_what_is_missing_at_one_visit_blinds_no_family_for_the_rest(trained_on):
    (run, model), train, held_out = trained_on, mixed(0), mixed(1)
    first = run(train, held_out, model, 1)[1]
    second = run(train, held_out, model, 2)[1]
    state = run(train, held_out, model, 2, changed=spoiled_at_first)[1]
    both = np.asarray(second.known)[0]  # weights of the two cycles, by family
    last = both - np.asarray(first.known)[0]
    assert (both > last).all() and (np.asarray(state.visits) == 2).all()
    for known, gone in ((state.known, 3), (state.held_out_known, 7)):
        np.testing.assert_allclose(np.asarray(known)[gone], last, rtol=1e-3)
        others = np.delete(np.asarray(known), gone, 0)
        np.testing.assert_allclose(others, np.broadcast_to(both, others.shape), rtol=1e-3)
    np.testing.assert_allclose(
        state.evidence[3], second.evidence[3] - first.evidence[3], rtol=1e-3, atol=1e-4
    )
    assert np.isfinite(state.held_out_evidence).all() and not state.alarms.any()
    np.testing.assert_allclose(state.p_value, second.p_value, rtol=0.2, atol=0.02)


@pytest.mark.parametrize("lost", [0, 1, 2, None])
def test_one_of_three_classes_without_a_family_blinds_it(lost):
    """And the evidence of that class alone is not known; the others' goes on."""
    train, held_out = samples(0, 30, 3), samples(1, 30, 3)
    fed = memory.memory(perceptron(3), train, held_out, KEY)
    model = perceptron(3).init(jax.random.key(0), held_out.image[:1])

    def survey(measure, model, reference):
        found = fed.survey(measure, model, reference)
        gone = (found["label"] == (-1 if lost is None else lost))[:, None]
        return found | {"harm": jnp.where(gone & (jnp.arange(2) == 1), jnp.nan, found["harm"])}

    asked = evidence.families(("margin", "appearance"))
    before = jnp.zeros((240, 2)), jnp.zeros((240, 2))
    made, *_ = evidence.calibrate(asked, fed._replace(survey=survey), model, 0, 0, *before)
    number = np.bincount(held_out.label)
    known = np.where(np.arange(3) == lost, 0, number)
    assert made.families.number.tolist() == [number.tolist(), known.tolist()]
    assert made.fused.number.tolist() == number.tolist()
    assert bool(made.blind) == (lost is not None)
    assert np.isnan(np.asarray(made.middle)).tolist() == [[False, c == lost] for c in range(3)]
    assert evidence.measurable(made.families).tolist() == [[True, c != lost] for c in range(3)]


@pytest.mark.parametrize("kept, blind", [(1, False), (0, True)])
def test_scans_that_lack_a_family_do_not_calibrate_the_fused_evidence(trained_on, kept, blind):
    """Else what they lack would make all others look worse; unless all of them lack it."""
    model, held_out = trained_on[1], mixed(1)
    fed = memory.memory(LEARNER, mixed(0), held_out, KEY)
    known = np.arange(480) // 4 % 8 < kept

    def survey(measure, model, reference):
        found = fed.survey(measure, model, reference)
        gone = ~known[:, None] & (jnp.arange(2) == 1)
        return found | {"harm": jnp.where(gone, jnp.inf, found["harm"])}

    asked = evidence.families(("margin", "appearance"))
    before = jnp.zeros((480, 2)), jnp.zeros((480, 2))
    made, _, weight = evidence.calibrate(asked, fed._replace(survey=survey), model, 0, 0, *before)
    of_class = [int((known & (held_out.label == c)).sum()) for c in range(2)]
    assert (weight > 0).sum(axis=0).tolist() == [480, sum(of_class)]
    assert made.families.number.tolist() == [[240, 240], of_class]
    assert made.fused.number.tolist() == ([240, 240] if blind else of_class)
    assert bool(made.blind) == blind
    assert np.isnan(np.asarray(made.middle)[:, 1]).all() == blind


def test_what_convicted_a_sample_is_logged(trained_on):
    """The level of the first examination is alpha / 2, for each alone and for its centre."""
    (run, model), train = trained_on, mixed(0)
    image = train.image.copy()
    image[train.centre == 2, 1:] *= 2.2
    policy, state, records = run(train._replace(image=image), mixed(1), model)
    closing, set_aside = records[1].closing, records[0].info
    gone = np.isin(closing.kind, (types.EXAMINATION, types.CENTRE)) & ~closing.accepted
    assert closing.ids[gone, 0].tolist() == np.flatnonzero(state.eliminated).tolist()
    due = np.isin(closing.ids[:, 0], set_aside.ids[set_aside.kind == types.SUSPICION])
    alone = due & (closing.p_value <= 0.005)
    assert ((closing.kind == types.EXAMINATION) == alone)[gone].all()
    between = gone & (closing.p_value > 0.005) & (closing.p_value <= 0.01)
    assert between.any() and alone.any() and (gone & (closing.p_value > 0.01)).any()
