"""Convolutions of channels-last images, stride 1, 'same', in a form for each platform.

In three dimensions `lax.conv_general_dilated` is slow on CPU, where inside `lax.scan`, in which
training happens, its gradient for the kernel runs below 3 GF/s; and on GPU it reaches a half of
what other forms of the same sums do. `cpu` and `gpu` have those, `plain` is for other platforms.
"""

import functools

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from harmjax import types
from harmjax.models.ops import cpu, first, forms, gpu, plain, pool

FORMS = {"cpu": cpu, "gpu": gpu, "lax": plain}


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
    return _convolve.bind(x[None], kernel[None], **_how())[0]


@jax.custom_jvp
def convolve_and_pool(x: types.Array, kernel: types.Array) -> types.Array:
    """`pool.max_pool(convolve(x, kernel))`; on CPU without the whole of what is pooled, if nothing
    differentiates it or `first` suits it.

    Args:
        x: As for `convolve`; uint8 if `first` suits it.
        kernel: As for `convolve`.
    """
    if x.ndim == 4:
        return convolve_and_pool(x[:, None], kernel[None])[:, 0]
    return _pooled.bind(x[None], kernel[None], **_how())[0]


@convolve_and_pool.defjvp
def _convolve_and_pool_jvp(primals, tangents):
    if not first.suits(*(primal.shape for primal in primals)):
        return jax.jvp(lambda x, kernel: pool.max_pool(convolve(x, kernel)), primals, tangents)
    result, change = jax.jvp(first.pooled, primals, tangents)
    fused = forms.current() == "cpu"  # there the primitive has a faster way of its own
    return convolve_and_pool(*primals) if fused else result, change


def _how():
    """What a primitive keeps of where it was called: it is lowered elsewhere."""
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # made late
    return {"form": forms.asked(), "precision": precision}


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
    return function(x[0], y[0])[None] if len(x) == 1 else jax.vmap(function)(x, y)


def _one_by_one(function, x, y):
    """Replicas in turn and in float32: grouped and bfloat16 convolutions are slow on CPU."""
    wide = x.astype(jnp.float32), y.astype(jnp.float32)
    return jax.lax.map(lambda pair: function(*pair), wide).astype(y.dtype)


def _lower(primitive, name):
    """The function `name` of each platform's form as its lowering of `primitive`."""

    def lowering(platform):
        def replicas(x, y, form, precision, **params):
            form = form or platform
            function = functools.partial(getattr(FORMS[form], name), **params)
            if form == "cpu":
                return _one_by_one(function, x, y)
            with jax.default_matmul_precision(precision):
                return _in_one_batch(function, x, y)

        return mlir.lower_fun(replicas, multiple_results=False)

    mlir.register_lowering(primitive, lowering("lax"))
    for platform in ("cpu", "gpu"):
        mlir.register_lowering(primitive, lowering(platform), platform=platform)


# Two bilinear primitives, closed under transposition: reverse and forward mode of any order stay
# within them, so that no derivative falls back on a slow lowering. Both carry a leading axis of
# independent replicas, into which vmap folds.
_convolve = core.Primitive("convolve")  # (x [R, B, X, Y, Z, I], kernel [R, a, b, c, I, O])
_weights = core.Primitive("convolve_weights")  # (x, g [R, B, X, Y, Z, O]): the kernel's gradient

_pooled = core.Primitive("convolve_and_pool")  # as `_convolve`; derivatives go through that

_convolve.def_abstract_eval(
    lambda x, kernel, **how: x.update(shape=(*x.shape[:-1], kernel.shape[-1]))
)
_weights.def_abstract_eval(
    lambda x, g, sides, **how: x.update(shape=(x.shape[0], *sides, x.shape[-1], g.shape[-1]))
)
_pooled.def_abstract_eval(
    lambda x, kernel, **how: kernel.update(
        shape=(*x.shape[:2], *(-(-side // 2) for side in x.shape[2:5]), kernel.shape[-1])
    )
)
_convolve.def_impl(jax.jit(_convolve.bind, static_argnames=("form", "precision")))
_pooled.def_impl(jax.jit(_pooled.bind, static_argnames=("form", "precision")))
_weights.def_impl(jax.jit(_weights.bind, static_argnames=("sides", "form", "precision")))
ad.defbilinear(
    _convolve,
    lambda g, x, kernel, **how: _convolve.bind(g, _flipped(kernel), **how),
    lambda g, x, kernel, **how: _weights.bind(x, g, sides=kernel.aval.shape[1:4], **how),
)
ad.defbilinear(
    _weights,
    lambda k, x, g, sides, **how: _convolve.bind(g, _flipped(k), **how),
    lambda k, x, g, sides, **how: _convolve.bind(x, k, **how),
)
_batch(_convolve, (1, 1), (5, 5))
_batch(_pooled, (1, 1), (5, 5))
_batch(_weights, (5, 4), (5, 5))
_lower(_convolve, "convolution")
_lower(_pooled, "pooled")
_lower(_weights, "weights")
