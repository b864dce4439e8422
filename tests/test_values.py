"""Values from masks, against every one of the 64 subsets of six samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax.counterfactual import masks, values

N = 6
EVERY_SUBSET = np.array(list(itertools.product([0, 1], repeat=N)), np.float32)


def game(subsets):
    """A loss in nats with interactions: samples 0 and 1 are copies, 5 harms, 4 does nothing."""
    subsets = np.asarray(subsets, float)
    either = np.maximum(subsets[:, 0], subsets[:, 1])
    return (
        0.7
        - 0.3 * either
        - 0.1 * subsets[:, 2]
        - 0.05 * subsets[:, 2] * subsets[:, 3]
        + 0.2 * subsets[:, 5] * (1 - 0.5 * subsets[:, 2])
    )


def without(i):
    return itertools.chain.from_iterable(
        itertools.combinations([j for j in range(N) if j != i], k) for k in range(N)
    )


def loss_of(members):
    subset = np.zeros((1, N))
    subset[0, list(members)] = 1
    return game(subset)[0]


def by_definition(share):
    """Sum over subsets S without i of share(|S|) (loss(S + i) - loss(S))."""
    return np.array(
        [
            sum(share(len(s)) * (loss_of([*s, i]) - loss_of(s)) for s in map(list, without(i)))
            for i in range(N)
        ]
    )


EXACT_SHAPLEY = by_definition(lambda k: math.factorial(k) * math.factorial(N - k - 1) / 720)
EXACT_BANZHAF = by_definition(lambda k: 1 / 2 ** (N - 1))


def test_leave_one_out():
    everything = game(masks.everything(N))[0]
    found = values.leave_one_out(everything, game(masks.leave_one_out(N)))
    np.testing.assert_allclose(found, [0, 0, -0.25, -0.05, 0, 0.1], atol=1e-6)


def test_banzhaf_of_every_subset_is_exact():
    found = values.banzhaf(EVERY_SUBSET, game(EVERY_SUBSET))
    np.testing.assert_allclose(found, EXACT_BANZHAF, atol=1e-12)


def test_banzhaf_of_random_subsets_comes_close():
    subsets = masks.random_subsets(N, 4000, fraction=None)
    found = values.banzhaf(subsets, game(subsets))
    np.testing.assert_allclose(found, EXACT_BANZHAF, atol=0.02)


def test_banzhaf_does_not_know_what_never_varies():
    found = values.banzhaf(np.array([[1, 0, 1], [1, 0, 0]]), [2.0, 1.0])
    assert np.isnan(found[:2]).all() and found[2] == 1


def test_shapley_of_every_order_is_exact():
    orders = np.array(list(itertools.permutations(range(N))), np.int32)
    found = values.shapley(game, N, permutations=orders, block=4)
    np.testing.assert_allclose(found.harm, EXACT_SHAPLEY, atol=1e-12)
    assert found.asked == 2 + 720 * N


def test_shapley_by_sampling_comes_close_and_knows_how_close():
    found = values.shapley(game, N, permutations=400, seed=1)
    assert (np.abs(found.harm - EXACT_SHAPLEY) <= 4 * found.error + 1e-9).all()
    assert found.error.max() < 0.01
    total = game(np.ones((1, N)))[0] - game(np.zeros((1, N)))[0]
    np.testing.assert_allclose(found.harm.sum(), total, atol=1e-9)


def test_truncation_asks_less_and_keeps_the_order():
    def saturating(subsets):
        return 1 - np.minimum(1.0, np.asarray(subsets) @ [0.6, 0.6, 0.5, 0.5, 0.1, -0.2])

    exact = values.shapley(saturating, N, permutations=200, block=1)
    found = values.shapley(saturating, N, permutations=200, block=1, tolerance=0.05)
    assert found.asked < 0.8 * exact.asked
    assert values.rank_correlation(found.harm, exact.harm) > 0.8


def test_datamodel_finds_an_additive_loss():
    harm = np.array([0.3, -0.2, 0.0, 0.1, 0.0, -0.4])
    subsets = masks.random_subsets(N, 40, fraction=None)
    found = values.datamodel(subsets, 0.5 + subsets @ harm, penalties=[0, 1.0])
    np.testing.assert_allclose(found.harm, harm, atol=1e-8)
    np.testing.assert_allclose(found.intercept, 0.5, atol=1e-8)
    assert found.penalty == 0


def test_datamodel_of_every_subset_is_banzhaf():
    """Least squares over all subsets gives the Banzhaf value (Hammer & Holzman 1992)."""
    found = values.datamodel(EVERY_SUBSET, game(EVERY_SUBSET), penalties=[0])
    np.testing.assert_allclose(found.harm, EXACT_BANZHAF, atol=1e-9)


def test_datamodel_shrinks_where_there_is_only_noise():
    rng = np.random.default_rng(0)
    subsets = masks.random_subsets(50, 40, fraction=0.5)
    found = values.datamodel(subsets, rng.normal(size=40))
    least = values.datamodel(subsets, rng.normal(size=40), penalties=[1e-9])
    assert np.abs(found.harm).max() < 0.2 * np.abs(least.harm).max()


def test_datamodel_leave_one_out_error_is_that_of_refitting():
    """The closed form chooses the penalty that refitting without each mask in turn chooses."""
    rng = np.random.default_rng(3)
    subsets = masks.random_subsets(N, 12, fraction=None, seed=2)
    losses = game(subsets) + 0.1 * rng.normal(size=12)
    penalties = [0.01, 0.3, 3.0, 30.0]

    def refitted(penalty):
        errors = []
        for out in range(12):
            rest = np.arange(12) != out
            mean, centre = subsets[rest].mean(0), losses[rest].mean()
            x = subsets[rest] - mean
            harm = np.linalg.solve(x.T @ x + penalty * np.eye(N), x.T @ (losses[rest] - centre))
            errors.append((losses[out] - centre - (subsets[out] - mean) @ harm) ** 2)
        return np.mean(errors)

    found = values.datamodel(subsets, losses, penalties=penalties)
    assert found.penalty == min(penalties, key=refitted)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=12),
)
def test_rank_correlation_is_that_of_ranks(pairs):
    one, two = np.array(pairs, float).T
    if len(set(one)) == 1 or len(set(two)) == 1:
        assert np.isnan(values.rank_correlation(one, two))
    else:
        ranks = [(x[:, None] > x).sum(1) + (x[:, None] == x).sum(1) / 2 for x in (one, two)]
        expected = np.corrcoef(ranks)[0, 1]
        np.testing.assert_allclose(values.rank_correlation(one, two), expected, atol=1e-12)


def test_linear_datamodelling_score():
    subsets = masks.random_subsets(N, 60, fraction=0.5, seed=4)
    losses = game(subsets)
    assert values.linear_datamodelling_score(EXACT_SHAPLEY, subsets, losses) > 0.8
    assert values.linear_datamodelling_score(-EXACT_SHAPLEY, subsets, losses) < -0.8


def test_losses_that_cannot_be_used():
    with pytest.raises(ValueError, match="one loss per mask"):
        values.banzhaf(EVERY_SUBSET, np.ones(3))
    losses = game(EVERY_SUBSET)
    losses[7] = np.nan
    with pytest.raises(ValueError, match=r"masks \[7\] are not finite"):
        values.datamodel(EVERY_SUBSET, losses)
