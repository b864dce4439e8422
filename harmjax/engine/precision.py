"""Products in full float32 where the default precision of a GPU would spoil a difference."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
T = TypeVar("T")


def full(fn: Callable[P, T]) -> Callable[P, T]:
    """`fn` with every matrix product in float32.

    GPUs with tensor cores round the factors of a float32 product to 10 bits by default. That is
    enough for a network, but a covariance is a small difference of large sums.

    Example:
        >>> jaxpr = jax.make_jaxpr(full(lambda x: x @ x))(jax.numpy.eye(2))
        >>> print(jaxpr.eqns[0].params["precision"][0])
        HIGHEST
    """

    @functools.wraps(fn)
    def precise(*args, **kwargs):
        with jax.default_matmul_precision("highest"):
            return fn(*args, **kwargs)

    return precise
