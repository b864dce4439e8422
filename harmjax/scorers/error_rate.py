"""The published criterion as a score: the rise of the error rates from training on one sample."""

import jax.numpy as jnp

from harmjax import offers, scorers, task, types


def error_rate() -> types.HarmScorer:
    """A scorer that trains on each sample alone and counts the errors at all centres.

    Harm is the largest rise of a class's error rate (fraction): of two classes, of the
    false-positive or the false-negative rate.
    Most samples move no error and score 0. A stop of B slots costs B updates and B + 1
    verifications, but only confusion counts leave the centres.

    References:
        Souza et al., Self-supervised identification and elimination of harmful datasets in
        distributed machine learning for medical image analysis, npj Digital
        Medicine 2025, doi 10.1038/s41746-025-01499-0.

    Example:
        >>> evidence = {'rise': jnp.array([[0.0, 0.25], [0.5, -0.5]])}
        >>> error_rate().judge(evidence, {}).tolist()
        [0.25, 0.5]
    """

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del fed, model, cycle, fold
        return {}

    def trial(fed: types.Federation, model: types.Model, stop: types.Stop, reference):
        del reference
        before = fed.total("confusion", model)
        number = task.totals(before)

        def alone(carry, sample):
            updated, _ = fed.learn(model, offers.alone(fed, stop.cycle, sample))
            after = fed.total("confusion", updated)
            rise = (task.errors(after) - task.errors(before)) / jnp.maximum(number, 1)
            return carry, scorers.answered(rise, number)

        _, rise = fed.scan(alone, (), stop.ids)
        offered = stop.ids < len(fed.centre)
        return {"rise": jnp.where(offered[:, None], rise, jnp.nan)}

    def judge(evidence, reference):
        del reference
        return jnp.max(evidence["rise"], axis=-1)

    return types.HarmScorer(reference, None, judge, trial=trial)
