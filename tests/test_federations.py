"""Contracts that every federation keeps: the same requests get the same answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import itinerary, learner, models, policies, programs, travel, types
from harmjax.federations import control
from harmjax.policies import verify_revisit

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


def make(name, **options):
    lrn = learner.learner(models.get("mlp")(hidden=(5,), dropout=0.3), lambda cycle: 0.05)
    fed = programs.FEDERATIONS[name](lrn, TRAIN, HELD_OUT, KEY, **options)
    return lrn, lrn.init(jax.random.key(0), TRAIN.image[:1]), fed


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


STOP = types.Stop(jnp.int32(3), jnp.int32(1), jnp.array([4, 9, 22, N, N], jnp.int32))


@pytest.mark.parametrize("name", programs.FEDERATIONS)
def test_learning_equals_a_step_on_those_samples(name):
    lrn, model, fed = make(name)
    weight = jnp.array([1.0, 0.5, 1.0, 1.0, 1.0])
    found, loss = fed.learn(model, STOP, weight)
    ids = np.array([4, 9, 22])
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, 3), TRAIN.identity[i]) for i in ids]
    batch = types.Batch(TRAIN.image[ids], jnp.asarray(TRAIN.label[ids]), jnp.stack(keys))
    expected, expected_loss = lrn.learn(model, batch, weight[:3], jnp.ones(3, bool), 3)
    close((found, loss), (expected, expected_loss), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", programs.FEDERATIONS)
@pytest.mark.parametrize("chunk", [5, 64])
def test_counts_are_those_of_every_verification_scan(name, chunk):
    lrn, model, fed = make(name, chunk=chunk)
    positive = np.asarray(lrn.logits(model, HELD_OUT.image)) > 0
    diseased = HELD_OUT.label == 1
    counts = fed.total("counts", model)
    assert int(counts.tp) == (positive & diseased).sum()
    assert int(counts.fp) == (positive & ~diseased).sum()
    assert int(counts.tn) == (~positive & ~diseased).sum()
    assert int(counts.fn) == (~positive & diseased).sum()


@pytest.mark.parametrize("name", programs.FEDERATIONS)
def test_small_centres_answer_counts_only(name):
    sizes = np.bincount(HELD_OUT.centre)
    minimum = int(np.sort(sizes)[2])
    lrn, model, fed = make(name, minimum=minimum)
    asked = (sizes >= minimum)[HELD_OUT.centre]
    assert 0 < asked.sum() < M
    total, number = fed.total("loss", model)
    logits = np.asarray(lrn.logits(model, HELD_OUT.image))
    each = np.logaddexp(0, np.where(HELD_OUT.label == 1, -logits, logits))
    assert number == asked.sum()
    np.testing.assert_allclose(total, each[asked].sum(), rtol=1e-5)
    assert sum(int(c) for c in fed.total("counts", model)) == M


def travelled(name, policy, cycles=4):
    lrn, model, fed = make(name)
    draw = itinerary.itinerary(TRAIN.centre)

    def one(traveller, cycle):
        return travel.cycle(fed, policy, draw, traveller, KEY, cycle)

    if name == "memory":
        one = jax.jit(one)
    state = policy.init(N, types.Counts(*map(int, fed.total("counts", model))))
    traveller, records = types.Travel(model, state), []
    for cycle in range(cycles):
        traveller, record = one(traveller, cycle)
        records.append(jax.device_get(record))
    return traveller, records


@pytest.mark.parametrize("name", [n for n in programs.FEDERATIONS if n != "memory"])
@pytest.mark.parametrize("policy", ["none", "verify_revisit", "screen"])
def test_scan_and_python_loop_decide_alike(name, policy):
    make_policy = policies.get(policy)
    policy = make_policy(threshold=0.005) if policy == "verify_revisit" else make_policy()
    one, compiled = travelled("memory", policy)
    two, looped = travelled(name, policy)
    close(one.model, two.model, rtol=1e-5, atol=1e-6)
    for a, b in zip(compiled, looped, strict=True):
        for x, y in zip(a[1:], b[1:], strict=True):
            assert (x.kind == y.kind).all() and (x.ids == y.ids).all()
            assert (x.accepted == y.accepted).all()
            assert all((p == q).all() for p, q in zip(x.counts, y.counts, strict=True))
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
    logits = np.asarray(lrn.logits(model, HELD_OUT.image))
    each = np.logaddexp(0, np.where(HELD_OUT.label == 1, -logits, logits))
    assert number == asked.sum()
    np.testing.assert_allclose(total, each[asked].sum(), rtol=1e-5)
    found = fed.survey(_logit_and_offset, model, jnp.float32(3))
    np.testing.assert_allclose(found["logit"], logits + 3, rtol=1e-5)
    assert (np.asarray(fed.held_out_centre) == HELD_OUT.centre).all()


def _logit_and_offset(learner, model, batch, reference):
    return {"logit": learner.logits(model, batch.image) + reference}
