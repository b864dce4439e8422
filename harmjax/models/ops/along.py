"""What each sample of a batch adds to a directional derivative, from the batch's one backward pass.

Sample b sees the parameters `p + s_b v`: a direction v shaped as the parameters, and sizes s [B]
that are 0. By the chain rule the derivatives of a loss by s_b add up to its derivative along v, and
where samples do not meet, each is that of the sample's own loss. It takes no sample's gradient,
only the dot product of what `v` would make of a layer's inputs with the gradient of the layer's
outputs, which the backward pass has at hand: one more forward pass.

Beside `params` a module then finds a collection `along`: a pair (v, s) for each parameter.

References:
    Goodfellow, Efficient per-example gradient computations, 2015, arXiv 1510.01799.
    Wang, Mittal, Song & Jia, Data Shapley in one training run, ICLR 2025, arXiv 2406.11011 (the
    "ghost" dot product).
"""

import flax.linen as nn
import jax

from harmjax import types


def collection(direction: types.PyTree, size: types.Array) -> types.PyTree:
    """The collection `along` of a direction, shaped as the parameters, and sizes [B], all 0."""
    return jax.tree.map(lambda v: (v, size), direction)


def vector(module: nn.Module, name: str, value: types.Array) -> types.Array:
    """The parameter `name` of a module: its value [C], or [B, C] as each sample sees it."""
    along: types.PyTree = module.get_variable("along", name)
    if along is None:
        return value
    direction, size = along
    return value + size[:, None] * direction


def product(function, module: nn.Module, x, kernel) -> types.PyTree:
    """`function(x, kernel)`, in which each sample sees its own kernel.

    Args:
        function: Of which samples see nothing of each other; such as `conv.convolve`. Returns
            arrays [B, ...].
        module: Whose parameter `kernel` it is.
        x: [B, ...].
        kernel: Of x's dtype.
    """
    result = function(x, kernel)
    along: types.PyTree = module.get_variable("along", "kernel")
    if along is None:
        return result
    direction, size = along
    fixed, kernel = jax.lax.stop_gradient((x, kernel))
    direction = direction.astype(kernel.dtype)
    _, change = jax.jvp(lambda kernel: function(fixed, kernel), (kernel,), (direction,))

    def moved(result, change):
        return result + size.reshape(-1, *(1,) * (result.ndim - 1)).astype(result.dtype) * change

    return jax.tree.map(moved, result, change)
