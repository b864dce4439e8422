"""A sample's own loss along training."""

import math

import jax.numpy as jnp

from harmjax import task, types


def loss() -> types.HarmScorer:
    """A scorer by the sample's cross-entropy in nats, before the step on it.

    Harm is the loss minus log K, that of a model that knows nothing of the K classes: > 0 where
    the model contradicts the label. Unlike the margin, the mean over visits is dominated by the
    visits that went worst. Needs no verification scans.

    References:
        Arazo, Ortego, Albert, O'Connor & McGuinness, Unsupervised label noise modeling and loss
        correction, ICML 2019, arXiv 1904.11238.

    Example:
        >>> round(float(loss().judge({'loss': jnp.array(1.0)}, {'chance': math.log(2)})), 2)
        0.31
    """

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del model, cycle, fold
        return {"chance": jnp.float32(math.log(fed.num_classes))}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        del reference
        return {"loss": task.of_samples(learner, model, batch)}

    def judge(evidence, reference):
        return evidence["loss"] - reference["chance"]

    return types.HarmScorer(reference, measure, judge)
