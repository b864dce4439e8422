"""Convolutions of channels-last images, stride 1, 'same', with a lowering for each platform.

`lax.conv_general_dilated` is the right form on GPU and TPU. On CPU it is slow in three dimensions,
and inside `lax.scan`, where training happens, its gradient for the kernel runs below 3 GF/s.
There `cpu.py` has other forms of the same sums.
"""

import functools

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from harmjax import types
from harmjax.models import cpu, first, pool


def convolve(x: types.Array, kernel: types.Array) -> types.Array:
    """`x` convolved with `kernel`: the numbers of `lax.conv_general_dilated`.

    Args:
        x: [B, X, Y, Z, I] or [B, X, Y, I].
        kernel: [3, 3, 3, I, O] or [3, 3, I, O], odd sides; dtype as x's.

    Returns:
        [B, X, Y, Z, O] or [B, X, Y, O].
    """
    if kernel.shape[:-2] == (1,) * (x.ndim - 2):
        return x @ kernel.reshape(kernel.shape[-2:])
    if x.ndim == 4:
        return convolve(x[:, None], kernel[None])[:, 0]
    return _convolve.bind(x[None], kernel[None])[0]


@jax.custom_jvp
def convolve_and_pool(x: types.Array, kernel: types.Array) -> types.Array:
    """`pool.max_pool(convolve(x, kernel))`; on CPU without the whole of what is pooled, if nothing
    differentiates it or `first` suits it.

    Args:
        x: as for `convolve`.
        kernel: as for `convolve`.
    """
    if x.ndim == 4:
        return convolve_and_pool(x[:, None], kernel[None])[:, 0]
    return _pooled.bind(x[None], kernel[None])[0]


@convolve_and_pool.defjvp
def _convolve_and_pool_jvp(primals, tangents):
    if first.suits(*(primal.shape for primal in primals)):
        return convolve_and_pool(*primals), jax.jvp(first.pooled, primals, tangents)[1]
    return jax.jvp(lambda x, kernel: pool.max_pool(convolve(x, kernel)), primals, tangents)


def _lax(x, kernel):
    layout = ("NXYZC", "XYZIO", "NXYZC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=layout)


def _lax_pooled(x, kernel):
    return pool.max_pool(_lax(x, kernel))


def _lax_weights(x, g, sides):
    shape = jax.ShapeDtypeStruct((*sides, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _lax(x, kernel), shape)(g)[0]


def _flipped(kernel):
    return jnp.flip(kernel, (1, 2, 3)).swapaxes(-1, -2)


def _fold(x, dim, axis):
    """`x` with its mapped axis `dim` merged into `axis`, counted without it, as the slower."""
    x = jnp.moveaxis(x, dim, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _unfold(x, axis, size):
    return x.reshape(*x.shape[:axis], size, -1, *x.shape[axis + 1 :])


def _batch(primitive, left_axes, right_axes):
    """A vmap rule: one operand mapped means a larger batch or more channels, both mean replicas.

    Each pair of axes says where the mapped axis goes in the operand, and where in the result.
    """

    def rule(operands, dims, **params):
        mapped = [dim is not None for dim in dims]
        first = mapped.index(True)
        size = operands[first].shape[dims[first]]
        places = [(0, 0), (0, 0)] if all(mapped) else [left_axes, right_axes]
        folded = [
            _fold(x, d, place[0]) if is_mapped else x
            for x, d, place, is_mapped in zip(operands, dims, places, mapped, strict=True)
        ]
        axis = places[first][1]
        return _unfold(primitive.bind(*folded, **params), axis, size), axis

    batching.primitive_batchers[primitive] = rule


def _in_one_batch(function, x, y):
    return jax.vmap(function)(x, y)


def _one_by_one(function, x, y):
    """Replicas in turn and in float32: grouped and bfloat16 convolutions are slow on CPU."""
    wide = x.astype(jnp.float32), y.astype(jnp.float32)
    return jax.lax.map(lambda pair: function(*pair), wide).astype(x.dtype)


def _lowering(implementation, replicate):
    def replicas(x, y, **params):
        return replicate(functools.partial(implementation, **params), x, y)

    return mlir.lower_fun(replicas, multiple_results=False)


# Two bilinear primitives, closed under transposition: reverse and forward mode of any order stay
# within them, so that no derivative falls back on a slow lowering. Both carry a leading axis of
# independent replicas, into which vmap folds.
_convolve = core.Primitive("convolve")  # (x [R, B, X, Y, Z, I], kernel [R, a, b, c, I, O])
_weights = core.Primitive("convolve_weights")  # (x, g [R, B, X, Y, Z, O]): the kernel's gradient

_pooled = core.Primitive("convolve_and_pool")  # as `_convolve`; derivatives go through that

_convolve.def_abstract_eval(lambda x, kernel: x.update(shape=(*x.shape[:-1], kernel.shape[-1])))
_weights.def_abstract_eval(
    lambda x, g, sides: x.update(shape=(x.shape[0], *sides, x.shape[-1], g.shape[-1]))
)
_pooled.def_abstract_eval(
    lambda x, kernel: x.update(
        shape=(*x.shape[:2], *(-(-side // 2) for side in x.shape[2:5]), kernel.shape[-1])
    )
)
_convolve.def_impl(jax.jit(_convolve.bind))
_pooled.def_impl(jax.jit(_pooled.bind))
_weights.def_impl(jax.jit(_weights.bind, static_argnames="sides"))
ad.defbilinear(
    _convolve,
    lambda g, x, kernel: _convolve.bind(g, _flipped(kernel)),
    lambda g, x, kernel: _weights.bind(x, g, sides=kernel.aval.shape[1:4]),
)
ad.defbilinear(
    _weights,
    lambda k, x, g, sides: _convolve.bind(g, _flipped(k)),
    lambda k, x, g, sides: _convolve.bind(x, k),
)
_batch(_convolve, (1, 1), (5, 5))
_batch(_pooled, (1, 1), (5, 5))
_batch(_weights, (5, 4), (5, 5))
mlir.register_lowering(_convolve, _lowering(_lax, _in_one_batch))
mlir.register_lowering(_pooled, _lowering(_lax_pooled, _in_one_batch))
mlir.register_lowering(_weights, _lowering(_lax_weights, _in_one_batch))
mlir.register_lowering(_convolve, _lowering(cpu.convolution, _one_by_one), platform="cpu")
mlir.register_lowering(_pooled, _lowering(cpu.pooled, _one_by_one), platform="cpu")
mlir.register_lowering(_weights, _lowering(cpu.weights, _one_by_one), platform="cpu")
