"""Several families of evidence in one score, without a single known harmful sample."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from harmjax import types
from harmjax.scorers import measures

FAMILIES = ("alignment", "influence", "margin", "loss", "mahalanobis")
SHARED = {  # settings that are handed on, and to whom
    "verify": ("alignment", "influence", "with_without"),
    "derivative": ("alignment", "influence"),
}
SQUARED = ("mahalanobis",)


def combined(
    *,
    families: Sequence[str] = FAMILIES,
    verify: str = "error",
    derivative: str = "jvp",
    floor: float = -1.0,
    ceiling: float = 10.0,
    squared: Sequence[str] = SQUARED,
    weight: float = 2.5,
) -> types.HarmScorer:
    """A scorer that adds up how unusual a sample is among the samples judged together.

    Each family's harm becomes `z = (harm - median) / (1.4826 MAD)`, cut to [floor, ceiling]. The
    median and the median absolute deviation are those of the bulk, so that up to half of the
    samples may be harmful. The floor keeps a family that finds nothing from excusing what another
    has found; the ceiling keeps one family from deciding alone. Margins, losses and gradients have
    heavy tails and see much the same: their mean counts, times `weight`. Log-distances have none:
    theirs say what a normal deviate would, `max(z, 0)^2 / 2` nats, without a ceiling, and are
    added. Judge the evidence of the whole cohort: among the samples of one stop, the numbers mean
    little. Over several cycles, average each family's harm first, then `fuse`, which can also let
    the samples of a centre share what is known of it.

    Args:
        families: Names of scorers, with default settings but for the next two.
        verify: 'error' or 'loss', for the families that verify: see `alignment`.
        derivative: 'jvp' or 'difference', for those that differentiate: see `alignment`.
        floor: Robust standard deviations.
        ceiling: Robust standard deviations.
        squared: Families without heavy tails.
        weight: Of the mean of the others.

    Raises:
        ValueError: No family, or an unknown one.

    Example:
        >>> evidence = {'margin': jnp.array([3.0, 2.0, 1.0, -40.0])}
        >>> harm = combined(families=('margin',)).judge(evidence, {'margin': {}})
        >>> [round(float(h), 1) for h in harm]
        [-2.5, -0.8, 0.8, 25.0]
    """
    if not families:
        raise ValueError("combined.families is empty: name at least one scorer")
    given = {"verify": verify, "derivative": derivative}
    asked = {}
    for name in families:
        settings = {s: value for s, value in given.items() if name in SHARED[s]}
        asked[name] = measures.measure(name, settings)
    members = {name: measures.scorer(measure) for name, measure in asked.items()}
    tried = any(member.trial is not None for member in members.values())

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        return {name: m.reference(fed, model, cycle, fold) for name, m in members.items()}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        found: dict = {}
        for name, measure in asked.items():
            found |= measures.resolved(measure)(learner, model, batch, reference[name])
        return found

    def trial(fed: types.Federation, model: types.Model, stop: types.Stop, reference):
        found: dict = {}
        for name, measure in asked.items():
            found |= measures.evidence(measure, fed, model, stop, reference[name])
        return found

    def judge(evidence, reference):
        harms = {n: member.judge(evidence, reference[n]) for n, member in members.items()}
        return fuse(harms, floor=floor, ceiling=ceiling, squared=squared, weight=weight)

    return types.HarmScorer(
        reference, None if tried else measure, judge, trial=trial if tried else None
    )


def fuse(
    harms,
    *,
    centre=None,
    floor: float = -1.0,
    ceiling: float = 10.0,
    squared: Sequence[str] = SQUARED,
    weight: float = 2.5,
    shared: float = 0.5,
):
    """The combined harm [N] of several families' harms, such as their means over many cycles.

    Args:
        harms: Family name -> [N], NaN where not known.
        centre: [N] int, or None. What the mean of a centre exceeds that of the median centre by is
            added to all its samples, times `shared`: weak evidence about a bad centre adds up.
        floor: As in `combined`.
        ceiling: As in `combined`.
        squared: As in `combined`.
        weight: As in `combined`.
        shared: Fraction.

    Example:
        >>> harm = jnp.array([-1.0, 0.0, 1.0, 8.0])
        >>> fuse({'mahalanobis': harm}).astype(int).tolist()
        [0, 0, 0, 12]
    """
    each = {name: unusual(harm) for name, harm in harms.items()}
    normal = [jnp.maximum(z, 0) ** 2 / 2 for name, z in each.items() if name in squared]
    heavy = [jnp.clip(z, floor, ceiling) for name, z in each.items() if name not in squared]
    total = sum(normal) + weight * sum(heavy) / max(len(heavy), 1)
    return total if centre is None else total + shared * _of_centre(total, centre)


def _of_centre(harm, centre):
    """What the mean harm of each sample's centre exceeds that of the median centre by [N]."""
    _, place = jnp.unique(centre, return_inverse=True, size=len(centre))
    known = ~jnp.isnan(harm)
    total = jax.ops.segment_sum(jnp.where(known, harm, 0.0), place, len(centre))
    number = jax.ops.segment_sum(known.astype(jnp.float32), place, len(centre))
    mean = total / jnp.where(number > 0, number, jnp.nan)
    return mean[place] - jnp.nanmedian(mean)


def unusual(values):
    """Robust standard deviations [N] from the median of the known values; NaN stays NaN."""
    middle = jnp.nanmedian(values)
    deviation = 1.4826 * jnp.nanmedian(jnp.abs(values - middle))
    return (values - middle) / jnp.maximum(deviation, 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30))
