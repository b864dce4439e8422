"""The policy `screen` on small cohorts: what it finds, spares, remembers and says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from harmjax import offers, policies, scorers, types
from harmjax.federations import memory, permitted
from harmjax.policies import evidence, screen
from tests import classes
from tests.screening import (
    CENTRES,
    EACH,
    KEY,
    alike,
    perceptron,
    planted,
    run,
    samples,
)


def test_planted_samples_are_set_aside_at_once_and_eliminated_at_the_examination():
    bad = [3, 44, 101]
    train = planted(samples(0), bad, flipped=[70])
    policy, traveller, records = run(train, samples(1))
    verdicts = policy.verdicts(traveller.state, 4)
    assert set(bad) <= set(np.flatnonzero(verdicts.eliminated))
    assert verdicts.eliminated.mean() < 0.08
    offer = policy.offer(traveller.state, 4)
    assert not offer.met[jnp.array(bad)].any() and not offer.weight[jnp.array(bad)].any()
    first = records[0].info
    suspected = first.ids[first.kind == types.SUSPICION].ravel()
    learned = first.ids[first.kind == types.UNVERIFIED].ravel()
    assert set(bad) <= set(suspected) and not set(bad) & set(learned)
    assert (first.p_value[first.kind == types.SUSPICION] <= 0.01).all()
    examined = records[1].closing
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


def test_of_three_classes_the_wrong_labels_and_the_damaged_scans_are_found():
    flipped, bad = [12, 50, 90, 134, 178, 221], [3, 58, 101]  # flips of every class
    train = planted(samples(0, 30, 3), bad, flipped=flipped, num_classes=3)
    assert set(samples(0, 30, 3).label[flipped]) == {0, 1, 2}
    held_out = samples(1, 60, 3)
    settings = {"cycles": 8, "num_classes": 3, "centres": False}
    policy, traveller, records = run(train, held_out, **settings)
    verdicts = policy.verdicts(traveller.state, 8)
    gone = np.flatnonzero(verdicts.eliminated)
    assert set(bad) <= set(gone)
    assert len(set(flipped) & set(gone)) >= 5
    assert len(set(gone) - set(bad) - set(flipped)) <= 0.03 * len(train.label)
    assert not verdicts.alarms.any()
    others = np.delete(np.asarray(verdicts.harm), [*flipped, *bad])
    assert (np.asarray(verdicts.harm)[flipped] > np.quantile(others, 0.9)).all()
    for _, info, closing, _ in records:
        assert info.confusion.shape[-2:] == closing.confusion.shape[-2:] == (3, 3)
        judged = np.isin(closing.kind, types.JUDGED)
        assert (closing.confusion[judged].sum((1, 2)) == len(held_out.label)).all()


def test_each_of_three_classes_is_measured_with_its_own_scale():
    """Evidence in another unit and from another zero in one class moves no p-value at all.

    But for a verdict on labels, whose zero says something.
    """
    train, held_out = samples(0, 30, 3), samples(1, 30, 3)
    fed = memory.memory(perceptron(3), train, held_out, KEY)
    model = perceptron(3).init(jax.random.key(0), held_out.image[:1])
    asked = evidence.families(("loss", "appearance"))
    nothing = jnp.zeros((len(held_out.label), 2))

    @jax.jit
    def told(unit, zero):
        """p-values of the training samples, and middles and spreads, both of the loss."""

        def changed(found):
            of_class = (found["label"] == 2)[..., None]
            return found | {"harm": jnp.where(of_class, unit * found["harm"] + zero, found["harm"])}

        other = fed._replace(survey=lambda *args: changed(fed.survey(*args)))
        made = evidence.calibrate(asked, other, model, 0, 0, nothing, nothing)[0]
        ids = jnp.arange(len(train.label))
        leg = offers.leg(types.Stop(jnp.int32(0), jnp.int32(0), ids, jnp.ones(len(ids))))
        found = changed(fed.at(asked.measure, model, leg, made.reference))
        found = jax.tree.map(lambda x: x[0], found)
        label = found["label"].astype(int)
        units = evidence.standardise(made, found["harm"], label)
        return (
            evidence.p_values(made, units, label),
            made.middle,
            made.spread,
        )

    p_value, middle, spread = told(1.0, 0.0)
    again, moved, wider = told(16.0, 64.0)
    np.testing.assert_allclose(again, p_value, atol=0.02)
    unit = np.array([[1], [1], [16]])
    np.testing.assert_allclose(moved, unit * middle + 4 * (unit > 1) * unit, rtol=1e-4)
    np.testing.assert_allclose(wider, unit * spread, rtol=1e-4)
    assert middle.shape == (3, 2) and len(set(np.round(np.asarray(spread[:, 0]), 3))) == 3


def test_a_harmful_centre_goes_as_a_whole_and_a_trusted_sample_stays():
    bad = np.flatnonzero(samples(0).centre == 2)
    word = np.full(CENTRES * EACH, offers.OPEN)
    word[bad[0]] = offers.KEEP
    policy, traveller, _ = run(planted(samples(0), bad), samples(1), cycles=2, word=word)
    eliminated = np.asarray(policy.verdicts(traveller.state, 2).eliminated)
    assert eliminated[bad[1:]].all() and not eliminated[bad[0]]
    assert eliminated.sum() <= len(bad) + 3


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
        closing = records[cycle].closing
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


def test_the_state_between_cycles_keeps_its_shape():
    policy, traveller, _ = run(samples(0), samples(1), cycles=1)
    fresh = policy.init(CENTRES * EACH, alike(samples(1)))
    before, after = (jax.tree.map(jnp.shape, state) for state in (fresh, traveller.state))
    assert before == after


def test_whom_a_person_keeps_is_trained_on_whatever_it_looks_like():
    train, everyone = planted(samples(0), [3, 44, 101]), np.full(CENTRES * EACH, offers.KEEP)
    trusted = run(train, samples(1), cycles=2, word=everyone)[1].model
    plain = run(train, samples(1), cycles=2, name="none")[1].model
    for x, y in zip(jax.tree.leaves(trusted), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_shares_weigh_the_families_whatever_their_unit():
    tails = jnp.array([[0.01, 1.0], [1.0, 0.01]])
    shares = evidence.families(("margin", "appearance"), (3, 1)).shares
    np.testing.assert_allclose(
        evidence.combine_p_values(tails, shares), np.log([75.25, 25.75]), rtol=1e-6
    )
    equal = evidence.families(("margin", "appearance")).shares
    np.testing.assert_allclose(
        evidence.combine_p_values(tails, equal), np.log([50.5, 50.5]), rtol=1e-6
    )


def test_a_family_with_more_of_the_level_finds_its_harm_at_smaller_p_values():
    train = planted(samples(0), [3], image=2.5)

    def p_value(shares):
        families = ("loss", "appearance")
        settings = {"alpha": 1e-9, "centres": False, "shares": shares, "families": families}
        return float(run(train, samples(1), cycles=1, **settings)[1].state.p_value[3])

    assert p_value((1, 99)) < p_value((1, 1)) < p_value((99, 1))


@pytest.mark.parametrize("agreement", [0.0, 0.5, 3.0])
def test_cycles_and_families_count_by_what_the_model_knows(agreement):
    """Verdicts, in the second cycle, that agree with the labels by so many standard deviations."""
    held_out = samples(1)
    fed = memory.memory(perceptron(2), samples(0), held_out, KEY)
    model = perceptron(2).init(jax.random.key(0), held_out.image[:1])
    asked = evidence.families(("margin", "appearance"), (3, 1))
    number = len(held_out.label)
    verdict = np.zeros(number, np.float32)
    for k in range(2):
        own = held_out.label == k
        verdict[own] = 2 * (stats.norm.ppf((np.arange(own.sum()) + 0.5) / own.sum()) - agreement)

    def survey(*args):
        found = fed.survey(*args)
        return found | {"harm": found["harm"].at[:, 0].set(verdict)}

    before = jnp.zeros((number, 2)), jnp.full((number, 2), 0.5)
    made, _, known = evidence.calibrate(asked, fed._replace(survey=survey), model, 3, 2, *before)
    weight = agreement**2 + evidence.IGNORANT
    np.testing.assert_allclose(made.weight, [weight, 1.0], rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(known, np.broadcast_to([weight + 0.5, 1.5], known.shape), rtol=0.02)
    told = np.array([0.75 * min((weight + 0.5) / 2, 1), 0.25 * 0.75])
    np.testing.assert_allclose(made.shares, told / told.sum(), rtol=0.02)


def test_folds_are_every_other_scan_of_a_centre_in_any_order():
    centre = np.random.default_rng(0).integers(0, 4, 30)
    expected = [int((centre[:i] == c).sum()) % 2 for i, c in enumerate(centre)]
    assert permitted.folds(centre).tolist() == expected


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_verification_scan_is_measured_against_the_other_fold(num_classes):
    train, held_out = samples(0, EACH, num_classes), samples(1, EACH, num_classes)
    lrn = perceptron(num_classes)
    fed = memory.memory(lrn, train, held_out, KEY)
    model = lrn.init(jax.random.key(0), held_out.image[:1])
    asked = evidence.families(("appearance",))
    nothing = jnp.zeros((len(held_out.label), 1))
    made, total, known = evidence.calibrate(asked, fed, model, 0, 0, nothing, nothing)
    assert (known == 1).all() and not made.blind
    fold, scorer = np.arange(len(held_out.label)) % 2, scorers.get("appearance")()
    harm = np.zeros(len(fold))
    for own in range(2):
        others = jax.tree.map(lambda leaf: leaf[fold != own], held_out)  # noqa: B023
        reference = scorer.reference(memory.memory(lrn, train, others, KEY), model, 0)
        keys = jax.random.split(KEY, len(fold))
        batch = types.Batch(held_out.image, held_out.label, keys, fold)
        found = scorer.judge(scorer.measure(lrn, model, batch, reference), reference)
        harm[fold == own] = np.asarray(found)[fold == own]
    for label in range(num_classes):
        own = held_out.label == label
        middle = np.median(harm[own])
        spread = 1.4826 * np.median(np.abs(harm[own] - middle))
        expected = (harm[own] - middle) / spread
        np.testing.assert_allclose(total[own, 0], expected, rtol=1e-3, atol=1e-3)
    predicted = np.asarray(lrn.logits(model, held_out.image)).argmax(1)
    assert made.confusion.tolist() == classes.confused(held_out.label, predicted, num_classes)


def test_the_settings_of_a_scorer_reach_what_centres_measure():
    """By hand at one stop: the scorer so set, against the fold that the sample is not in."""
    train, held_out, given = samples(0), samples(1), {"alignment": {"optimiser": "sgd"}}
    lrn = perceptron(2)
    fed = memory.memory(lrn, train, held_out, KEY)
    model = lrn.init(jax.random.key(0), train.image[:1])
    ids = np.array([3, 6, 7])
    leg = offers.leg(types.Stop(jnp.int32(0), jnp.int32(0), jnp.array(ids), jnp.ones(3)))
    found = []
    for setting in (given, {}):
        asked = evidence.families(("margin", "alignment"), settings=setting)
        reference = asked.reference(fed, model, 0)
        found.append(np.asarray(fed.at(asked.measure, model, leg, reference)["harm"])[0])
    scorer = scorers.get("alignment")(optimiser="sgd")
    batch = types.Batch(train.image[ids], train.label[ids], jax.random.split(KEY, 3), ids % 2)
    for own in range(2):
        reference = scorer.reference(fed, model, 0, fold=1 - own)
        harm = scorer.judge(scorer.measure(lrn, model, batch, reference), reference)
        np.testing.assert_allclose(found[0][ids % 2 == own, 1], harm[ids % 2 == own], rtol=1e-4)
    np.testing.assert_array_equal(found[0][:, 0], found[1][:, 0])
    assert (found[0][:, 1] != found[1][:, 1]).all()


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"families": ()}, "name at least one scorer"),
        ({"families": ("with_without",)}, "tries updates out"),
        ({"families": ("margn",)}, "did you mean 'margin'"),
        ({"shares": (1,)}, "shares=.1,. must be"),
        ({"shares": (1, 0)}, "shares=.1, 0. must be"),
        ({"settings": {"loss": {}}}, "settings has .'loss'., which are not among"),
        ({"settings": {"margin": {"steps": 3}}}, "scorer margin: .*steps"),
    ],
)
def test_settings_that_cannot_work(settings, words):
    with pytest.raises(ValueError, match=words):
        policies.get("screen")(**settings)
