"""Who takes part in a cycle: what a policy offers, with a person's word above it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import offers, policies, types
from harmjax.engine import itinerary, travel
from harmjax.federations import loops, memory
from tests import classes

KEEP, OPEN, DROP = offers.KEEP, offers.OPEN, offers.DROP
N, CYCLES = 40, 4
KEY = jax.random.key(7)
CORRUPTED = np.arange(N) % 9 == 0
SETTINGS = {
    "oracle": {"corrupted": CORRUPTED},
    "screen": {"alpha": 0.2, "examine_every": 1},
    "verify_revisit": {"threshold": 0.02, "revisit_after": 1},
}


def test_every_case_by_hand():
    """Of each weight: kept, open, dropped; and met without being trained on."""
    weight = jnp.repeat(jnp.array([0.0, 0.25, 1.0]), 3)
    word = np.tile([KEEP, OPEN, DROP], 3)
    found = offers.offer(weight, word=word)
    assert found.weight.tolist() == [1, 0, 0, 1, 0.25, 0, 1, 1, 0]
    assert found.met.tolist() == [True, False, False, True, True, False, True, True, False]
    looked_at = offers.offer(weight, jnp.ones(9, bool), word)
    assert looked_at.weight.tolist() == found.weight.tolist()
    assert looked_at.met.tolist() == (word != DROP).tolist()
    alone = offers.offer(weight)
    assert alone.weight.tolist() == weight.tolist() and alone.met.tolist() == (weight > 0).tolist()
    assert offers.offer(weight > 0).weight.dtype == jnp.float32


def offered_by_hand(weight, met, word):
    """(met, weight) of one sample."""
    if word == DROP:
        return False, 0.0
    return (True, 1.0) if word == KEEP else (met, weight)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 1, width=32), st.booleans(), st.sampled_from([KEEP, OPEN, DROP])),
        min_size=1,
        max_size=12,
    )
)
def test_a_persons_word_stands_above_any_policys(rows):
    weight, met, word = (np.array(column) for column in zip(*rows, strict=True))
    found = offers.offer(jnp.asarray(weight, jnp.float32), jnp.asarray(met), word.astype(np.int8))
    expected = [offered_by_hand(*row) for row in rows]
    assert list(zip(found.met.tolist(), found.weight.tolist(), strict=True)) == expected


def test_nobody_who_is_kept_is_under_a_verdict():
    both = types.Verdicts(np.zeros(3), jnp.ones(3, bool), jnp.ones(3, bool), np.zeros(3, int))
    found = offers.told(both, np.array([KEEP, OPEN, DROP], np.int8))
    assert found.pending.tolist() == found.eliminated.tolist() == [False, True, True]
    assert offers.told(both) is both


def test_slots_that_are_emptied_have_no_sample_and_no_weight():
    stop = types.Stop(jnp.int32(2), jnp.int32(1), jnp.array([4, 0, 9]), jnp.array([1.0, 0.5, 0.0]))
    found = offers.empty(stop, jnp.array([False, True, False]), 9)
    assert found.ids.tolist() == [4, 9, 9] and found.weight.tolist() == [1, 0, 0]
    assert (int(found.cycle), int(found.centre)) == (2, 1)


def test_a_sample_alone_is_a_leg_at_its_own_centre():
    train = classes.samples(6, 0, 2)._replace(centre=np.array([0, 0, 1, 1, 2, 2], np.int32))
    fed = memory.memory(classes.perceptron(2), train, train, KEY)
    found = offers.alone(fed, 3, 4)
    assert [x.tolist() for x in found] == [[3], [2], [[4]], [[1.0]]]
    assert offers.alone(fed, 3, 6).weight.tolist() == [[0.0]]


@functools.cache
def world(num_classes=3):
    """(learner, train, held out), a tenth of whose labels are wrong."""
    train, held_out = classes.samples(N, 0, num_classes), classes.samples(60, 1, num_classes)
    train.label[CORRUPTED] = (train.label[CORRUPTED] + 1) % num_classes
    return classes.perceptron(num_classes, rate=0.1), train, held_out


@functools.cache
def cycle_of(name):
    """A compiled `(Travel, cycle, word) -> (Travel, Record)` of one policy, and its start."""
    lrn, train, held_out = world()
    fed = memory.memory(lrn, train, held_out, KEY)
    draw = functools.partial(itinerary.itinerary(train.centre), KEY)

    def policy(word):
        return policies.get(name)(word=word, **SETTINGS.get(name, {}))

    @jax.jit
    def one(traveller, cycle, word):
        return travel.cycle(travel.steps(fed, policy(word), draw), traveller, cycle)

    model = lrn.init(jax.random.key(0), train.image[:1])
    baseline = jax.device_get(fed.total("confusion", model))
    return policy, one, types.Travel(model, policy(None).init(N, baseline))


@pytest.mark.parametrize("name", policies.names())
@settings(deadline=None, max_examples=8)
@given(st.lists(st.sampled_from([KEEP, OPEN, OPEN, DROP]), min_size=N, max_size=N))
def test_in_a_whole_run_who_is_dropped_is_never_met_and_who_is_kept_is_always_trained_on(
    name, said
):
    word = np.array(said, np.int8)
    kept, dropped = np.flatnonzero(word == KEEP), np.flatnonzero(word == DROP)
    policy, one, traveller = cycle_of(name)
    for cycle in range(CYCLES):
        offer = policy(word).offer(traveller.state, cycle)
        traveller, record = one(traveller, cycle, word)
        ids, weight = np.asarray(record.stops.ids), np.asarray(record.stops.weight)
        assert np.sort(ids[ids < N]).tolist() == np.flatnonzero(offer.met).tolist()
        assert set(kept) <= set(ids[weight == 1]) and not weight[ids == N].any()
        tried = {i for info in record[1:3] for i in np.asarray(info.ids).ravel()}
        assert not tried & set(dropped) and not set(ids.ravel()) & set(dropped)
        learned = np.isin(record.info.kind, (types.UNVERIFIED, types.BATCH))
        assert set(kept) <= set(np.asarray(record.info.ids)[learned].ravel())
    offer, verdicts = (
        asked(traveller.state, CYCLES) for asked in (policy(word).offer, policy(word).verdicts)
    )
    assert (np.asarray(offer.weight)[kept] == 1).all() and np.asarray(offer.met)[kept].all()
    assert not np.asarray(offer.met)[dropped].any() and not np.asarray(offer.weight)[dropped].any()
    assert not np.asarray(verdicts.pending | verdicts.eliminated)[kept].any()


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("name", policies.names())
def test_a_leg_of_many_stops_gives_what_as_many_legs_of_one_give(name, num_classes):
    """A whole cycle by legs, among them stops that are empty and slots that are."""
    lrn, train, held_out = world(num_classes)
    fed = memory.memory(lrn, train, held_out, KEY)
    policy = policies.get(name)(**SETTINGS.get(name, {}))
    draw = functools.partial(itinerary.itinerary(train.centre, batch_size=3), KEY)
    model = lrn.init(jax.random.key(0), train.image[:1])
    start = types.Travel(model, policy.init(N, jax.device_get(fed.total("confusion", model))))

    @jax.jit
    def opened(traveller):
        return policy.open(fed, traveller, 0) if policy.open is not None else traveller

    def of_policy(stops):
        return jax.jit(lambda traveller: travel.in_turn(fed, policy, traveller, stops))

    missing = types.Offer(jnp.arange(N) % 5 > 0, jnp.where(jnp.arange(N) % 7 == 1, 0.5, 1.0))
    stops = jax.device_get(draw(missing._replace(met=missing.met.at[:9].set(False)), 0))
    assert (stops.ids == N).all(axis=1).any() and (stops.ids == N).any(axis=1).sum() > 3
    one, of_one = of_policy(stops)(opened(start))
    visit = jax.jit(lambda traveller, leg: policy.visit(fed, traveller, leg))
    by_leg = fed._replace(by_leg=True, scan=loops.scan, cond=loops.cond)
    legs, _ = travel.in_legs(by_leg, stops)
    assert legs.ids.shape[0] == 5 and legs.ids.shape[1] > 2
    asked = policy._replace(visit=lambda fed, traveller, leg: visit(traveller, leg))
    many, of_many = travel.in_turn(by_leg, asked, opened(start), stops)
    for x, y in zip(jax.tree.leaves((one, of_one)), jax.tree.leaves((many, of_many)), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)
    trained = np.isin(of_many.kind, (types.UNVERIFIED, types.BATCH)).any(axis=1)
    assert trained.sum() > 5
