"""What models that have not seen a sample think of its label."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from harmjax.counterfactual import masks as masking


def out_of_sample(masks, logits, labels) -> np.ndarray:
    """Mean probability [N] of the other classes, less 1/2, over the models not trained on a sample.

    Harm is > 0 where those models contradict the label. Unlike the margin of a model in training,
    it cannot be memorised away. NaN for a sample that every model was trained on.

    Args:
        masks: [R, N], 0 = not trained on.
        logits: [R, N, K] of the training samples, by each model.
        labels: [N] int.

    Raises:
        ValueError: Shapes that do not fit, or logits that are not finite.

    References:
        Kwon & Zou, Data-OOB: out-of-bag estimate as a simple and efficient data value, ICML 2023,
        arXiv 2304.07718, equation 3 (there bootstrapped weak learners and the zero-one score).

    Example:
        >>> logits = [[[0, 9], [0, 9]], [[0, 9], [0, 0]]]
        >>> out_of_sample([[0, 1], [0, 0]], logits, [0, 1]).round(2)
        array([0.5, 0. ])
    """
    masks, logits = np.asarray(masks), np.asarray(logits, float)
    labels = np.asarray(labels)
    fit = masks.ndim == 2 and logits.ndim == 3 and labels.shape == masks.shape[1:]
    if not fit or masks.shape != logits.shape[:2]:
        raise ValueError(
            f"masks {masks.shape}, logits {logits.shape}, labels {labels.shape}: "
            "need [R, N], [R, N, K] and [N]"
        )
    if not np.isfinite(logits).all():
        worst = np.flatnonzero(~np.isfinite(logits).all(axis=(1, 2)))[:5].tolist()
        raise ValueError(f"logits of models {worst} are not finite: these runs have diverged")
    own = np.arange(logits.shape[2]) == labels[:, None]
    others = np.logaddexp.reduce(np.where(own, -np.inf, logits), axis=2)
    wrong = np.exp(-np.logaddexp(0, np.where(own, logits, 0).sum(axis=2) - others))
    unseen = masks == 0
    with np.errstate(invalid="ignore"):
        return (wrong * unseen).sum(axis=0) / unseen.sum(axis=0) - 0.5


class Trusting(NamedTuple):
    """Harm by models that were trained on what earlier ones did not contradict."""

    harm: np.ndarray  # [N] float64
    trusted: np.ndarray  # [N] bool, what the last models were drawn from
    asked: int  # models trained


def trusting(
    ask: Callable[[np.ndarray], np.ndarray],
    labels,
    *,
    models: int = 32,
    fraction: float = 0.5,
    rounds: int = 3,
    seed=0,
) -> Trusting:
    """Out-of-sample harm over rounds: each trains only on what the round before did not contradict.

    Every round trains `models` models on random subsets of the samples it trusts. Wrong labels
    disturb the first round's models; the later ones hardly meet them. A sample that is not trusted
    is judged by all models of a round, and may come back.

    Args:
        ask: Of masks [R, N]: logits [R, N, K] of the training samples.
        labels: [N] int.
        models: Of a round.
        fraction: Of all samples in a subset, before those not trusted are taken out.
        rounds: 1 trusts everyone.
        seed: Of the subsets.

    Raises:
        ValueError: No rounds.

    Example:
        >>> found = trusting(lambda masks: np.tile([0.0, 2.0], (32, 2, 1)), [0, 1], rounds=2)
        >>> found.harm.round(2), found.trusted
        (array([ 0.38, -0.38]), array([False,  True]))
    """
    if rounds < 1:
        raise ValueError(f"trusting.rounds={rounds}: need at least one")
    labels = np.asarray(labels)
    trusted = np.ones(len(labels), bool)
    for number in range(rounds):
        drawn = np.random.SeedSequence([seed, number]).generate_state(1)[0]
        masks = masking.random_subsets(len(labels), models, fraction=fraction, seed=drawn) * trusted
        harm = out_of_sample(masks, ask(masks), labels)
        if number < rounds - 1:
            trusted = ~(harm > 0)
    return Trusting(harm, trusted, rounds * models)
