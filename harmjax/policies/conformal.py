"""Conformal p-values, class by class, with tails that go on beyond the last calibration scan."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from harmjax import types


class Scale(NamedTuple):
    """Scores of calibration scans of each class in ascending order, and the tail beyond them."""

    score: types.Array  # [K, M] float32, -inf in front where a class has fewer than M scans
    number: types.Array  # [K] float32, scans of the class
    tail: types.Array  # [K] float32, the highest scans of it, which make up the tail
    edge: types.Array  # [K] float32, the lowest score of these
    beyond: types.Array  # [K] float32, scans that tell how the tail falls, others' as far as lent
    excess: types.Array  # [K] float32, what these exceed their classes' edges by, summed


def scale(
    score,
    label,
    *,
    num_classes: int = 2,
    fraction: float = 0.2,
    least: int = 10,
    lent: float = 20.0,
) -> Scale:
    """The scale on which scores of one kind are measured.

    Two of 200 scans of a class lie beyond its 1% quantile, which says little of where it is. So a
    fifth of them, beyond the class's own edge, tell how its tail falls, and the tails of the other
    classes are counted as `lent` further scans of it: the posterior of an exponential rate. A class
    of few scans whose tail reaches down into its middle is lent fewer: scores lie closer together
    further out.

    Args:
        score: [M] float32 of calibration scans, higher is more suspicious; NaN takes no part.
        label: [M] int32, class of each.
        num_classes: K.
        fraction: Share of a class that makes up the tail.
        least: Fewest scans in the tail; all there are where a class has fewer.
        lent: Most scans that the tails of the other classes count as.
    """

    def of_class(own):
        used = (label == own) & ~jnp.isnan(score)
        ordered = jnp.sort(jnp.where(used, score, -jnp.inf))
        number = jnp.sum(used)
        tail = jnp.minimum(jnp.maximum(least, fraction * number).astype(jnp.int32), number)
        first = jnp.clip(len(score) - tail, 0, len(score) - 1)
        edge = ordered[first]
        excess = jnp.where(jnp.arange(len(score)) >= first, ordered - edge, 0.0)
        excess = jnp.sum(jnp.where(jnp.isfinite(excess), excess, 0.0))
        beyond = jnp.maximum(tail - 1, 0)
        return Scale(ordered, *jnp.asarray((number, tail, edge, beyond, excess), jnp.float32))

    own: Scale = jax.vmap(of_class)(jnp.arange(num_classes))
    others = jnp.sum(own.beyond) - own.beyond
    outer = (1 - own.tail / jnp.maximum(own.number, 1)) / max(1 - fraction, 1e-6)
    share = jnp.minimum(lent * outer, others) / jnp.maximum(others, 1)
    return own._replace(
        beyond=own.beyond + share * others,
        excess=own.excess + share * (jnp.sum(own.excess) - own.excess),
    )


def p_value(scale: Scale, score, label):
    """P-values [J] of samples that took no part in the scale; 1 where the score is NaN.

    Up to the edge of the tail, `(1 + #{calibration scans of the class with as high a score}) / (n +
    1)`, which holds its level for any n if good samples and calibration scans are exchangeable. A
    score y beyond the edge, the k-th highest, has `(k + 1) / (n + 1) (1 + y / S)^-b`, b scans
    exceeding their edges by S in sum: the predictive distribution of an exponential tail whose mean
    is not known.

    Args:
        scale: From `scale`.
        score: [J] float32.
        label: [J] int32, class of each.

    References:
        Vovk, Gammerman & Shafer, Algorithmic learning in a random world, 2005, section 2.2.
        Bates, Candes, Lei, Romano & Sesia, Testing for outliers with conformal p-values, Annals of
        Statistics 51(1), 2023, arXiv 2104.08279, equation 2.

    Example:
        >>> ten = scale(jnp.arange(10.0), jnp.zeros(10, int), least=2)
        >>> found = p_value(ten, jnp.array([-1.0, 4.5, 7.5]), jnp.zeros(3, int))
        >>> [round(float(p), 2) for p in found]
        [1.0, 0.55, 0.27]
    """
    return _p_value(scale, score, label, 1)


def own_p_value(scale: Scale, score, label):
    """P-values [M] of the calibration scans themselves, each counted among them; never 0."""
    return _p_value(scale, score, label, 0)


def _p_value(scale, score, label, extra):
    def one(score, label):
        of = jax.tree.map(lambda leaf: leaf[label], scale)
        number = jnp.maximum(of.number + extra, 1)
        higher = jnp.maximum(len(of.score) - jnp.sum(of.score < score), 1 - extra)
        rise = 1 + jnp.maximum(score - of.edge, 0) / jnp.maximum(of.excess, 1e-12)
        tail = (of.tail + extra) / number * rise**-of.beyond
        found = jnp.where((score > of.edge) & (of.tail > 1), tail, (higher + extra) / number)
        return jnp.where(jnp.isnan(score), 1.0, jnp.minimum(found, 1.0))

    return jax.vmap(one)(score, label)


def largest_rejected(p_value, used, rate):
    """The largest p-value that Benjamini and Hochberg reject at a false discovery rate, or -1.

    Of n p-values in ascending order, `max p_(i) with p_(i) <= rate i / n`. NaN counts among those
    tested and is never rejected.

    Args:
        p_value: [N] float32.
        used: [N] bool, which are tested.
        rate: Fraction.

    References:
        Benjamini & Hochberg, Controlling the false discovery rate, Journal of the Royal Statistical
        Society B 57, 1995.
    """
    ordered = jnp.sort(jnp.where(used, p_value, jnp.inf))
    place = jnp.arange(1, len(ordered) + 1)
    passed = ordered <= rate * place / jnp.maximum(jnp.sum(used), 1)
    return jnp.max(jnp.where(passed, ordered, -1.0))
