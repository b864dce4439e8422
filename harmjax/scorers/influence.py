"""Influence functions: alignment in the metric of the loss's curvature."""

import jax
import jax.numpy as jnp

from harmjax import plugins, scorers, types
from harmjax.scorers import alignment

CURVATURES = {"gauss_newton": "gauss_newton_product", "hessian": "hessian_product"}


def influence(
    *,
    verify: str = "loss",
    derivative: str = "jvp",
    curvature: str = "gauss_newton",
    damping: float = 0.1,
    iterations: int = 10,
) -> types.HarmScorer:
    """A scorer by the influence function `-<grad l_i, (H + damping I)^-1 grad L>`.

    To first order, this over N is what adding sample i to N others does to the verification loss L
    of a model trained to its optimum. H is the curvature of the mean loss on the verification
    scans, of which only products with a vector leave the centres, as sums; the system is solved
    by conjugate gradients. After the reference, a sample costs one forward-mode pass.

    Args:
        verify: 'loss' or 'error', as in `alignment`.
        derivative: 'jvp' or 'difference', as in `alignment`.
        curvature: 'gauss_newton', which is never negative; or 'hessian', which needs a damping
            above its most negative eigenvalue.
        damping: Added to every eigenvalue of H; in nats per squared unit of the parameters.
        iterations: Of the conjugate gradients; each asks all centres for one product.

    Raises:
        ValueError: Unknown curvature, derivative or way to verify; a damping that is not positive.

    References:
        Koh & Liang, Understanding black-box predictions via influence functions, ICML 2017, arXiv
        1703.04730, equation 2.
        Martens, Deep learning via Hessian-free optimization, ICML 2010.

    Example:
        >>> influence(iterations=5).judge({'influence': -0.5}, {})
        -0.5
    """
    plugins.one_of("influence.curvature", curvature, CURVATURES)
    plugins.one_of("influence.verify", verify, alignment.GRADIENTS)
    gradient = alignment.GRADIENTS[verify]
    alignment.check_derivative("influence", derivative)
    if damping <= 0:
        raise ValueError(f"influence.damping={damping}: expected a positive number")

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del cycle
        total, number = fed.total(gradient, model, fold=fold)
        scans = jnp.maximum(number, 1)

        def product(tangent):
            along, _ = fed.total(CURVATURES[curvature], model, tangent, fold=fold)
            return jax.tree.map(lambda h, t: h / scans + damping * t, along, tangent)

        slope = jax.tree.map(lambda g: g / scans, total)
        direction = conjugate_gradients(product, slope, iterations, fed.scan)
        return {"direction": scorers.answered(direction, number)}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        direction = reference["direction"]
        slope = alignment.losses_along(learner, model, batch, direction, derivative)
        return {"influence": -slope}

    def judge(evidence, reference):
        del reference
        return evidence["influence"]

    return types.HarmScorer(reference, measure, judge)


def conjugate_gradients(product, target, iterations: int, scan=jax.lax.scan):
    """An approximate solution x of `product(x) = target`, a fixed number of steps from 0.

    Args:
        product: x -> A x for a positive definite A; x is a PyTree shaped as `target`.
        target: The right-hand side.
        iterations: Steps; once the residual is 0, x stays.
        scan: `jax.lax.scan`, or its Python twin where `product` sends messages.
    """

    def dot(a, b):
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))

    def add(a, scale, b):
        return jax.tree.map(lambda a, b: a + scale * b, a, b)

    def ratio(a, b):
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)

    def step(state, _):
        x, residual, search, square = state
        along = product(search)
        size = ratio(square, dot(search, along))
        x, residual = add(x, size, search), add(residual, -size, along)
        shrunk = dot(residual, residual)
        return (x, residual, add(residual, ratio(shrunk, square), search), shrunk), None

    zero = jax.tree.map(jnp.zeros_like, target)
    state = (zero, target, target, dot(target, target))
    (x, *_), _ = scan(step, state, jnp.arange(iterations))
    return x
