"""The first layer of a volume: one input channel, pooled, without its full-size result."""

from harmjax import types
from harmjax.models.ops import cells, first_cpu, first_gpu, forms

FORMS = {"cpu": first_cpu, "gpu": first_gpu}


def suits(image: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Whether this is a way for images and kernels of these shapes, in the current form."""
    return forms.current() in FORMS and cells.fit(image, kernel)


def moments(x: types.Array, kernel: types.Array) -> tuple[types.Array, types.Array]:
    """Mean [B, O] and biased variance [B, O] of `conv.convolve(x, kernel)`, by sample and channel.

    Args:
        x: [B, X, Y, Z, 1], even sides, of the kernel's dtype or uint8.
        kernel: [3, 3, 3, 1, O].
    """
    return FORMS[forms.current()].moments(x, kernel)


def pooled(x: types.Array, kernel: types.Array) -> types.Array:
    """Maxima of `conv.convolve(x, kernel)` over windows of 2: [B, X/2, Y/2, Z/2, O].

    The derivative is shared evenly among equal maxima, as in `pool.max_pool`.

    Args:
        x: As for `moments`.
        kernel: As for `moments`.
    """
    return FORMS[forms.current()].pooled(x, kernel)
