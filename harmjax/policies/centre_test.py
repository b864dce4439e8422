"""Whether all samples of a centre together look harmful, where each alone may not."""

import jax
import jax.numpy as jnp
from jax.scipy import stats

CUT = 2.5  # standard deviations that one sample may count, so that it does not convict its centre


def harmful(training, held_out, level, *, least: int = 2):
    """[N] bool, whether the sample's centre is harmful at a family-wise error of `level`.

    P-values become normal scores `g = -Phi^-1(p)`, cut at `CUT`. A centre's scores scatter with
    variance s^2 around a mean of its own, which varies between centres with variance tau^2: its
    scanner or its patients. Both variances come from the verification scans (method of moments),
    and the m verification scans of the centre predict its mean, shrunk by `m tau^2 / (m tau^2 +
    s^2)` (best linear prediction). What the mean of its n training samples exceeds that by has
    variance `s^2 / n + tau^2 s^2 / (m tau^2 + s^2)` at a good centre. Families of evidence are
    tested apart; the level is divided by the number of centres and families (Bonferroni).

    Args:
        training: (p-values [N, E], centre [N], used [N] bool).
        held_out: (p-values [M, E], centre [M]) of the verification scans.
        level: Fraction.
        least: Samples of the smallest centre that is tested.

    References:
        Robinson, That BLUP is a good thing, Statistical Science 6(1), 1991.
    """
    p_value, centre, used = training
    size = len(centre)  # more than there are centres
    number = jnp.zeros(size).at[centre].add(used)
    tested = number >= least

    def of_family(p_value, of_held_out):
        usual = normal_scores(of_held_out)
        usual = usual - jnp.mean(usual)
        between, within = components(usual, held_out[1], size)
        verified = jnp.zeros(size).at[held_out[1]].add(1.0)
        predicted = between * jnp.zeros(size).at[held_out[1]].add(usual)
        predicted /= verified * between + within
        left = between * within / (verified * between + within)
        score = normal_scores(p_value) - jnp.mean(normal_scores(of_held_out))
        mean = jnp.zeros(size).at[centre].add(jnp.where(used, score, 0.0)) / jnp.maximum(number, 1)
        return stats.norm.sf((mean - predicted) / jnp.sqrt(left + within / jnp.maximum(number, 1)))

    found = jax.vmap(of_family, 1, 1)(p_value, held_out[0])
    tests = jnp.sum(tested) * found.shape[1]
    return (tested & (jnp.min(found, axis=1) * tests <= level))[centre]


def normal_scores(p_value):
    """`-Phi^-1(p)`, cut to [-CUT, CUT]."""
    return jnp.clip(-stats.norm.ppf(jnp.clip(p_value, 1e-6, 1 - 1e-6)), -CUT, CUT)


def components(score, centre, size: int):
    """Variance between centres and within, by the method of moments.

    Args:
        score: [M] of mean 0.
        centre: [M] int.
        size: More than the largest centre index.
    """
    number = jnp.zeros(size).at[centre].add(1.0)
    mean = jnp.zeros(size).at[centre].add(score) / jnp.maximum(number, 1)
    present = jnp.sum(number > 0)
    all_scans = len(score)
    within = jnp.sum((score - mean[centre]) ** 2) / jnp.maximum(all_scans - present, 1)
    excess = jnp.sum(number * mean**2) - present * within
    between = excess / jnp.maximum(all_scans - jnp.sum(number**2) / all_scans, 1)
    return jnp.maximum(between, 0.0), jnp.maximum(within, 1e-6)
