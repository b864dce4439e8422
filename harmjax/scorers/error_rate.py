"""The published criterion as a score: the rise of the error rates from training on one sample."""

import jax.numpy as jnp

from harmjax import scorers, types


def error_rate() -> types.HarmScorer:
    """A scorer that trains on each sample alone and counts the errors at all centres.

    Harm is the larger of the rises of the false-positive and the false-negative rate (fractions).
    Most samples move no error and score 0. A stop of B slots costs B updates and B + 1
    verifications, but only counts leave the centres.

    References:
        Souza et al., Self-supervised identification and elimination of harmful datasets in
        distributed machine learning for medical image analysis, npj Digital
        Medicine 2025, doi 10.1038/s41746-025-01499-0.

    Example:
        >>> evidence = {'rise_fpr': jnp.array([0.0, 0.5]), 'rise_fnr': jnp.array([0.25, -0.5])}
        >>> error_rate().judge(evidence, {}).tolist()
        [0.25, 0.5]
    """

    def reference(fed, model, cycle):
        del fed, model, cycle
        return {}

    def trial(fed, model, stop, reference):
        del reference
        before = fed.total("counts", model)
        negative, positive = before.fp + before.tn, before.fn + before.tp

        def alone(carry, sample):
            weight = (sample < len(fed.centre)).astype(jnp.float32)[None]
            single = types.Stop(stop.cycle, stop.centre, sample[None])
            after = fed.total("counts", fed.learn(model, single, weight)[0])
            fpr = (after.fp - before.fp) / jnp.maximum(negative, 1)
            fnr = (after.fn - before.fn) / jnp.maximum(positive, 1)
            return carry, (scorers.answered(fpr, negative), scorers.answered(fnr, positive))

        _, (fpr, fnr) = fed.scan(alone, (), stop.ids)
        offered = stop.ids < len(fed.centre)
        return {
            "rise_fpr": jnp.where(offered, fpr, jnp.nan),
            "rise_fnr": jnp.where(offered, fnr, jnp.nan),
        }

    def judge(evidence, reference):
        del reference
        return jnp.maximum(evidence["rise_fpr"], evidence["rise_fnr"])

    return types.HarmScorer(reference, None, judge, trial=trial)
