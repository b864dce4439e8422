"""Whether all samples of a centre together look harmful, where each alone may not.

`suspicion.decide` asks at the level `policy.screen.alpha`, `suspicion.examine` at a part of it.
"""

import jax
import jax.numpy as jnp
from jax.scipy import stats

LEAST_BETWEEN = 0.05  # variance between centres that is taken for granted, of normal scores
CUT = 2.5  # standard deviations that one sample may count, so that it does not convict its centre


def harmful(training, held_out, level, *, least: int = 2):
    """[N] bool, whether the sample's centre is harmful at a family-wise error of `level`."""
    return p_values(training, held_out, least=least) <= level


def p_values(training, held_out, *, least: int = 2):
    """[N], the family-wise p-value of the sample's centre: harmful as a group where it is small.

    P-values become normal scores `g = -Phi^-1(p)`, cut at `CUT`. A centre's scores scatter with
    variance s^2 around a mean of its own, which varies between centres with variance tau^2: its
    scanner or its patients. Both variances come from the verification scans (see `components`),
    and the m verification scans of the centre predict its mean, shrunk by `m tau^2 / (m tau^2 +
    s^2)` (best linear prediction). What the mean of its n training samples exceeds that by has
    variance `s^2 / n + tau^2 s^2 / (m tau^2 + s^2)` at a good centre, where s^2 is that of its own
    training samples if they scatter more than verification scans do. Families of evidence are
    tested apart; the smallest p-value is multiplied by the number of centres and families
    (Bonferroni), also of those in which little is known.

    NaN is not known and takes no part: not as a good sample, nor as a good verification scan, which
    would make all others look harmful. Without verification scans that tell how scores scatter
    within a centre, all have the p-value 1.

    Args:
        training: (p-values [N, E], centre [N], used [N] bool).
        held_out: (p-values [M, E], centre [M]) of the verification scans.
        least: Samples of the smallest centre that is tested.

    References:
        Robinson, That BLUP is a good thing, Statistical Science 6(1), 1991.
    """
    p_value, centre, used = training
    size = len(centre) + len(held_out[1])  # more than there are centres
    tested = jnp.zeros(size).at[centre].add(used) >= least

    def of_family(p_value, of_held_out):
        told, known = ~jnp.isnan(of_held_out), used & ~jnp.isnan(p_value)
        usual = normal_scores(of_held_out)
        middle = jnp.sum(jnp.where(told, usual, 0.0)) / jnp.maximum(jnp.sum(told), 1)
        usual = jnp.where(told, usual - middle, 0.0)
        _, between, within = components(usual, held_out[1], size, told)
        score = normal_scores(p_value) - middle
        number = jnp.zeros(size).at[centre].add(known)
        mean = jnp.zeros(size).at[centre].add(jnp.where(known, score, 0.0)) / jnp.maximum(number, 1)
        squares = jnp.where(known, (score - mean[centre]) ** 2, 0.0)
        own = jnp.zeros(size).at[centre].add(squares) / jnp.maximum(number - 1, 1)
        within = jnp.maximum(within, own)
        verified = jnp.zeros(size).at[held_out[1]].add(told)
        predicted = between * jnp.zeros(size).at[held_out[1]].add(usual)
        predicted /= verified * between + within
        left = between * within / (verified * between + within)
        found = stats.norm.sf((mean - predicted) / jnp.sqrt(left + within / jnp.maximum(number, 1)))
        return jnp.where((number >= least) & ~jnp.isnan(found), found, 1.0)

    found = jax.vmap(of_family, 1, 1)(p_value, held_out[0])
    tests = jnp.sum(tested) * found.shape[1]
    return jnp.where(tested, jnp.minimum(jnp.min(found, axis=1) * tests, 1.0), 1.0)[centre]


def normal_scores(p_value):
    """`-Phi^-1(p)`, cut to [-CUT, CUT]."""
    return jnp.clip(-stats.norm.ppf(jnp.clip(p_value, 1e-6, 1 - 1e-6)), -CUT, CUT)


def components(score, centre, size: int, known=None):
    """Variance between centres, an upper bound of it, and variance within them.

    Mean squares of a one-way analysis of variance with centres of unequal size. Few centres tell
    little of the variance between them, so it is taken at the upper end of its one-sided 95%
    interval, and as `LEAST_BETWEEN` at least; one that is too small would make any difference
    between hospitals look like harm.

    Args:
        score: [M] of mean 0.
        centre: [M] int.
        size: More than the largest centre index.
        known: [M] bool, the scores that take part; all by default.

    Returns:
        Three float32 scalars, the last NaN if every centre has a single score.

    References:
        Searle, Casella & McCulloch, Variance components, 1992, section 3.6.
        Wilson & Hilferty, The distribution of chi-square, PNAS 17(12), 1931 (its quantile).
    """
    known = jnp.ones(len(score), bool) if known is None else known
    number = jnp.zeros(size).at[centre].add(known)
    mean = jnp.zeros(size).at[centre].add(jnp.where(known, score, 0.0)) / jnp.maximum(number, 1)
    scans, groups = jnp.sum(number), jnp.sum(number > 0)
    freedom = jnp.maximum(groups - 1, 1)
    squares = jnp.where(known, (score - mean[centre]) ** 2, 0.0)
    within = jnp.sum(squares) / jnp.maximum(scans - freedom - 1, 1)
    within = jnp.where(scans > groups, within, jnp.nan)
    square = jnp.sum(number * mean**2) / freedom
    typical = jnp.maximum(scans - jnp.sum(number**2) / jnp.maximum(scans, 1), 1) / freedom
    part = 2 / (9 * freedom)
    lowest = (1 - part - 1.645 * jnp.sqrt(part)) ** 3  # 5% quantile of chi-square over freedom

    def between(square):
        return jnp.maximum((square - within) / typical, 0.0)

    upper = jnp.maximum(between(square / lowest), LEAST_BETWEEN)
    return between(square), upper, jnp.maximum(within, 1e-6)  # NaN stays NaN
