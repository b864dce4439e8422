"""The step that is taken, with and without each sample: exact, and dear."""

import jax
import jax.numpy as jnp

from harmjax import offers, plugins, scorers, types


def with_without(*, verify: str = "loss", replicas: str = "map") -> types.HarmScorer:
    """A scorer that repeats the stop's optimiser step without each of its samples.

    Harm is the mean verification loss after the step on all samples minus that after the step
    without this one, which leaves the others' weights as they are. Exact for this step, optimiser
    state and batch statistics included, whatever the optimiser. A stop of B slots costs B + 1
    updates and B + 1 verifications at every centre: for scans, hundreds of times the step itself.

    Args:
        verify: What is verified is the mean cross-entropy, 'loss', or the mean probability of the
            wrong class, 'error', which stands noise in the verification labels.
        replicas: 'map' tries one model after another, on any federation; 'vmap' tries all at once,
            for a federation in memory.

    Raises:
        ValueError: Unknown way to verify or to replicate.

    Example:
        >>> with_without().trial is not None
        True
    """
    plugins.one_of("with_without.verify", verify, ("loss", "error"))
    plugins.one_of("with_without.replicas", replicas, ("map", "vmap"))

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del fed, model, cycle, fold
        return {}

    def trial(fed: types.Federation, model: types.Model, stop: types.Stop, reference):
        del reference
        offered = stop.ids < len(fed.centre)
        slots = jnp.arange(-1, len(stop.ids))

        def loss_without(slot):
            weight = offered & (jnp.arange(len(stop.ids)) != slot)
            some = stop._replace(weight=weight.astype(jnp.float32))
            updated, _ = fed.learn(model, offers.leg(some))
            total, number = fed.total(verify, updated)
            return scorers.answered(total / jnp.maximum(number, 1), number)

        if replicas == "vmap":
            loss = jax.vmap(loss_without)(slots)
        else:
            _, loss = fed.scan(lambda carry, slot: (carry, loss_without(slot)), (), slots)
        return {"with_without": jnp.where(offered, loss[0] - loss[1:], jnp.nan)}

    def judge(evidence, reference):
        del reference
        return evidence["with_without"]

    return types.HarmScorer(reference, None, judge, trial=trial)
