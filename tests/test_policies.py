"""Contracts of every policy in the folder, for two classes and for three."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import offers, policies, task, types
from harmjax.engine import itinerary, travel
from harmjax.federations import memory
from harmjax.runs import logbook
from tests import classes

N, M, CYCLES = 40, 60, 4
KEY = jax.random.key(7)
SETTINGS = {
    "oracle": {"corrupted": np.arange(N) % 9 == 0},
    "screen": {"alpha": 0.2},
    "verify_revisit": {"threshold": 0.02, "revisit_after": 1},
}
EVERY = [(name, num_classes) for name in policies.names() for num_classes in (2, 3)]


@functools.cache
def travelled(name, num_classes):
    """A few cycles: (federation, policy, [Travel] before and after each, records, traces)."""
    train, held_out = classes.samples(N, 0, num_classes), classes.samples(M, 1, num_classes)
    train.label[::9] = (train.label[::9] + 1) % num_classes
    lrn = classes.perceptron(num_classes, rate=0.1)
    fed = memory.memory(lrn, train, held_out, KEY)
    policy = policies.get(name)(**SETTINGS.get(name, {}))
    draw, traces = functools.partial(itinerary.itinerary(train.centre), KEY), []
    steps = travel.steps(fed, policy, draw)

    @jax.jit
    def one(traveller, cycle):
        traces.append(1)
        return travel.cycle(steps, traveller, cycle)

    model = lrn.init(jax.random.key(0), train.image[:1])
    baseline = jax.device_get(fed.total("confusion", model))
    there, records = [types.Travel(model, policy.init(N, baseline))], []
    for cycle in range(CYCLES):
        after, record = one(there[-1], cycle)
        there.append(after)
        records.append(jax.device_get(record))
    return fed, policy, there, records, traces


@pytest.mark.parametrize(("name", "num_classes"), EVERY)
def test_a_cycle_compiles_once_and_keeps_the_form_of_what_travels(name, num_classes):
    _, policy, there, records, traces = travelled(name, num_classes)
    assert len(traces) == 1
    forms = [jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), t) for t in there]
    assert all(form == forms[0] for form in forms)
    mask = np.asarray(policy.offer(there[-1].state, CYCLES).weight)
    assert mask.shape == (N,) and ((mask >= 0) & (mask <= 1)).all()
    verdicts = policy.verdicts(there[-1].state, CYCLES)
    for found in (verdicts.harm, verdicts.pending, verdicts.eliminated, verdicts.cycle):
        assert found.shape == (N,)
    out = np.asarray(verdicts.eliminated | verdicts.pending)
    assert not mask[out].any() and (mask[~out] > 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(there[-1].model))
    if name not in policies.UNVERIFYING:
        assert out.any() and not out.all()


@pytest.mark.parametrize(("name", "num_classes"), EVERY)
def test_what_is_set_aside_is_not_learned_from(name, num_classes):
    _, policy, there, records, _ = travelled(name, num_classes)
    learning = (types.UNVERIFIED, types.BATCH, types.SINGLE, types.COPIED)
    for cycle, (stops, info, *_) in enumerate(records):
        offer = policy.offer(there[cycle].state, cycle)
        out = np.asarray(offer.weight) == 0
        met = info.ids[np.isin(info.kind, learning)]
        assert not out[met[met < N]].any()
        visited = np.sort(stops.ids[stops.ids < N])
        assert visited.tolist() == np.flatnonzero(offer.met).tolist()


@pytest.mark.parametrize(("name", "num_classes"), EVERY)
def test_the_trail_has_the_confusion_of_all_classes(name, num_classes):
    fed, policy, there, records, _ = travelled(name, num_classes)
    held_out = task.totals(np.asarray(fed.total("confusion", there[0].model)))
    header = logbook.decision_columns(classes.NAMES[num_classes])
    names, centres = [f"p{i}" for i in range(N)], "ABCDE"
    for cycle, (stops, info, closing, _) in enumerate(records):
        for part in (info, closing):
            compared = np.isin(part.kind, (*types.COMPARED, *types.JUDGED))
            for confusion in (part.confusion, part.reference):
                assert confusion.shape == (*part.kind.shape, num_classes, num_classes)
                assert confusion.dtype == np.int32
                assert (task.totals(confusion[compared]) == held_out).all()
                assert not confusion[part.kind == types.NO_TRIAL].any() or name == "screen"
        rows = logbook.decision_rows(cycle, stops, info, closing, names, centres, fed.centre)
        assert all(len(row) == len(header) for row in rows)
        assert bool(rows) or name in policies.UNVERIFYING


@pytest.mark.parametrize("name", policies.names())
def test_an_empty_stop_changes_nothing(name):
    fed, policy, there, _, _ = travelled(name, 3)
    nobody = jnp.full(5, N, jnp.int32)
    empty = offers.leg(types.Stop(jnp.int32(CYCLES), jnp.int32(1), nobody, jnp.zeros(5)))

    @jax.jit
    def visit(traveller):
        if policy.open is not None:
            traveller = policy.open(fed, traveller, CYCLES)
        return traveller, *policy.visit(fed, traveller, empty)

    before, after, info = visit(there[-1])
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(x, y)
    assert not np.asarray(info.kind).any() and (np.asarray(info.ids) == N).all()


def test_every_policy_is_tried():
    assert {name for name, _ in EVERY} == set(policies.names())
    assert {"none", "oracle", "screen", "verify_revisit"} <= set(policies.names())
    assert types.NO_TRIAL == 0
