"""Distance of a scan's looks from those of the verification scans, without any model."""

import jax
import jax.numpy as jnp

from harmjax import scorers, types
from harmjax.engine.apart import apart
from harmjax.scorers import descriptors, mahalanobis

FLOOR = 0.005  # smallest standard deviation of an entry that counts
CUT = 10.0  # standard deviations that one entry may count


def appearance(*, shrinkage: float = 0.1) -> types.HarmScorer:
    """A scorer by how unlike the verification scans a scan looks, whatever its label.

    The descriptor of `descriptors` is compared with the mean of the verification scans by
    the Mahalanobis distance, on descriptors scaled to unit variance and with a shrunk correlation
    matrix. Harm is the logarithm of the squared distance over the descriptor's length. It sees
    damaged images at once, before any training, and never a wrong label. It says "unlike", which is
    not yet "harmful"; a centre whose scanner is unlike all others looks damaged.

    Args:
        shrinkage: Of the correlation matrix towards the identity, fraction in (0, 1].

    Raises:
        ValueError: A shrinkage outside (0, 1].

    References:
        Esteban et al., MRIQC: advancing the automatic prediction of image quality in MRI from
        unseen sites, PLoS ONE 12(9), 2017, doi 10.1371/journal.pone.0184661 (measures of one scan
        against those of many).

    Example:
        >>> float(appearance().judge({'appearance': 1.0}, {}))
        0.0
    """
    if not 0 < shrinkage <= 1:
        raise ValueError(f"appearance.shrinkage={shrinkage}: expected a fraction in (0, 1]")

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del cycle
        number, total = fed.total("appearance_sums", model, fold=fold)
        mean = middle(number, total)
        return made(number, mean, fed.total("appearance_scatter", model, mean, fold=fold))

    @apart
    def middle(number, total):
        return total / jnp.maximum(number, 1)

    @apart
    def made(number, mean, scatter):
        covariance = scatter / jnp.maximum(number, 1)
        scale = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), 0) + FLOOR**2)
        correlation = covariance / jnp.outer(scale, scale)
        whiten = mahalanobis.whitening(correlation, shrinkage)
        return {"mean": scorers.answered(mean, number), "scale": scale, "whiten": whiten}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        del learner, model
        described = jax.vmap(descriptors.describe)(batch.image)
        off = jnp.clip((described - reference["mean"]) / reference["scale"], -CUT, CUT)
        return {"appearance": mahalanobis.mean_square(reference["whiten"], off)}

    def judge(evidence, reference):
        del reference
        return jnp.log(jnp.maximum(evidence["appearance"], 1e-12))

    return types.HarmScorer(reference, measure, judge)
