"""Alignment of a sample's gradient with the verification gradient, without per-sample gradients."""

import jax
import jax.numpy as jnp
import optax

from harmjax import plugins, scorers, task, types
from harmjax.engine.apart import apart

GRADIENTS = {"loss": "gradient", "error": "error_gradient"}
DERIVATIVES = ("jvp", "difference")
STEP = 1e-3  # of a difference, as a fraction of the parameters' norm


def alignment(
    *,
    verify: str = "loss",
    derivative: str = "jvp",
    optimiser: str = "adam",
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-7,
) -> types.HarmScorer:
    """A scorer that predicts to first order what one optimiser step on a sample does.

    A step of rate `a` on sample i alone changes the verification loss L by `-a <grad l_i, P grad
    L>`. P is the identity for gradient descent. For Adam it is the diagonal `(1 - b1) / (1 -
    b1^(t+1)) / (sqrt(nu) + eps)` with the bias-corrected second moment nu held fixed; momentum's
    effect on later steps is left out. The next gradient's part in nu is taken to be that of the
    verification gradient, which settles step 0. The derivative of all losses of a batch along
    `P grad L` is one forward-mode pass: up to three forward passes, as much as a training step,
    where convolutions decide; two if it is taken as a difference.

    In a stop of n samples, each has 1/n of this effect. The signal fades once the verification
    scans are fitted, and it needs verification labels that can be trusted.

    Args:
        verify: L is the mean 'loss' of the verification scans (cross-entropy), or their 'error',
            the mean probability of the wrong class, which stands noise in the verification labels.
        derivative: 'jvp', exact; or 'difference', the losses after a small step either way: two
            forward passes, exact to about three digits in float32 and useless in bfloat16.
        optimiser: 'adam', or 'sgd' for plain dot products.
        b1: Decay of Adam's first moment, as in the learner.
        b2: Decay of its second moment.
        eps: Its epsilon.

    Raises:
        ValueError: Unknown optimiser, derivative or way to verify; or, at the reference, 'adam'
            for a model whose optimiser keeps no second moment.

    References:
        Pruthi, Liu, Sundararajan & Kale, Estimating training data influence by tracing gradient
        descent, NeurIPS 2020, arXiv 2002.08484, equation 1 (the dot product).

    Example:
        >>> alignment().judge({'alignment': 0.5}, {})
        0.5
    """
    plugins.one_of("alignment.verify", verify, GRADIENTS)
    gradient = GRADIENTS[verify]
    check_derivative("alignment", derivative)
    plugins.one_of("alignment.optimiser", optimiser, ("adam", "sgd"))

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        total, number = fed.total(gradient, model, fold=fold)
        return made(total, number, model.opt_state, cycle)

    @apart
    def made(total, number, opt_state, cycle):
        direction = jax.tree.map(lambda g: g / jnp.maximum(number, 1), total)
        if optimiser == "adam":
            direction = adam_step(direction, opt_state, b1, b2, eps)
        direction = scorers.answered(direction, number)
        return {"direction": direction, "cycle": jnp.asarray(cycle, jnp.int32)}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        rate = learner.rate(reference["cycle"])
        slope = losses_along(learner, model, batch, reference["direction"], derivative)
        return {"alignment": -rate * slope}

    def judge(evidence, reference):
        del reference
        return evidence["alignment"]

    return types.HarmScorer(reference, measure, judge)


def check_derivative(scorer: str, derivative: str):
    """Raises ValueError for an unknown derivative."""
    plugins.one_of(f"{scorer}.derivative", derivative, DERIVATIVES)


def losses_along(
    learner: types.Learner,
    model: types.Model,
    batch: types.Batch,
    direction,
    derivative: str = "jvp",
):
    """Derivative [B] of every sample's loss along a direction in the space of the parameters.

    Args:
        learner: What the centre computes.
        model: Where the derivative is taken.
        batch: B samples.
        direction: Shaped as the parameters.
        derivative: 'jvp' or 'difference', of a step of `STEP` times the parameters' norm.
    """

    def of_samples(params):
        return task.of_samples(learner, model._replace(params=params), batch)

    if derivative == "jvp":
        return jax.jvp(of_samples, (model.params,), (direction,))[1]

    def norm(tree):
        return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))

    length = norm(direction)
    size = STEP * norm(model.params) / jnp.where(length > 0, length, 1.0)

    def moved(by):
        return jax.tree.map(lambda p, d: p + by * d, model.params, direction)

    return (of_samples(moved(size)) - of_samples(moved(-size))) / (2 * size)


def adam_step(gradient, opt_state, b1: float, b2: float, eps: float):
    """The gradient times Adam's step per unit of gradient, its second moment held fixed.

    Args:
        gradient: Shaped as the parameters.
        opt_state: Of the model.
        b1, b2, eps: As in `alignment`.

    Raises:
        ValueError: The optimiser keeps no second moment.
    """
    second = optax.tree_utils.tree_get(opt_state, "nu")
    count = optax.tree_utils.tree_get(opt_state, "count")
    if second is None or count is None:
        raise ValueError(
            "alignment.optimiser='adam': the model's optimiser keeps no second moment; use 'sgd'"
        )
    steps = jnp.asarray(count + 1, jnp.float32)
    share = (1 - b1) / (1 - b1**steps)

    def leaf(g, nu):
        corrected = (b2 * nu + (1 - b2) * g**2) / (1 - b2**steps)
        return share * g / (jnp.sqrt(corrected) + eps)

    return jax.tree.map(leaf, gradient, second)
