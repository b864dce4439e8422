"""What a harm scorer says during the run whose counterfactuals are asked for."""

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import measures, offers, types
from harmjax.counterfactual import retraining as retrainings
from harmjax.federations import memory


def predicted(
    asked: types.Measure,
    learner: types.Learner,
    retraining: retrainings.Retraining,
    model: types.Model,
    *,
    mask=None,
    minimum: int = 5,
):
    """The scorer's harm of every sample after every cycle, [C, N]; NaN where it says nothing.

    The model travels as in the run itself. The reference is made at the start of a cycle; every
    stop is measured before it is trained on; the cycle's evidence is judged as a whole.

    Args:
        asked: Of a scorer.
        learner: As in `retraining.retraining`.
        retraining: The run, travelling or central.
        model: That it starts from.
        mask: [N] float32, what is trained on; everything by default.
        minimum: Centres with fewer held-out scans than this answer their confusion only.
    """
    scorer = measures.scorer(asked)
    centre = np.asarray(retraining.data.held_out["verification"].centre)
    data, num_samples = retraining.data, len(retraining.data.train.label)
    known = jnp.append(jnp.ones(num_samples) if mask is None else jnp.asarray(mask), 0.0)

    @jax.jit
    def run(data, model):
        held_out = data.held_out["verification"]._replace(centre=centre)
        fed = memory.memory(learner, data.train, held_out, data.key, minimum=minimum)

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
