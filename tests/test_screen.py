"""The policy `screen` on small cohorts: what it finds, spares, remembers and says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import itinerary, learner, models, policies, scorers, travel, types
from harmjax.federations import memory
from harmjax.policies import evidence, screen

CENTRES, EACH, F = 8, 20, 6
KEY = jax.random.key(5)


def samples(seed, each=EACH):
    rng = np.random.default_rng(seed)
    number = CENTRES * each
    label = (np.arange(number) % 2).astype(np.int32)
    image = rng.normal(size=(number, F)).astype(np.float32)
    image[:, 0] += 6 * label - 3
    centre = np.repeat(np.arange(CENTRES), each).astype(np.int32)
    return types.Samples(image, label, centre, np.arange(number, dtype=np.uint32) + 7 * seed)


def planted(train, ids, *, flipped=(), image=9.0):
    damaged, label = train.image.copy(), train.label.copy()
    damaged[ids] = image
    label[list(flipped)] = 1 - label[list(flipped)]
    return train._replace(image=damaged, label=label)


def run(train, held_out, cycles=4, **settings):
    """The traveller after some cycles, and the records of all of them."""
    lrn = learner.learner(models.get("mlp")(hidden=(8,)), lambda cycle: 0.02)
    policy = policies.get("screen")(**settings)
    draw = itinerary.itinerary(train.centre)

    @jax.jit
    def one(data, traveller, cycle):
        fed = memory.memory(lrn, *data, KEY)
        return travel.cycle(fed, policy, draw, traveller, KEY, cycle)

    counts = types.Counts(0, 0, 0, len(held_out.label))
    model = lrn.init(jax.random.key(0), train.image[:1])
    traveller = types.Travel(model, policy.init(len(train.label), counts))
    records = []
    for cycle in range(cycles):
        traveller, record = one((train, held_out), traveller, cycle)
        records.append(jax.device_get(record))
    return policy, traveller, records


def test_planted_samples_are_set_aside_at_once_and_eliminated_at_the_examination():
    bad = [3, 44, 101]
    train = planted(samples(0), bad, flipped=[70])
    policy, traveller, records = run(train, samples(1))
    verdicts = policy.verdicts(traveller.state, 4)
    assert set(bad) <= set(np.flatnonzero(verdicts.eliminated))
    assert verdicts.eliminated.mean() < 0.08
    assert not policy.mask(traveller.state, 4)[jnp.array(bad)].any()
    first = records[0][1]
    suspected = first.ids[first.kind == types.SUSPICION].ravel()
    learned = first.ids[first.kind == types.UNVERIFIED].ravel()
    assert set(bad) <= set(suspected) and not set(bad) & set(learned)
    assert (first.p_value[first.kind == types.SUSPICION] <= 0.01).all()
    examined = records[1][2]
    gone = examined.ids[(examined.kind == types.EXAMINATION) & ~examined.accepted, 0]
    assert set(bad) <= set(gone)
    assert (verdicts.cycle[jnp.array(bad)] == 1).all()


def test_flipped_labels_show_once_the_model_has_learned():
    flipped = [12, 47, 90]
    train = planted(samples(0), [], flipped=flipped)
    policy, traveller, _ = run(train, samples(1), cycles=8, alpha=0.05, centres=False)
    found = policy.verdicts(traveller.state, 8)
    others = np.delete(np.asarray(found.harm), flipped)
    assert (np.asarray(found.harm)[flipped] > np.quantile(others, 0.8)).all()
    assert set(found.evidence) == set(screen.FAMILIES)


def test_a_harmful_centre_goes_as_a_whole_and_a_trusted_sample_stays():
    bad = np.flatnonzero(samples(0).centre == 2)
    keep = np.zeros(CENTRES * EACH, bool)
    keep[bad[0]] = True
    policy, traveller, _ = run(planted(samples(0), bad), samples(1), cycles=2, keep=keep)
    eliminated = np.asarray(policy.verdicts(traveller.state, 2).eliminated)
    assert eliminated[bad[1:]].all() and not eliminated[bad[0]]
    assert eliminated.sum() <= len(bad) + 3


@pytest.mark.parametrize(
    "train, held_out, alarm",
    [
        (samples(0), samples(1), []),
        (planted(samples(0), np.arange(120)), samples(1), [screen.MOST]),
        (samples(0, 60), planted(samples(1, 60), np.arange(0, 480, 12)), [screen.CONTAMINATED]),
        (samples(0), planted(samples(1), [5], image=np.nan), [screen.BLIND]),
    ],
)
def test_it_says_what_it_cannot_judge(train, held_out, alarm):
    policy, traveller, _ = run(train, held_out, cycles=2)
    verdicts = policy.verdicts(traveller.state, 2)
    assert np.flatnonzero(verdicts.alarms).tolist() == alarm
    if screen.MOST in alarm:
        assert not verdicts.eliminated.any()


def test_a_limit_on_the_false_share_spares_a_clean_cohort():
    def eliminated(false_share):
        settings = {"alpha": 0.3, "false_share": false_share, "centres": False}
        policy, traveller, _ = run(samples(0), samples(1), cycles=2, **settings)
        return int(policy.verdicts(traveller.state, 2).eliminated.sum())

    assert eliminated(0.02) == 0 < eliminated(1.0)


def test_examinations_spend_alpha_half_of_the_rest_at_a_time():
    train = planted(samples(0), list(range(0, CENTRES * EACH, 4)))
    settings = {"alpha": 0.2, "false_share": 1.0, "centres": False}
    records = run(train, samples(1), cycles=6, **settings)[2]
    for number, cycle in enumerate((1, 3, 5), 1):
        closing = records[cycle][2]
        examined = closing.kind == types.EXAMINATION
        p_value, gone = closing.p_value[examined], ~closing.accepted[examined]
        level = 0.2 * (1 - 0.5**number)
        np.testing.assert_array_equal(gone, p_value <= level)
        assert gone.any() and (p_value[gone] > level - 0.05).any()


def test_what_is_eliminated_already_counts_towards_the_false_share():
    damaged = list(range(0, CENTRES * EACH, 8))
    train = planted(samples(0), damaged, flipped=[47, 90])
    settings = {"alpha": 0.05, "false_share": 0.05, "centres": False}
    policy, traveller, _ = run(train, samples(1), cycles=8, **settings)
    verdicts = policy.verdicts(traveller.state, 8)
    assert verdicts.eliminated[jnp.array([*damaged, 47, 90])].all()
    assert (verdicts.cycle[jnp.array(damaged)] == 1).all()
    assert (verdicts.cycle[jnp.array([47, 90])] > 1).all()


def test_soft_weights_follow_the_p_values():
    policy, traveller, _ = run(samples(0), samples(1), cycles=2, soft=0.5)
    state = traveller.state
    kept = ~np.asarray(state.eliminated) & (np.asarray(state.suspected) < 0)
    expected = np.where(kept, np.minimum(1, np.asarray(state.p_value) / 0.5), 0)
    np.testing.assert_allclose(policy.mask(state, 2), expected, rtol=1e-6)
    assert ((expected > 0) & (expected < 1)).any()


def test_the_state_between_cycles_keeps_its_shape():
    policy, traveller, _ = run(samples(0), samples(1), cycles=1)
    fresh = policy.init(CENTRES * EACH, types.Counts(0, 0, 0, CENTRES * EACH))
    before, after = (jax.tree.map(jnp.shape, state) for state in (fresh, traveller.state))
    assert before == after


def test_a_trusted_sample_keeps_its_weight_under_soft_weights():
    """Training is the same whatever a trusted sample looks like to the evidence."""
    keep = np.ones(CENTRES * EACH, bool)
    trusted = run(samples(0), samples(1), cycles=2, soft=0.9, keep=keep)[1].model
    plain = run(samples(0), samples(1), cycles=2, keep=keep)[1].model
    for x, y in zip(jax.tree.leaves(trusted), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_shares_weigh_the_families_whatever_their_unit():
    tails = jnp.array([[0.01, 1.0], [1.0, 0.01]])
    shares = evidence.families(("margin", "appearance"), (3, 1)).shares
    np.testing.assert_allclose(evidence.fuse(tails, shares), np.log([75.25, 25.75]), rtol=1e-6)
    equal = evidence.families(("margin", "appearance")).shares
    np.testing.assert_allclose(evidence.fuse(tails, equal), np.log([50.5, 50.5]), rtol=1e-6)


def test_a_family_with_more_of_the_level_finds_its_harm_at_smaller_p_values():
    train = planted(samples(0), [3], image=2.5)

    def p_value(shares):
        settings = {"alpha": 1e-9, "centres": False, "shares": shares}
        return float(run(train, samples(1), cycles=1, **settings)[1].state.p_value[3])

    assert p_value((1, 99)) < p_value((1, 1)) < p_value((99, 1))


def test_halves_are_every_other_scan_of_a_centre_in_any_order():
    centre = np.random.default_rng(0).integers(0, 4, 30)
    expected = [int((centre[:i] == c).sum()) % 2 for i, c in enumerate(centre)]
    assert evidence.halves(jnp.asarray(centre)).tolist() == expected


def test_a_verification_scan_is_measured_against_the_other_half():
    held_out = samples(1)
    lrn = learner.learner(models.get("mlp")(hidden=(8,)), lambda cycle: 0.02)
    fed = memory.memory(lrn, samples(0), held_out, KEY)
    model = lrn.init(jax.random.key(0), held_out.image[:1])
    asked = evidence.families(("appearance",))
    nothing = jnp.zeros((len(held_out.label), 1))
    before = nothing, nothing.astype(jnp.int32)
    yard, total, visits = evidence.yardstick(asked, fed, model, 0, *before)
    assert (visits == 1).all() and not yard.blind
    half, scorer = np.arange(len(held_out.label)) % 2, scorers.get("appearance")()
    harm = np.zeros(len(half))
    for own in range(2):
        others = jax.tree.map(lambda leaf: leaf[half != own], held_out)  # noqa: B023
        reference = scorer.reference(memory.memory(lrn, samples(0), others, KEY), model, 0)
        batch = types.Batch(held_out.image, held_out.label, jax.random.split(KEY, len(half)))
        found = scorer.judge(scorer.measure(lrn, model, batch, reference), reference)
        harm[half == own] = np.asarray(found)[half == own]
    for label in range(2):
        own = held_out.label == label
        middle = np.median(harm[own])
        spread = 1.4826 * np.median(np.abs(harm[own] - middle))
        expected = (harm[own] - middle) / spread
        np.testing.assert_allclose(total[own, 0], expected, rtol=1e-3, atol=1e-3)
    assert sum(int(c) for c in yard.counts) == len(half)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"families": ()}, "name at least one scorer"),
        ({"families": ("with_without",)}, "tries updates out"),
        ({"families": ("margn",)}, "Did you mean 'margin'"),
        ({"shares": (1,)}, "shares=.1,. must be"),
        ({"shares": (1, 0)}, "shares=.1, 0. must be"),
    ],
)
def test_settings_that_cannot_work(settings, words):
    with pytest.raises(ValueError, match=words):
        policies.get("screen")(**settings)
