"""Arithmetic that is rounded alike wherever it stands.

A compiler fuses what stands together, and a fused sum or product may be rounded otherwise in its
last bit. A centre, and a server between two messages, compile small programs; in memory the same
text is a part of a large one.
"""

from collections.abc import Callable

import jax


def apart(fn: Callable) -> Callable:
    """The function as a compiled program of its own, into which nothing around it is fused.

    Args:
        fn: Of pytrees of arrays.

    Example:
        >>> float(apart(lambda x: x + 1)(1.0))
        2.0
    """

    @jax.jit
    def alone(*args):
        leaves, structure = jax.tree.flatten(args)
        args = jax.tree.unflatten(structure, jax.lax.optimization_barrier(leaves))
        return jax.lax.optimization_barrier(fn(*args))

    return alone
