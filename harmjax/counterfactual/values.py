"""The harm of every sample from what models trained under many masks have lost.

Everywhere: harm > 0 means that including the sample raises the loss. `losses` are verification
losses in nats of models trained under `masks`; any other number that a model scores will do.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from harmjax.counterfactual import masks as masking


def leave_one_out(loss, losses_without) -> np.ndarray:
    """Loss with everything minus loss without the sample, [N].

    Args:
        loss: [] of the model trained on everything.
        losses_without: [N] of the models trained without one sample.

    Example:
        >>> leave_one_out(0.75, [0.5, 1.0])
        array([ 0.25, -0.25])
    """
    return np.asarray(loss, float) - np.asarray(losses_without, float)


def banzhaf(masks, losses) -> np.ndarray:
    """Mean loss of the subsets with the sample minus that of those without it, [N].

    Every subset serves every sample (maximum sample reuse), which makes this the value that noise
    in training disturbs least. NaN where all subsets have the sample or none has.

    Args:
        masks: [R, N] 0 or 1, from `masks.random_subsets(fraction=None)`.
        losses: [R].

    References:
        Wang & Jia, Data Banzhaf: a robust data valuation framework for machine learning, AISTATS
        2023, arXiv 2205.15466, equation 5.

    Example:
        >>> banzhaf([[0, 0], [0, 1], [1, 0], [1, 1]], [1.0, 3.0, 1.0, 3.0])
        array([0., 2.])
    """
    masks, losses = _checked(masks, losses)
    inside = masks > 0
    number = inside.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return losses @ inside / number - losses @ ~inside / (len(masks) - number)


class Shapley(NamedTuple):
    """Values by permutation, and how sure they are."""

    harm: np.ndarray  # [N] float64
    error: np.ndarray  # [N] standard error over permutations
    asked: int  # models trained


def shapley(
    ask: Callable[[np.ndarray], np.ndarray],
    num_samples: int,
    *,
    permutations=100,
    tolerance: float = 0.0,
    block: int = 16,
    seed: int = 0,
) -> Shapley:
    """The Shapley value of the loss, by permutations with truncation.

    Samples enter one at a time in a random order; the change of the loss is theirs. Once the loss
    of a prefix is within `tolerance` of the loss with everything, the rest of the order gets 0.
    Orders come in pairs, one the reverse of the other. All orders advance together, `block`
    samples at a time, so that `ask` sees many masks at once.

    Args:
        ask: Of masks [R, N] float32: losses [R].
        num_samples: N.
        permutations: Number of orders, or the orders themselves, [P, N] int.
        tolerance: Nats; 0 truncates nothing but exact ties with the final loss.
        block: Samples between two looks at the tolerance.
        seed: Of the orders.

    References:
        Ghorbani & Zou, Data Shapley: equitable valuation of data for machine learning, ICML 2019,
        arXiv 1904.02868, algorithm 1.
        Mitchell et al., Sampling permutations for Shapley value estimation, JMLR 23, 2022.

    Example:
        >>> found = shapley(lambda masks: masks @ [1.0, -2.0], 2, permutations=4)
        >>> found.harm
        array([ 1., -2.])
    """
    if np.ndim(permutations) == 0:
        permutations = masking.permutations(num_samples, permutations, seed=seed)
    orders = np.asarray(permutations)
    permutations = len(orders)
    nothing, everything = np.asarray(
        ask(np.stack([np.zeros(num_samples), np.ones(num_samples)]).astype(np.float32)), float
    )
    gain = np.zeros((permutations, num_samples))
    before = np.full(permutations, nothing)
    live, asked = np.arange(permutations), 2
    for size in range(0, num_samples, block):
        live = live[np.abs(before[live] - everything) > tolerance] if tolerance else live
        if not len(live):
            break
        sizes = np.arange(size, min(size + block, num_samples)) + 1
        masks = masking.prefixes(orders[live], sizes)
        losses = np.asarray(ask(masks.reshape(-1, num_samples)), float).reshape(len(live), -1)
        asked += losses.size
        entering = orders[live][:, sizes - 1]
        change = np.diff(np.column_stack([before[live], losses]), axis=1)
        gain[live[:, None], entering] = change
        before[live] = losses[:, -1]
    spread = gain.std(axis=0, ddof=1) if permutations > 1 else np.full(num_samples, np.nan)
    return Shapley(gain.mean(axis=0), spread / np.sqrt(permutations), asked)


class Datamodel(NamedTuple):
    """A linear prediction of the loss from the mask: `intercept + masks @ harm`."""

    harm: np.ndarray  # [N] float64
    intercept: float
    penalty: float


def datamodel(masks, losses, *, penalties=None) -> Datamodel:
    """The loss regressed on the mask; the coefficient of a sample is its harm.

    Ridge regression, its penalty the one with the smallest leave-one-out error over the masks
    (in closed form). The paper uses the lasso, for models whose outcome hangs on few of 50,000
    samples; with hundreds of samples many of them matter.

    Args:
        masks: [R, N] 0 or 1.
        losses: [R].
        penalties: Candidates; by default 25 from 1e-4 to 1e4 times the mean squared singular value.
            0 is least squares.

    References:
        Ilyas et al., Datamodels: understanding predictions with data and data with predictions,
        ICML 2022, arXiv 2202.00622.

    Example:
        >>> masks = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
        >>> datamodel(masks, [1.0, 1.5, 2.0, 2.5], penalties=[0]).harm.round(6)
        array([1. , 0.5])
    """
    masks, losses = _checked(masks, losses)
    centred = masks - masks.mean(axis=0)
    target = losses - losses.mean()
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    used = size > 1e-9 * max(size.max(), 1e-30)
    left, size, right = left[:, used], size[used], right[used]
    if penalties is None:
        penalties = np.logspace(-4, 4, 25) * np.mean(size**2)
    along = left.T @ target

    def error(penalty):
        shrunk = size**2 / (size**2 + penalty)
        residual = target - left @ (shrunk * along)
        hat = left**2 @ shrunk + 1 / len(masks)
        return np.mean((residual / np.maximum(1 - hat, 1e-9)) ** 2)

    penalty = min(penalties, key=error)
    harm = right.T @ (size / (size**2 + penalty) * along)
    return Datamodel(harm, float(losses.mean() - masks.mean(axis=0) @ harm), float(penalty))


def linear_datamodelling_score(harm, masks, losses) -> float:
    """Rank correlation of the summed harm of random subsets with what they really lost.

    1 if the harm orders the subsets as retraining does; 0 if it knows nothing.

    Args:
        harm: [N] of any method.
        masks: [R, N] 0 or 1, subsets that the method has not seen.
        losses: [R].

    References:
        Park et al., TRAK: attributing model behavior at scale, ICML 2023, arXiv 2303.14186,
        equation 3.

    Example:
        >>> linear_datamodelling_score([1.0, 0.0], [[0, 1], [1, 0], [1, 1]], [0.1, 0.2, 0.2])
        1.0
    """
    masks, losses = _checked(masks, losses)
    return rank_correlation(masks @ np.asarray(harm, float), losses)


def rank_correlation(one, two) -> float:
    """Spearman's rank correlation; NaN if either is constant.

    Args:
        one: [R].
        two: [R].

    Example:
        >>> rank_correlation([1, 2, 9], [0.1, 0.2, 0.3])
        1.0
    """
    if min(len(np.unique(one)), len(np.unique(two))) < 2:
        return float("nan")
    return float(stats.spearmanr(one, two).statistic)


def _checked(masks, losses):
    masks, losses = np.asarray(masks, float), np.asarray(losses, float)
    if masks.ndim != 2 or losses.shape != (len(masks),):
        raise ValueError(
            f"masks {masks.shape} and losses {losses.shape}: need [R, N] and one loss per mask [R]"
        )
    if not np.isfinite(losses).all():
        worst = np.flatnonzero(~np.isfinite(losses))[:5].tolist()
        raise ValueError(f"losses of masks {worst} are not finite: these runs have diverged")
    return masks, losses
