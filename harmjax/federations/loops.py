"""Plain Python twins of `jax.lax.scan` and `jax.lax.cond`, for federations that send messages."""

import jax
import jax.numpy as jnp


def scan(body, carry, xs):
    """`jax.lax.scan` as a Python loop; `body` may do anything, not only trace."""
    outputs = []
    for i in range(len(jax.tree.leaves(xs)[0])):
        carry, output = body(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023
        outputs.append(output)
    return carry, jax.tree.map(lambda *each: jnp.stack(each), *outputs)


def cond(predicate, true_fn, false_fn, *operands):
    """`jax.lax.cond` as a Python branch: the predicate must be concrete."""
    return true_fn(*operands) if bool(predicate) else false_fn(*operands)
