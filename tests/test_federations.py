"""Contracts that every federation keeps: the same requests get the same answers."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import itinerary, learner, models, policies, programs, task, travel, types
from harmjax.federations import control
from harmjax.policies import verify_revisit
from tests import classes

N, M, F = 23, 37, 4


def samples(size, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(size, F)).astype(np.float32)
    return types.Samples(
        image=image,
        label=(image[:, 0] > 0).astype(np.int32),
        centre=np.sort(rng.integers(0, 5, size)).astype(np.int32),
        identity=np.arange(size, dtype=np.uint32) + 1000,
    )


TRAIN, HELD_OUT, KEY = samples(N, 0), samples(M, 1), jax.random.key(7)


def of_classes(some, num_classes):
    """The samples, told apart as one of some classes: of two by sign, of three by thirds."""
    if num_classes == 2:
        return some
    return some._replace(label=np.digitize(some.image[:, 0], (-0.4, 0.4)).astype(np.int32))


def make(name, num_classes=2, **options):
    classifier = models.get("mlp")(hidden=(5,), dropout=0.3, classes=num_classes)
    lrn = learner.learner(classifier, lambda cycle: 0.05, task=task.classification(num_classes))
    train, held_out = (of_classes(some, num_classes) for some in (TRAIN, HELD_OUT))
    fed = programs.FEDERATIONS[name](lrn, train, held_out, KEY, **options)
    return lrn, lrn.init(jax.random.key(0), TRAIN.image[:1]), fed


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


STOP = types.Stop(jnp.int32(3), jnp.int32(1), jnp.array([4, 9, 22, N, N], jnp.int32))


@pytest.mark.parametrize("name", programs.FEDERATIONS)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_learning_equals_a_step_on_those_samples(name, num_classes):
    lrn, model, fed = make(name, num_classes)
    weight = jnp.array([1.0, 0.5, 1.0, 1.0, 1.0])
    found, loss = fed.learn(model, STOP, weight)
    ids = np.array([4, 9, 22])
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, 3), TRAIN.identity[i]) for i in ids]
    label = jnp.asarray(of_classes(TRAIN, num_classes).label[ids])
    batch = types.Batch(TRAIN.image[ids], label, jnp.stack(keys))
    expected, expected_loss = lrn.learn(model, batch, weight[:3], jnp.ones(3, bool), 3)
    close((found, loss), (expected, expected_loss), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", programs.FEDERATIONS)
@pytest.mark.parametrize("chunk", [5, 64])
def test_confusion_is_that_of_every_verification_scan(name, chunk):
    lrn, model, fed = make(name, chunk=chunk)
    positive = np.asarray(lrn.logits(model, HELD_OUT.image))[:, 1] > 0
    diseased = HELD_OUT.label == 1
    (tn, fp), (fn, tp) = fed.total("confusion", model).tolist()
    assert tp == (positive & diseased).sum() > 0
    assert fp == (positive & ~diseased).sum()
    assert tn == (~positive & ~diseased).sum() > 0
    assert fn == (~positive & diseased).sum()


@pytest.mark.parametrize("name", programs.FEDERATIONS)
def test_what_is_summed_of_three_classes_is_summed_by_class(name):
    lrn, model, fed = make(name, 3, chunk=5)
    held_out = of_classes(HELD_OUT, 3)
    logits = np.asarray(lrn.logits(model, held_out.image), float)
    found = fed.total("confusion", model)
    assert found.dtype == jnp.int32 and fed.num_classes == 3
    assert found.tolist() == classes.confused(held_out.label, logits.argmax(1), 3)
    among = np.arange(M) % 2 == 0
    half = fed.total("confusion", model, among=jnp.asarray(among))
    assert half.tolist() == classes.confused(held_out.label[among], logits[among].argmax(1), 3)
    asked = (np.bincount(held_out.centre) >= 5)[held_out.centre]
    own = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    own = own[np.arange(M), held_out.label]
    total, number = fed.total("loss", model)
    np.testing.assert_allclose(total, -np.log(own)[asked].sum(), rtol=1e-5)
    total, number = fed.total("error", model)
    np.testing.assert_allclose(total, (1 - own)[asked].sum(), rtol=1e-5)
    assert number == asked.sum()
    features = np.asarray(lrn.features(model, held_out.image), float)
    sizes, sums, second = fed.total("feature_moments", model)
    of_class = [asked & (held_out.label == k) for k in range(3)]
    assert sizes.tolist() == [own.sum() for own in of_class]
    np.testing.assert_allclose(sums, [features[o].sum(0) for o in of_class], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second, features[asked].T @ features[asked], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", programs.FEDERATIONS)
def test_small_centres_answer_their_confusion_only(name):
    sizes = np.bincount(HELD_OUT.centre)
    minimum = int(np.sort(sizes)[2])
    lrn, model, fed = make(name, minimum=minimum)
    asked = (sizes >= minimum)[HELD_OUT.centre]
    assert 0 < asked.sum() < M
    total, number = fed.total("loss", model)
    logit = np.asarray(lrn.logits(model, HELD_OUT.image))[:, 1]
    each = np.logaddexp(0, np.where(HELD_OUT.label == 1, -logit, logit))
    assert number == asked.sum()
    np.testing.assert_allclose(total, each[asked].sum(), rtol=1e-5)
    assert fed.total("confusion", model).sum() == M


def travelled(name, policy, num_classes, cycles=4):
    lrn, model, fed = make(name, num_classes)
    draw = itinerary.itinerary(TRAIN.centre)

    def one(traveller, cycle):
        return travel.cycle(fed, policy, draw, traveller, KEY, cycle)

    if name == "memory":
        one = jax.jit(one)
    state = policy.init(N, fed.total("confusion", model))
    traveller, records = types.Travel(model, state), []
    for cycle in range(cycles):
        traveller, record = one(traveller, cycle)
        records.append(jax.device_get(record))
    return traveller, records


PAIRS = [
    ("stepwise", "none", 2),
    ("stepwise", "verify_revisit", 3),
    ("stepwise", "screen", 2),
    ("stream", "none", 3),
    ("stream", "verify_revisit", 2),
    ("stream", "screen", 3),
]


def test_every_federation_meets_two_policies_and_both_numbers_of_classes():
    met = {name: set() for name in programs.FEDERATIONS if name != "memory"}
    for name, *pair in PAIRS:
        met[name] |= set(pair)
    for pair in met.values():
        assert len(pair & set(policies.names())) >= 2 and {2, 3} <= pair


@pytest.mark.parametrize(("name", "policy", "num_classes"), PAIRS)
def test_scan_and_python_loop_decide_alike(name, policy, num_classes):
    make_policy = policies.get(policy)
    policy = make_policy(threshold=0.005) if policy == "verify_revisit" else make_policy()
    one, compiled = travelled("memory", policy, num_classes)
    two, looped = travelled(name, policy, num_classes)
    close(one.model, two.model, rtol=1e-5, atol=1e-6)
    for a, b in zip(compiled, looped, strict=True):
        for x, y in zip(a[1:], b[1:], strict=True):
            assert (x.kind == y.kind).all() and (x.ids == y.ids).all()
            assert (x.accepted == y.accepted).all()
            assert (x.confusion == y.confusion).all() and (x.reference == y.reference).all()
            assert x.confusion.shape == (*x.kind.shape, num_classes, num_classes)
    kinds = np.concatenate([r[1].kind.ravel() for r in compiled])
    if isinstance(one.state, verify_revisit.State):
        assert {types.BATCH, types.SINGLE} <= set(kinds.tolist())


def test_python_control_flow_is_that_of_lax():
    xs = {"a": jnp.arange(4.0), "b": jnp.arange(4)}

    def body(carry, x):
        return carry + x["a"], (carry, x["b"] * 2)

    close(control.scan(body, 1.0, xs), jax.lax.scan(body, 1.0, xs))
    assert control.cond(jnp.bool_(True), lambda x: x + 1, lambda x: x, 2) == 3
    assert control.cond(jnp.bool_(False), lambda x: x + 1, lambda x: x, 2) == 2


@pytest.mark.parametrize("name", programs.FEDERATIONS)
def test_sums_over_some_scans_and_evidence_about_each(name):
    lrn, model, fed = make(name, chunk=5, minimum=2)
    among = np.arange(M) % 2 == 0
    asked = among & (np.bincount(HELD_OUT.centre, among)[HELD_OUT.centre] >= 2)
    total, number = fed.total("loss", model, among=jnp.asarray(among))
    logit = np.asarray(lrn.logits(model, HELD_OUT.image))[:, 1]
    each = np.logaddexp(0, np.where(HELD_OUT.label == 1, -logit, logit))
    assert number == asked.sum()
    np.testing.assert_allclose(total, each[asked].sum(), rtol=1e-5)
    found = fed.survey(_logit_and_offset, model, jnp.float32(3))
    np.testing.assert_allclose(found["logit"], logit + 3, rtol=1e-5)
    assert (np.asarray(fed.held_out_centre) == HELD_OUT.centre).all()


@pytest.mark.parametrize("name", programs.FEDERATIONS)
def test_an_update_that_is_not_finite_is_turned_down_where_it_arrives(name):
    """The loss before the update is finite; the model that comes back is not."""

    def rate(cycle):
        return jnp.where(cycle == 3, jnp.inf, 0.05)

    lrn = learner.learner(models.get("mlp")(hidden=(5,)), rate)
    fed = programs.FEDERATIONS[name](lrn, TRAIN, HELD_OUT, KEY)
    model = lrn.init(jax.random.key(0), TRAIN.image[:1])
    after, loss = fed.learn(model, STOP, jnp.ones(5))
    assert jnp.isnan(loss)
    close(after, model, rtol=0)
    after, loss = fed.learn(model, STOP._replace(cycle=jnp.int32(2)), jnp.ones(5))
    assert jnp.isfinite(loss)
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (after, model)), strict=True))


@pytest.mark.parametrize("policy", ["none", "verify_revisit", "screen"])
def test_no_policy_takes_up_a_model_that_is_not_finite(policy):
    """Even where all verification scans are called healthy, which NaN would look like."""
    lrn = learner.learner(models.get("mlp")(hidden=(5,)), lambda cycle: jnp.float32(jnp.inf))
    train = TRAIN._replace(image=1e-3 * TRAIN.image)
    fed = programs.FEDERATIONS["memory"](lrn, train, HELD_OUT, KEY)
    model = lrn.init(jax.random.key(0), TRAIN.image[:1])
    bias = jax.tree.map(lambda x: x - 100.0 * (x.shape == (1,)), model.params)
    model = model._replace(params=bias)
    confusion = fed.total("confusion", model)
    assert confusion[:, 1].tolist() == [0, 0]
    policy, draw = policies.get(policy)(), itinerary.itinerary(TRAIN.centre)
    start = types.Travel(model, policy.init(N, confusion))
    after, (_, trail, _) = jax.jit(lambda t: travel.cycle(fed, policy, draw, t, KEY, 0))(start)
    close(after.model, model, rtol=0)
    tried = np.isin(trail.kind, (types.BATCH, types.UNVERIFIED))
    assert tried.any() and np.isnan(np.asarray(trail.loss)[tried]).all()


@pytest.mark.parametrize("policy", ["none", "verify_revisit", "screen"])
def test_what_is_asked_is_counted_alike_in_loops_branches_and_messages(policy):
    """Against a plain count of the messages of the federation that sends one after another."""
    make_policy = policies.get(policy)
    revisited = {"threshold": 0.005, "revisit_after": 1}
    policy = make_policy(**revisited) if policy == "verify_revisit" else make_policy()
    options = {"batch_size": 5, "stops_per_call": 3, "minimum": 2}
    counted, sent = {}, collections.Counter()
    for name in ("memory", "stepwise"):
        lrn, model, _ = make("memory")
        plain = programs.FEDERATIONS[name]

        def spied(*given, plain=plain, **more):
            return _spied(plain(*given, **more), sent)

        with pytest.MonkeyPatch.context() as patch:
            if name == "stepwise":
                patch.setitem(programs.FEDERATIONS, name, spied)
            program = programs.program(
                lrn, policy, TRAIN, HELD_OUT, KEY, federation=name, **options
            )
        state = policy.init(N, program.confusion(model))
        counted[name] = []
        if name == "stepwise":
            sent.clear()  # what started the state is not of a cycle
        traveller = types.Travel(model, state)
        for cycle in range(2):
            traveller, *tallies = program.open(traveller, cycle)
            stops = program.stops(traveller, cycle)
            for first in range(0, len(stops.cycle), 3):
                some = jax.tree.map(lambda x: x[first : first + 3], stops)  # noqa: B023
                traveller, _, tally = program.visits(traveller, some)
                tallies.append(tally)
            traveller, _, tally = program.close(traveller, cycle)
            counted[name].append(program.asked([*tallies, tally]))
    assert counted["memory"] == counted["stepwise"]
    total = collections.Counter()
    for request, asked in (item for cycle in counted["stepwise"] for item in cycle.items()):
        total[request.name, "times"] += asked.times
        total[request.name, "samples"] += asked.samples
    assert {k: n for k, n in total.items() if n} == {k: n for k, n in sent.items() if n}
    assert total["learn", "times"] > 0


def _spied(fed, sent):
    """The federation, whose messages are counted one by one in plain Python."""

    def of_stop(name, answer, stop):
        sent[name, "times"] += 1
        sent[name, "samples"] += int((np.asarray(stop.ids) < N).sum())
        return answer

    def total(statistic, *asked, among=None):
        meant = np.ones(M, bool) if among is None else np.asarray(among)
        sizes = np.bincount(HELD_OUT.centre[meant], minlength=6)
        answers = meant & ((sizes >= 2)[HELD_OUT.centre] | (statistic == "confusion"))
        sent[statistic, "times"] += 1
        sent[statistic, "samples"] += int(answers.sum())
        return fed.total(statistic, *asked, among=among)

    def survey(*asked):
        sent["survey", "times"] += 1
        sent["survey", "samples"] += M
        return fed.survey(*asked)

    return fed._replace(
        learn=lambda model, stop, *rest: of_stop("learn", fed.learn(model, stop, *rest), stop),
        at=lambda m, model, stop, *rest: of_stop("at", fed.at(m, model, stop, *rest), stop),
        total=total,
        survey=survey,
    )


def _logit_and_offset(learner, model, batch, reference):
    return {"logit": learner.logits(model, batch.image)[:, 1] + reference}
