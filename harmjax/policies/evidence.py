"""What `screen` knows of a sample: harm by several scorers, in units of the verification scans."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.engine.apart import apart
from harmjax.policies import conformal
from harmjax.scorers import measures

IGNORANT = 1e-4  # weight of a verdict of a model that knows nothing


class Calibration(NamedTuple):
    """What the samples of one cycle are measured with and against."""

    model: types.Model  # as the cycle began
    reference: types.PyTree  # of every family, by the fold it measures: leaves [2, ...]
    middle: types.Array  # [K, E] float32, median harm of the verification scans by class, or NaN
    spread: types.Array  # [K, E] float32, their robust standard deviation
    weight: types.Array  # [E] float32, of the evidence of this cycle, see `information`
    shares: types.Array  # [E] float32, of the level, summing to 1
    families: conformal.Scale  # of every family's accumulated evidence: leaves [E, K, ...]
    fused: conformal.Scale  # of the fused evidence
    held_out: types.Array  # [M, E] float32, of the verification scans, averaged; NaN if not known
    held_out_label: types.Array  # [M] int32
    blind: types.Array  # [] bool, whether a class has no scan to measure a family's evidence by now
    confusion: types.Array  # [K, K] int32, of the model, over all verification scans


class Families(NamedTuple):
    """Several harm scorers asked at once; E of them."""

    names: tuple[str, ...]
    shares: types.Array  # [E] float32, of the level where every family knows enough, summing to 1
    is_verdict: types.Array  # [E] bool, see `types.HarmScorer`
    reference: Callable[[types.Federation, types.Model, types.Cycle], types.PyTree]  # [2, ...]
    measure: types.Measure  # see `measures.cross_fitted`


def families(
    names: Sequence[str], shares: Sequence[float] = (), settings: Mapping | None = None
) -> Families:
    """The scorers of these names.

    Each centre's verification scans are in one of two folds. References are made of one fold or the
    other, and every sample is measured against the fold that it is not in.

    Args:
        names: Of files of `harmjax/scorers`.
        shares: Of the level, one per name and above 0, in any unit; () for equal ones.
        settings: Name of a scorer -> its settings; defaults for the others.

    Raises:
        ValueError: No name, an unknown one, a scorer that tries updates out, settings of a scorer
            that is not asked or that does not take them, or unfit shares.
    """
    settings = dict(settings or {})
    if not names:
        raise ValueError("screen.families is empty: name at least one scorer")
    if shares and (len(shares) != len(names) or min(shares) <= 0):
        raise ValueError(
            f"screen.shares={tuple(shares)} must be () or above 0, one for each of {tuple(names)}"
        )
    if set(settings) - set(names):
        raise ValueError(
            f"screen.settings has {sorted(set(settings) - set(names))}, which are not among "
            f"screen.families={tuple(names)}"
        )
    asked = [measures.measure(name, settings.get(name)) for name in names]
    members = {measure.name: measures.scorer(measure) for measure in asked}
    share = jnp.array(shares or [1.0] * len(members), jnp.float32)
    for name, member in members.items():
        if member.measure is None:
            raise ValueError(f"screen.families: {name!r} tries updates out; choose another scorer")

    def reference(fed: types.Federation, model: types.Model, cycle):
        each = [
            {name: m.reference(fed, model, cycle, 1 - own) for name, m in members.items()}
            for own in range(2)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    return Families(
        names=tuple(members),
        shares=share / jnp.sum(share),
        is_verdict=jnp.array([member.is_verdict for member in members.values()]),
        reference=reference,
        measure=measures.cross_fitted(asked),
    )


def calibrate(
    asked: Families, fed: types.Federation, model: types.Model, cycle, start, total, known
) -> tuple[Calibration, types.Array, types.Array]:
    """The calibration of a cycle, and sums and weights [M, E] of its scans' evidence so far.

    Cycles count by what their models know, see `information`, and a scan counts in a family in the
    cycles in which it had finite evidence there. A family whose models have known little so far
    leaves its share of the level to the others: it counts as its mean information, up to 1. The
    fused evidence is calibrated by scans that are known in every family which any scan of their
    class is known in: what is missing would make them look better than they are, and all others
    worse.

    Args:
        asked: From `families`.
        fed: Where the data are.
        model: As the cycle begins.
        cycle: The cycle.
        start: The first cycle that evidence is of.
        total: [M, E] float32, evidence about the verification scans before this cycle, summed.
        known: [M, E] float32, weights in the sum.
    """
    reference = asked.reference(fed, model, cycle)
    found = fed.survey(asked.measure, model, reference)
    confusion = fed.total("confusion", model)
    classes = jnp.arange(fed.num_classes)
    harm, label = found["harm"], found["label"]
    made, total, known = _calibrated(
        classes, harm, label, total, known, asked.shares, asked.is_verdict, cycle - start + 1
    )
    return Calibration(model, reference, confusion=confusion, **made), total, known


@apart
def _calibrated(classes, harm, label, total, known, shares, is_verdict, num_cycles):
    """Fields of the calibration made of evidence, and the sums and weights after this cycle."""
    label = label.astype(jnp.int32)
    middle, spread = jax.vmap(lambda own: median_and_spread(harm, label == own))(classes)
    units = (harm - middle[label]) / spread[label]
    weight = jnp.where(is_verdict, information(middle, spread), 1.0)
    is_known, added = finite(units)
    total, known = total + weight * added, known + weight * is_known
    told = shares * jnp.minimum(jnp.max(known, axis=0) / num_cycles, 1.0)
    told = jnp.where(jnp.any(told > 0), told, shares)
    shares = told / jnp.sum(told)
    mean = averaged(total, known)
    scale = functools.partial(conformal.scale, num_classes=len(classes))
    scales = jax.vmap(scale, (1, None))(mean, label)
    own = jax.vmap(conformal.own_p_value, (0, 1, None), 1)(scales, mean, label)
    whole = jnp.all((known > 0) | ~measurable(scales)[label], axis=1)
    fused = scale(jnp.where(whole, combine_p_values(own, shares), jnp.nan), label)
    known_now = jax.vmap(lambda own: jnp.any(is_known & (label == own)[:, None], axis=0))(classes)
    made = {
        "middle": middle,
        "spread": spread,
        "weight": weight,
        "shares": shares,
        "families": scales,
        "fused": fused,
        "held_out": mean,
        "held_out_label": label,
        "blind": ~jnp.all(known_now) | jnp.any(fused.number == 0),
    }
    return made, total, known


def information(middle, spread):
    """What a cycle's evidence [E] is worth, by what the model knows of labels held out.

    A model's verdict on a wrong label is on average `2 d` robust standard deviations from that on a
    right one, d being how far the medians m of the verification scans lie on the side of
    agreement, `d = max(-mean_k m_k, 0) / mean_k spread_k`; the means over classes do not hang on
    where the model draws the line between two. The evidence of a cycle weighs d^2, the information
    of one verdict, and a little where the model knows nothing.

    Args:
        middle: [K, E] float32, by class; NaN where nothing is known.
        spread: [K, E] float32.

    Example:
        >>> middle, spread = jnp.array([[-3.0, jnp.nan], [1.0, 1.0]]), jnp.full((2, 2), 0.5)
        >>> [round(float(w), 3) for w in information(middle, spread)]
        [4.0, 0.0]
    """
    spread = jnp.where(jnp.isnan(middle), jnp.nan, spread)
    distance = jnp.nanmean(-middle, axis=0) / jnp.nanmean(spread, axis=0)
    return jnp.nan_to_num(jnp.maximum(distance, 0.0)) ** 2 + IGNORANT


def standardise(calibration: Calibration, harm, label):
    """Evidence [J, E] in units of the verification scans, from harm [J, E]."""
    return (harm - calibration.middle[label]) / calibration.spread[label]


def finite(units):
    """Which evidence [J, E] is finite, and that evidence with 0 where it is not."""
    known = jnp.isfinite(units)
    return known, jnp.where(known, units, 0.0)


def averaged(total, known):
    """Weighted mean evidence [J, E] over the visits in which it was finite; NaN where none was.

    Args:
        total: [J, E] float32, weighted sums of what was finite.
        known: [J, E] float32, weights in the sum.
    """
    return jnp.where(known > 0, total / jnp.where(known > 0, known, 1.0), jnp.nan)


def measurable(scales: conformal.Scale):
    """[K, E] bool, whether any verification scan of the class is known in the family."""
    return scales.number.T > 0


def p_values_by_family(calibration: Calibration, mean, label, p_value=conformal.p_value):
    """Conformal p-values [J, E] of every family, of evidence [J, E] averaged over cycles.

    1 where the evidence is NaN.
    """
    return jax.vmap(p_value, (0, 1, None), 1)(calibration.families, mean, label)


def p_values(calibration: Calibration, mean, label, *, calibrating: bool = False):
    """Conformal p-values [J] of all families together; 1 where nothing is known in any.

    Args:
        calibration: Of the cycle.
        mean: [J, E] float32, evidence averaged over cycles.
        label: [J] int32.
        calibrating: Whether these are verification scans, each counted among them already.
    """
    p_value = conformal.own_p_value if calibrating else conformal.p_value
    by_family = p_values_by_family(calibration, mean, label, p_value)
    found = p_value(calibration.fused, combine_p_values(by_family, calibration.shares), label)
    return jnp.where(jnp.all(jnp.isnan(mean), axis=1), 1.0, found)


def median_and_spread(harm, used):
    """Median [E] and robust standard deviation [E] of the finite rows of `harm` [M, E] used.

    NaN and 1 where there is none, so that evidence in these units is not known either.
    """
    known = jnp.where(used[:, None] & jnp.isfinite(harm), harm, jnp.nan)
    middle = jnp.nanmedian(known, axis=0)
    deviation = 1.4826 * jnp.nanmedian(jnp.abs(known - middle), axis=0)
    return middle, jnp.where(deviation > 1e-9, deviation, 1.0)


def combine_p_values(p_values, shares):
    """The fused score [J] of tail probabilities [J, E], `log sum_f share_f / p_f`.

    Minus the logarithm of their harmonic mean, weighted by the shares [E], which sum to 1.

    References:
        Wilson, The harmonic mean p-value for combining dependent tests, PNAS 116(4), 2019, doi
        10.1073/pnas.1814092116.
    """
    return jax.nn.logsumexp(jnp.log(shares) - jnp.log(jnp.maximum(p_values, 1e-30)), axis=1)
