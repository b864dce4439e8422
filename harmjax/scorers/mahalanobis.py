"""Distance of a sample's features from those of verification scans of its class."""

import jax
import jax.numpy as jnp

from harmjax import scorers, types
from harmjax.engine import precision
from harmjax.engine.apart import apart


def mahalanobis(*, shrinkage: float = 0.1) -> types.HarmScorer:
    """A scorer by the Mahalanobis distance to the class in the model's feature space.

    Class means and one covariance for all classes come from sums over the verification scans of
    centres with enough of them. The covariance S is shrunk to `(1 - s) S + s tr(S) / F I`, so that
    features that never vary among the verification scans count when they vary in a sample. Harm is
    the logarithm of the squared distance over F: 0 where a sample is as far off as the verification
    scans are on average. Finds images that look unlike any other; mislabelled ones only as far as
    the classes are apart. Worth little before the first features are learned.

    Args:
        shrinkage: s, fraction in (0, 1].

    Raises:
        ValueError: A shrinkage outside (0, 1].

    References:
        Lee, Lee, Lee & Shin, A simple unified framework for detecting out-of-distribution samples
        and adversarial attacks, NeurIPS 2018, arXiv 1807.03888, equation 2.
        Ledoit & Wolf, A well-conditioned estimator for large-dimensional covariance matrices,
        Journal of Multivariate Analysis 88, 2004, doi 10.1016/S0047-259X(03)00096-4.

    Example:
        >>> mahalanobis().judge({'mahalanobis': jnp.array([1.0, 0.0])}, {})[0].tolist()
        0.0
    """
    if not 0 < shrinkage <= 1:
        raise ValueError(f"mahalanobis.shrinkage={shrinkage}: expected a fraction in (0, 1]")

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del cycle
        return made(*fed.total("feature_moments", model, fold=fold))

    @apart
    def made(number, total, second):
        mean = total / jnp.maximum(number, 1)[:, None]
        scatter = second - jnp.einsum("c,cf,cg->fg", number, mean, mean, precision="highest")
        covariance = scatter / jnp.maximum(jnp.sum(number), 1)
        mean = scorers.answered(mean, number[:, None])
        return {"mean": mean, "whiten": whitening(covariance, shrinkage)}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        off = learner.features(model, batch.image) - reference["mean"][batch.label]
        return {"mahalanobis": mean_square(reference["whiten"], off)}

    def judge(evidence, reference):
        del reference
        return jnp.log(jnp.maximum(evidence["mahalanobis"], 1e-12))

    return types.HarmScorer(reference, measure, judge)


@precision.full
def mean_square(whiten, off):
    """Squared Mahalanobis lengths [B] of the rows of `off` [B, F], over F."""
    return jnp.mean((off @ whiten.T) ** 2, axis=1)


def whitening(covariance, shrinkage: float):
    """W [F, F] such that |W x|^2 is the squared Mahalanobis length of x.

    Args:
        covariance: S [F, F], of any rank.
        shrinkage: s; S becomes `(1 - s) S + s tr(S) / F I`.
    """
    identity = jnp.eye(len(covariance))
    variance = jnp.maximum(jnp.trace(covariance) / len(covariance), 1e-12)
    shrunk = (1 - shrinkage) * covariance + shrinkage * variance * identity
    half = jax.scipy.linalg.cholesky(shrunk, lower=True)
    return jax.scipy.linalg.solve_triangular(half, identity, lower=True)
