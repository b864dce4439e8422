"""What TF32 does to a gradient: products of factors rounded to ten bits, on any device.

    python -m benchmarks.rounding

prints a table and writes `benchmarks/results/rounding.csv`. GPUs with tensor cores round the
factors of float32 products so by default. The gradient of an SFCN of quarter width at 40x48x40,
batch 5, on noise, by `lax.conv` and in the form for GPU, exact and rounded; `difference` is that to
`lax.conv` exact, relative. Then that of the same network without its decisions: tanh in place of
ReLU, and means in place of maxima.
"""

import contextlib
import sys
import types as standard
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks import record
from harmjax import models
from harmjax.engine import precision
from harmjax.models.ops import conv, first, first_gpu, forms, pool

GRID, WIDTH, BATCH = (40, 48, 40), 1 / 4, 5


def main():
    rows = [
        row(decisions, form, rounded)
        for decisions, form, rounded in (
            ("maxima, ReLU", "gpu", False),
            ("maxima, ReLU", "lax", True),
            ("maxima, ReLU", "gpu", True),
            ("maxima", "lax", True),
            ("none", "lax", True),
        )
    ]
    record.write("rounding", rows)


def row(decisions, form, rounded):
    """One gradient against that of the same network by `lax.conv`, exact."""
    got, want = gradient(decisions, form, rounded), gradient(decisions, "lax", False)

    def difference(get):
        return float(f"{relative(get(got), get(want)):.2g}")

    return {
        "decisions": decisions,
        "form": form,
        "factors": "ten bits" if rounded else "float32",
        "difference": difference(lambda tree: tree),
        "first_block": difference(lambda tree: tree["block_1"]),
        "last_block": difference(lambda tree: tree["block_6"]),
    }


def gradient(decisions, form, rounded):
    """The gradient of a batch's loss by the parameters."""
    image = jax.random.bits(jax.random.key(0), (BATCH, *GRID), "uint8") // 2
    image += 20 * jnp.arange(BATCH, dtype=jnp.uint8)[:, None, None, None]
    label = jnp.arange(BATCH) % 2
    classifier = models.get("sfcn")(width=WIDTH, dropout=0.0)
    variables = jax.jit(classifier.init)(jax.random.key(1), image[:1])
    keys = jax.random.split(jax.random.key(2), BATCH)

    def loss(params, image):
        model = variables._replace(params=params)
        logits, _, _ = classifier.apply(model, image, jnp.ones(BATCH), keys, True)
        return jnp.mean(jnp.logaddexp(0, logits[:, 1]) - label * logits[:, 1])

    with contextlib.ExitStack() as stack:
        stack.enter_context(forms.forced(form))
        if rounded:
            stack.enter_context(mock.patch.dict(conv.FORMS, {form: ten_bits(conv.FORMS[form])}))
            stack.enter_context(mock.patch.dict(first.FORMS, gpu=FIRST))
        if decisions != "maxima, ReLU":
            stack.enter_context(mock.patch.object(nn, "relu", jnp.tanh))
        if decisions == "none":
            stack.enter_context(mock.patch.object(pool, "max_pool", means))
        return jax.jit(precision.full(jax.grad(loss)))(variables.params, image)


def ten_bits(form):
    """The functions of a form with factors rounded."""
    return standard.SimpleNamespace(
        convolution=lambda x, kernel: form.convolution(nearest(x), nearest(kernel)),
        weights=lambda x, g, sides: form.weights(nearest(x), nearest(g), sides),
    )


def nearest(x):
    """`x` with the ten bits of a mantissa that TF32 has, ties to even."""
    return jax.lax.reduce_precision(x, 8, 10)


@jax.custom_vjp
def _kernel(kernel):
    return nearest(kernel)


_kernel.defvjp(lambda kernel: (nearest(kernel), None), lambda _, g: (g,))


@jax.custom_vjp
def _result(x):
    return x


_result.defvjp(lambda x: (x, None), lambda _, g: (nearest(g),))
FIRST = standard.SimpleNamespace(  # images of uint8 need no more than eight bits
    moments=first_gpu.moments,
    pooled=lambda x, kernel: _result(first_gpu.pooled(x, _kernel(kernel))),
)


def means(x):
    """Means over windows of 2 instead of maxima, of even sides or not."""
    window = (1, *(2,) * (x.ndim - 2), 1)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "SAME") / 2 ** (x.ndim - 2)


def relative(got, want):
    """The norm of the difference of two trees over that of the second."""

    def square(tree):
        return sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(tree))

    return (square(jax.tree.map(jnp.subtract, got, want)) / square(want)) ** 0.5


if __name__ == "__main__":
    sys.exit(main())
