"""What a harm scorer says during the run whose counterfactuals are asked for."""

import jax
import jax.numpy as jnp

from harmjax import offers, types
from harmjax.counterfactual import retraining as retrainings
from harmjax.scorers import measures


def predicted(
    asked: types.Measure,
    retraining: retrainings.Retraining,
    model: types.Model,
    *,
    mask=None,
):
    """The scorer's harm of every sample after every cycle, [C, N]; NaN where it says nothing.

    The model travels as in the run itself. The reference is made at the start of a cycle; every
    stop is measured before it is trained on; the cycle's evidence is judged as a whole.

    Args:
        asked: Of a scorer.
        retraining: The run, travelling or central.
        model: That it starts from.
        mask: [N] float32, what is trained on; everything by default.
    """
    scorer = measures.scorer(asked)
    data, num_samples = retraining.data, len(retraining.data.train.label)
    known = jnp.append(jnp.ones(num_samples) if mask is None else jnp.asarray(mask), 0.0)

    @jax.jit
    def run(data, model):
        fed = retraining.federations(data)["verification"]

        def cycle(model, stops):
            reference = scorer.reference(fed, model, stops.cycle[0])

            def visit(model, stop):
                evidence = measures.evidence(asked, fed, model, stop, reference)
                some = stop._replace(weight=known[stop.ids])
                return fed.learn(model, offers.leg(some))[0], evidence

            model, evidence = jax.lax.scan(visit, model, stops)
            evidence = measures.by_sample(stops.ids, evidence, num_samples)
            return model, scorer.judge(evidence, reference)

        return jax.lax.scan(cycle, model, data.stops)[1]

    return run(data, model)
