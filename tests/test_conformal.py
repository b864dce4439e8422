"""P-values: by hand, and their level over many draws."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from scipy import stats

from harmjax.policies import centrewise, conformal, evidence


def test_p_values_count_the_class_alone():
    score = jnp.array([1.0, 2.0, 3.0, 10.0, 20.0, jnp.nan])
    label = jnp.array([0, 0, 0, 1, 1, 0])
    scale = conformal.scale(score, label, least=0, fraction=0.0)
    asked = jnp.array([2.0, 2.5, 15.0, 0.0, jnp.nan])
    found = conformal.p_value(scale, asked, jnp.array([0, 0, 1, 1, 0]))
    np.testing.assert_allclose(found, [3 / 4, 2 / 4, 2 / 3, 1.0, 1.0])
    own = conformal.own_p_value(scale, score[:5], label[:5])
    np.testing.assert_allclose(own, [1.0, 2 / 3, 1 / 3, 1.0, 1 / 2], rtol=1e-6)


def test_p_values_of_three_classes_count_the_own_alone():
    score = jnp.array([1.0, 10.0, 100.0, 2.0, 20.0, 200.0, 3.0, jnp.nan, 300.0])
    label = jnp.arange(9) % 3
    scale = conformal.scale(score, label, num_classes=3, least=0, fraction=0.0)
    assert scale.number.tolist() == [3, 2, 3] and scale.score.shape == (3, 9)
    assert scale.score[:, -2:].tolist() == [[2, 3], [10, 20], [200, 300]]
    found = conformal.p_value(scale, jnp.full(3, 15.0), jnp.arange(3))
    np.testing.assert_allclose(found, [1 / 4, 2 / 3, 1.0])
    own = conformal.own_p_value(scale, jnp.array([3.0, 20.0, 100.0]), jnp.arange(3))
    np.testing.assert_allclose(own, [1 / 3, 1 / 2, 1.0], rtol=1e-6)


@hypothesis.given(
    strategies.lists(
        strategies.tuples(strategies.integers(0, 6), strategies.integers(0, 2)),
        min_size=20,
        max_size=20,
    ),
    strategies.integers(0, 2),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_other_classes_change_no_p_value_below_the_edge(scans, own):
    """Up to its edge, the scale of three classes is that of each class by itself."""
    score, label = np.array(scans, np.float32).T
    asked = jnp.arange(-1.0, 9.0)
    whole = conformal.scale(jnp.asarray(score), jnp.asarray(label, int), num_classes=3, least=2)
    found = conformal.p_value(whole, asked, jnp.full(10, own))
    alone = np.where(label == own, score, np.nan)
    single = conformal.scale(jnp.asarray(alone), jnp.zeros(20, int), num_classes=1, least=2)
    expected = conformal.p_value(single, asked, jnp.zeros(10, int))
    below = np.asarray(asked <= single.edge[0])
    np.testing.assert_allclose(found[below], expected[below], rtol=1e-6)
    assert int(whole.number[own]) == (label == own).sum()


def test_the_tail_goes_on_where_the_scans_end():
    score = jnp.arange(10.0)
    scale = conformal.scale(score, jnp.zeros(10, int), fraction=0.3, least=1)
    assert (scale.tail[0], scale.edge[0]) == (3, 7)
    found = conformal.p_value(scale, jnp.array([7.0, 12.0, 40.0]), jnp.zeros(3, int))
    expected = [4 / 11, 4 / 11 * (1 + 5 / 3) ** -2, 4 / 11 * (1 + 33 / 3) ** -2]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_class_is_lent_the_tails_of_the_others():
    score = jnp.array([0.0, 1.0, 2.0, 4.0, 10.0, 11.0, 16.0])
    label = jnp.array([0, 0, 0, 0, 1, 1, 1])
    # Beyond the edges 1 and 11 lie two scans by 1 + 3 and one by 5. A tail of three quarters is
    # lent one scan of the others, and a tail of two thirds 4/3 of one.
    scale = conformal.scale(score, label, fraction=0.75, least=2, lent=1.0)
    assert scale.edge.tolist() == [1, 11] and scale.tail.tolist() == [3, 2]
    np.testing.assert_allclose(scale.beyond, [3, 1 + 4 / 3], rtol=1e-6)
    np.testing.assert_allclose(scale.excess, [4 + 5, 5 + 4 / 3 * 2], rtol=1e-6)
    found = conformal.p_value(scale, jnp.array([10.0, 11.0 + 23 / 3]), jnp.arange(2))
    np.testing.assert_allclose(found, [4 / 5 * 2.0**-3, 3 / 4 * 2.0 ** -(7 / 3)], rtol=1e-6)
    own = conformal.own_p_value(scale, jnp.array([4.0, 11.0 + 23 / 3]), jnp.arange(2))
    np.testing.assert_allclose(own, [3 / 4 * (4 / 3) ** -3, 2 / 3 * 2.0 ** -(7 / 3)], rtol=1e-6)


def test_a_few_scans_of_a_class_are_not_judged_by_the_tail_of_a_large_one():
    """Normal scores, eight calibration scans of the one class and four hundred of the other."""

    def one(key):
        score = jax.random.normal(key, (8 + 400 + 100,))
        label = jnp.where(jnp.arange(408) < 8, 1, 0)
        scale = conformal.scale(score[:408], label)
        return conformal.p_value(scale, score[408:], jnp.ones(100, int))

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 400)))
    by_draw = (found <= 0.01).mean(1)
    assert by_draw.mean() <= 0.01 + 3 * by_draw.std() / 20


@pytest.mark.parametrize(
    "number, shares", [(12, (1, 1)), (60, (1, 1)), (300, (1, 1)), (300, (9, 1))]
)
def test_good_samples_are_called_suspicious_as_often_as_promised(number, shares):
    """Two families of normal evidence, one class of them heavy-tailed."""

    def one(key):
        keys = jax.random.split(key, 2)
        label = jnp.arange(number + 200) % 2
        shown = jax.random.normal(keys[0], (number + 200, 2))
        heavy = jax.random.exponential(keys[1], (number + 200, 2))
        shown = jnp.where(label[:, None] == 1, heavy, shown)
        held, held_label = shown[:number], label[:number]
        scales = jax.vmap(conformal.scale, (1, None))(held, held_label)

        def tails(p_fn, values, label):
            return jax.vmap(p_fn, (0, 1, None), 1)(scales, values, label)

        share = jnp.array(shares) / sum(shares)
        own = evidence.combine_p_values(tails(conformal.own_p_value, held, held_label), share)
        fused = conformal.scale(own, held_label)
        new = tails(conformal.p_value, shown[number:], label[number:])
        return conformal.p_value(fused, evidence.combine_p_values(new, share), label[number:])

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 200)))
    for alpha in (0.01, 0.05):
        by_draw = (found <= alpha).mean(1)
        error = by_draw.std() / np.sqrt(len(by_draw))
        assert by_draw.mean() <= alpha + 3 * error, (alpha, by_draw.mean())
    assert (found <= 0.2).mean() > 0.05  # not by never finding anything


def test_benjamini_and_hochberg_by_hand():
    p_value = jnp.array([0.001, 0.02, 0.8, 0.03, 0.9])
    used = jnp.ones(5, bool)
    # Ordered: .001 <= .1 * 1/5, .02 <= .1 * 2/5, .03 <= .1 * 3/5, and no more.
    assert conformal.largest_rejected(p_value, used, 0.1) == jnp.float32(0.03)
    assert conformal.largest_rejected(p_value[2:], used[2:], 0.01) == -1


@hypothesis.given(
    strategies.lists(
        strategies.floats(0, 1, width=32, allow_subnormal=False), min_size=1, max_size=12
    ),
    strategies.data(),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_a_p_value_that_is_not_known_never_helps_to_reject(p_values, data):
    size = len(p_values)
    lost = data.draw(strategies.lists(strategies.booleans(), min_size=size, max_size=size))
    padded = np.ones(12, np.float32)
    padded[:size] = p_values
    used, unknown = jnp.arange(12) < size, np.arange(12) < 0
    unknown[:size] = lost
    whole = float(conformal.largest_rejected(jnp.asarray(padded), used, 0.3))
    missing = jnp.where(unknown, jnp.nan, padded)
    assert -1 <= float(conformal.largest_rejected(missing, used, 0.3)) <= whole
    ordered = np.sort(p_values)
    passed = ordered[ordered <= np.float32(0.3) * np.arange(1, size + 1) / np.float32(size)]
    assert whole == (passed.max() if len(passed) else -1)


def test_variance_components_of_balanced_centres():
    rng = np.random.default_rng(0)
    centre = np.repeat(np.arange(2000), 10)
    own = 0.5 * rng.normal(size=2000)
    score = own[centre] + rng.normal(size=20000)
    found = centrewise.components(jnp.asarray(score - score.mean()), centre, 20000)
    np.testing.assert_allclose([found[0], found[2]], [own.var(), 1.0], rtol=0.1)
    assert found[0] < found[1] < 1.2 * found[0]


def test_weak_evidence_adds_up_over_a_centre_but_not_what_its_good_scans_share():
    rng = np.random.default_rng(1)
    centre = np.repeat(np.arange(20), 10)
    own = 0.8 * rng.normal(size=20)

    def p_values(shift):
        score = own[centre] + rng.normal(size=200) + shift
        return jnp.asarray(stats.norm.sf(score))

    held_out = p_values(0.0)[:, None], jnp.asarray(centre)
    bad = np.where(centre == 3, 2.5, 0.0)
    used = jnp.ones(200, bool)
    found = centrewise.harmful((p_values(bad)[:, None], jnp.asarray(centre), used), held_out, 0.01)
    assert set(centre[np.asarray(found)]) == {3}
    clean = centrewise.harmful((p_values(0)[:, None], jnp.asarray(centre), used), held_out, 0.01)
    assert not clean.any()


def test_what_is_not_known_neither_convicts_nor_excuses_a_centre():
    """NaN is not a good sample, and not a good verification scan beside which others look bad."""
    rng = np.random.default_rng(1)
    centre = np.repeat(np.arange(20), 10)
    shift = np.where(centre == 3, 2.5, 0.0)
    trained, held = (stats.norm.sf(rng.normal(size=200) + s)[:, None] for s in (shift, 0.0))
    used = jnp.ones(200, bool)

    def found(trained, held, used=used):
        training = jnp.asarray(trained), jnp.asarray(centre), used
        harmful = centrewise.harmful(training, (jnp.asarray(held), jnp.asarray(centre)), 0.01)
        return set(centre[np.asarray(harmful)].tolist())

    assert found(trained, held) == {3}
    half = (np.arange(200) % 2 == 0)[:, None]
    assert found(trained, np.where(half, np.nan, held)) == {3}
    assert found(np.where(half, np.nan, trained), held) == {3}
    # Less known is like fewer samples, not like other ones.
    kept = np.flatnonzero(half[:, 0])
    training = jnp.asarray(trained[kept]), jnp.asarray(centre[kept]), used[kept]
    fewer = centrewise.harmful(training, (jnp.asarray(held), jnp.asarray(centre)), 0.01)
    lost = centrewise.harmful(
        (jnp.where(half, trained, jnp.nan), jnp.asarray(centre), used),
        (jnp.asarray(held), jnp.asarray(centre)),
        0.01,
    )
    assert np.asarray(lost)[kept].tolist() == np.asarray(fewer).tolist()
    assert found(trained, np.full((200, 1), np.nan)) == set()
    alone = np.where((np.arange(200) % 10 == 0)[:, None], held, np.nan)
    assert found(trained, alone) == set(), "one scan a centre does not tell how scans scatter"
    second = np.concatenate([trained, np.full((200, 1), np.nan)], axis=1)
    assert found(second, np.concatenate([held, held], axis=1)) == {3}


@pytest.mark.parametrize("centres, spread", [(4, 0.5), (4, 0.0), (20, 0.3)])
def test_hospitals_that_differ_are_not_called_harmful(centres, spread):
    """Family-wise error over many draws of few and of many centres."""
    rng = np.random.default_rng(2)
    centre, small = np.repeat(np.arange(centres), 60), np.repeat(np.arange(centres), 12)

    def p_values(score):
        return jnp.asarray(stats.norm.sf(score / np.hypot(1, spread)))[:, None]

    harmful = jax.jit(lambda *p: centrewise.harmful((p[0], centre, p[1]), (p[2], small), 0.05))
    false = []
    for _ in range(200):
        own = spread * rng.normal(size=centres)
        train = own[centre] + rng.normal(size=len(centre))
        held_out = own[small] + rng.normal(size=len(small))
        used = np.ones(len(centre), bool)
        false.append(bool(harmful(p_values(train), used, p_values(held_out)).any()))
    assert np.mean(false) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(false))
