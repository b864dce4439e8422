"""All federations decide alike: whole cycles of policies, and what they were asked."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import models, offers, policies, types
from harmjax.engine import itinerary, learner, travel
from harmjax.federations import loops
from harmjax.runs import course, programs
from tests.test_federations import (
    FACTORIES,
    HELD_OUT,
    KEY,
    STOP,
    TRAIN,
    M,
    N,
    close,
    make,
    meant,
)

PAIRS = [
    ("stepwise", "none", 2),
    ("stepwise", "verify_revisit", 3),
    ("stepwise", "screen", 2),
    ("stream", "none", 3),
    ("stream", "verify_revisit", 2),
    ("stream", "screen", 3),
    ("loopback", "none", 3),
    ("loopback", "verify_revisit", 3),
    ("loopback", "screen", 2),
]

EAGER = {"verify_revisit": {"threshold": 0.005}, "screen": {"alpha": 0.2}}


@functools.cache
def travelled(name, policy, num_classes, cycles=4):
    lrn, model, fed = make(name, num_classes, minimum=2)
    policy = policies.get(policy)(**EAGER.get(policy, {}))
    draw = functools.partial(itinerary.itinerary(TRAIN.centre), KEY)
    steps = travel.steps(fed, policy, draw)

    def one(traveller, cycle):
        return travel.cycle(steps, traveller, cycle)

    if name == "memory":
        one = jax.jit(one)
    state = policy.init(N, fed.total("confusion", model))
    traveller, records = types.Travel(model, state), []
    for cycle in range(cycles):
        traveller, record = one(traveller, cycle)
        records.append(jax.device_get(record))
    return traveller, records


def test_every_federation_meets_two_policies_and_both_numbers_of_classes():
    met = {name: set() for name in FACTORIES if name != "memory"}
    for name, *pair in PAIRS:
        met[name] |= set(pair)
    for pair in met.values():
        assert len(pair & set(policies.names())) >= 2 and {2, 3} <= pair


@pytest.mark.parametrize(("name", "policy", "num_classes"), PAIRS)
def test_every_federation_decides_alike(name, policy, num_classes):
    one, compiled = travelled("memory", policy, num_classes)
    two, asked = travelled(name, policy, num_classes)
    close(one.model, two.model, rtol=1e-5, atol=1e-6)
    for a, b in zip(compiled, asked, strict=True):
        assert (a.stops.ids == b.stops.ids).all() and (a.stops.weight == b.stops.weight).all()
        for x, y in ((a.info, b.info), (a.closing, b.closing)):
            assert (x.kind == y.kind).all() and (x.ids == y.ids).all()
            assert (x.accepted == y.accepted).all()
            assert (x.confusion == y.confusion).all() and (x.reference == y.reference).all()
            assert x.confusion.shape == (*x.kind.shape, num_classes, num_classes)
    kinds = np.concatenate([r.info.kind.ravel() for r in compiled])
    expected = {
        "none": {types.UNVERIFIED},
        "verify_revisit": {types.BATCH, types.SINGLE},
        "screen": {types.UNVERIFIED, types.SUSPICION},
    }
    assert expected[policy] <= set(kinds.tolist())


def test_python_control_flow_is_that_of_lax():
    xs = {"a": jnp.arange(4.0), "b": jnp.arange(4)}

    def body(carry, x):
        return carry + x["a"], (carry, x["b"] * 2)

    close(loops.scan(body, 1.0, xs), jax.lax.scan(body, 1.0, xs))
    assert loops.cond(jnp.bool_(True), lambda x: x + 1, lambda x: x, 2) == 3
    assert loops.cond(jnp.bool_(False), lambda x: x + 1, lambda x: x, 2) == 2


@pytest.mark.parametrize("name", FACTORIES)
def test_an_update_that_is_not_finite_is_turned_down_where_it_arrives(name):
    """The loss before the update is finite; the model that comes back is not."""

    def rate(cycle):
        return jnp.where(cycle == 3, jnp.inf, 0.05)

    lrn = learner.learner(models.get("mlp")(hidden=(5,)), rate)
    fed = FACTORIES[name](lrn, TRAIN, HELD_OUT, KEY)
    model = lrn.init(jax.random.key(0), TRAIN.image[:1])
    after, loss = fed.learn(model, offers.leg(STOP))
    assert jnp.isnan(loss)
    close(after, model, rtol=0)
    after, loss = fed.learn(model, offers.leg(STOP._replace(cycle=jnp.int32(2))))
    assert jnp.isfinite(loss)
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (after, model)), strict=True))


@pytest.mark.parametrize("policy", ["none", "verify_revisit", "screen"])
def test_no_policy_takes_up_a_model_that_is_not_finite(policy):
    """Even where all verification scans are called healthy, which NaN would look like."""
    lrn = learner.learner(models.get("mlp")(hidden=(5,)), lambda cycle: jnp.float32(jnp.inf))
    train = TRAIN._replace(image=1e-3 * TRAIN.image)
    fed = FACTORIES["memory"](lrn, train, HELD_OUT, KEY)
    model = lrn.init(jax.random.key(0), TRAIN.image[:1])
    bias = jax.tree.map(lambda x: x - 100.0 * (x.shape == (1,)), model.params)
    model = model._replace(params=bias)
    confusion = fed.total("confusion", model)
    assert confusion[:, 1].tolist() == [0, 0]
    policy = policies.get(policy)()
    draw = functools.partial(itinerary.itinerary(TRAIN.centre), KEY)
    steps = travel.steps(fed, policy, draw)
    start = types.Travel(model, policy.init(N, confusion))
    after, record = jax.jit(lambda traveller: travel.cycle(steps, traveller, 0))(start)
    info = record.info
    close(after.model, model, rtol=0)
    tried = np.isin(info.kind, (types.BATCH, types.UNVERIFIED))
    assert tried.any() and np.isnan(np.asarray(info.loss)[tried]).all()


@pytest.mark.parametrize("policy", ["none", "verify_revisit", "screen"])
def test_what_is_asked_is_counted_alike_in_loops_branches_and_messages(policy):
    """Against a plain count of the messages of the federation that sends one after another."""
    make_policy = policies.get(policy)
    revisited = {"threshold": 0.005, "revisit_after": 1}
    policy = make_policy(**revisited) if policy == "verify_revisit" else make_policy()
    counted, sent = {}, collections.Counter()
    lrn, model, _ = make("memory")

    def spied(*given, **options):
        return _spied(course.FEDERATIONS["stepwise"](*given, **options), sent)

    for name, federation in (("memory", "memory"), ("stepwise", spied)):
        way = course.course(TRAIN.centre, KEY, federation=federation, minimum=2)
        program = programs.program(lrn, policy, TRAIN, HELD_OUT, way, stops_per_call=3)
        traveller = types.Travel(model, policy.init(N, program.confusion(model)))
        sent.clear()  # what started the state is not of a cycle
        counted[name] = []
        for cycle in range(2):
            traveller, _ = travel.cycle(program.steps, traveller, cycle)
            counted[name].append(program.asked())
    assert counted["memory"] == counted["stepwise"]
    total = collections.Counter()
    for request, asked in (item for cycle in counted["stepwise"] for item in cycle.items()):
        total[request.name, "times"] += asked.times
        total[request.name, "samples"] += asked.samples
    assert {k: n for k, n in total.items() if n} == {k: n for k, n in sent.items() if n}
    assert total["learn", "times"] > 0


def _spied(fed, sent):
    """The federation, whose messages are counted one by one in plain Python."""

    def of_leg(name, answer, leg):
        sent[name, "times"] += 1
        sent[name, "samples"] += int((np.asarray(leg.ids) < N).sum())
        return answer

    def total(statistic, *asked, fold=None):
        sent[statistic, "times"] += 1
        sent[statistic, "samples"] += int(meant(fold, 0 if statistic == "confusion" else 2).sum())
        return fed.total(statistic, *asked, fold=fold)

    def survey(*asked):
        sent["survey", "times"] += 1
        sent["survey", "samples"] += M
        return fed.survey(*asked)

    return fed._replace(
        learn=lambda model, leg: of_leg("learn", fed.learn(model, leg), leg),
        at=lambda m, model, leg, *rest: of_leg("at", fed.at(m, model, leg, *rest), leg),
        total=total,
        survey=survey,
    )
