"""A sample's own loss along training."""

import math

from harmjax import losses, types


def loss() -> types.HarmScorer:
    """A scorer by the sample's binary cross-entropy in nats, before the step on it.

    Harm is the loss minus log 2, that of a model that knows nothing: > 0 where the model
    contradicts the label. Unlike the margin, the mean over visits is dominated by the visits that
    went worst. Needs no verification scans.

    References:
        Arazo, Ortego, Albert, O'Connor & McGuinness, Unsupervised label noise modeling and loss
        correction, ICML 2019, arXiv 1904.11238.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(loss().judge({'loss': jnp.array(1.0)}, {})), 2)
        0.31
    """

    def reference(fed, model, cycle):
        del fed, model, cycle
        return {}

    def measure(learner, model, batch, reference):
        del reference
        return {"loss": losses.of_samples(learner, model, batch)}

    def judge(evidence, reference):
        del reference
        return evidence["loss"] - math.log(2)

    return types.HarmScorer(reference, measure, judge)
