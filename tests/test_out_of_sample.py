"""Harm by models that have not seen the sample, by hand."""

import math

import numpy as np
import pytest

from harmjax.counterfactual import out_of_sample


def wrong(logit):
    """Probability of class 1 where the label is 0."""
    return 1 / (1 + math.exp(-logit))


def binary(logit):
    return np.stack([np.zeros_like(logit), logit], axis=-1)


def test_by_hand():
    masks = [[1, 0, 0], [0, 1, 0]]
    logits = [[100.0, 2.0, -1.0], [3.0, 100.0, 0.5]]
    found = out_of_sample.out_of_sample(masks, binary(logits), [0, 1, 1])
    by_hand = [wrong(3.0), wrong(-2.0), (wrong(1.0) + wrong(-0.5)) / 2]
    np.testing.assert_allclose(found, np.array(by_hand) - 0.5)


def test_three_classes_by_hand():
    """The probability of both other classes, of the models that have not seen the sample."""
    masks = [[1, 0, 0], [0, 1, 0]]
    logits = np.log([[[1, 8, 1], [1, 2, 1], [5, 2, 3]], [[2, 3, 5], [9, 9, 9], [1, 1, 8.0]]])
    found = out_of_sample.out_of_sample(masks, logits, [0, 1, 2])
    np.testing.assert_allclose(found, [0.8 - 0.5, 0.5 - 0.5, (0.7 + 0.2) / 2 - 0.5], atol=1e-12)


def test_what_is_certain_of_three_classes_stays_finite():
    logits = [[[0.0, 0, 1e5], [0, 0, -1e5]]]
    found = out_of_sample.out_of_sample([[0, 0]], logits, [0, 0])
    np.testing.assert_allclose(found, [0.5, 0.0], atol=1e-12)


def test_a_sample_that_everyone_has_seen_is_not_judged():
    found = out_of_sample.out_of_sample([[1, 0], [1, 0]], np.zeros((2, 2, 2)), [0, 1])
    np.testing.assert_array_equal(found, [np.nan, 0.0])


@pytest.mark.parametrize(
    "masks, logits, match",
    [
        ([[1, 0]], np.zeros((2, 2, 2)), r"masks \(1, 2\), logits \(2, 2, 2\)"),
        ([[1, 0]], np.zeros((1, 2)), r"need \[R, N\], \[R, N, K\] and \[N\]"),
        ([[1, 0]], binary([[0.0, np.inf]]), r"models \[0\] are not finite"),
    ],
)
def test_wrong_input_says_so(masks, logits, match):
    with pytest.raises(ValueError, match=match):
        out_of_sample.out_of_sample(masks, logits, [0, 1])


def nearest_mean(samples, labels):
    """Logits of every sample by models that know one mean per class, less a half square each."""

    def ask(masks):
        asked.append(masks)
        logits = []
        for mask in masks:
            means = [samples[(mask > 0) & (labels == k)].mean(0) for k in range(labels.max() + 1)]
            logits.append([samples @ mean - mean @ mean / 2 for mean in means])
        return np.moveaxis(np.array(logits), 1, 2)

    asked = []
    return ask, asked


@pytest.mark.parametrize("num_classes", [2, 3])
def test_later_rounds_train_on_what_was_not_contradicted(num_classes):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % num_classes
    samples = 6.0 * np.eye(3)[labels] + rng.normal(size=(80, 3))
    flipped = rng.permutation(80)[:16]
    labels[flipped] = (labels[flipped] + 1) % num_classes
    ask, asked = nearest_mean(samples, labels)
    found = out_of_sample.trusting(ask, labels, models=32, rounds=2)
    first = out_of_sample.out_of_sample(asked[0], ask(asked[0]), labels)
    assert found.asked == 64
    np.testing.assert_array_equal(found.trusted, first <= 0)
    assert not asked[1][:, first > 0].any() and asked[1][:, first <= 0].any()
    assert set(np.argsort(-found.harm)[:16]) == set(flipped)


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="rounds=0"):
        out_of_sample.trusting(lambda masks: masks, [0, 1], rounds=0)
