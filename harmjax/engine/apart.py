"""Arithmetic that is rounded alike wherever it stands.

A compiler fuses what stands together, and a fused sum or product may be rounded otherwise in its
last bit. A centre, and a server between two messages, compile small programs; in memory the same
text is a part of a large one.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp

P = ParamSpec("P")
T = TypeVar("T")


def apart(fn: Callable[P, T]) -> Callable[P, T]:
    """The function as a compiled program of its own, into which nothing around it is fused.

    Args:
        fn: Of pytrees of arrays.

    Example:
        >>> float(apart(lambda x: x + 1)(1.0))
        2.0
    """
    traced = jax.jit(fn)

    @jax.jit
    def alone(*args):
        shapes = jax.eval_shape(traced, *args)

        def nothing(*args):
            del args
            return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        # Fusion crosses a bare barrier on a CPU; it does not enter a branch, taken as it always is.
        return jax.lax.cond(jax.lax.optimization_barrier(jnp.bool_(True)), traced, nothing, *args)

    return alone
