"""A multilayer perceptron, for tables of features."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from harmjax import types
from harmjax.models import linen
from harmjax.models.ops import norm as norms


def mlp(
    *,
    hidden: Sequence[int] = (32,),
    width: float = 1.0,
    norm: str = "none",
    momentum: float = norms.MOMENTUM,
    dropout: float = 0.0,
    dtype: str = "float32",
    classes: int = 2,
) -> types.Classifier:
    """Dense layers with ReLUs on features [B, F]; `hidden=()` is logistic regression.

    Args:
        hidden: Units of each hidden layer.
        width: Multiplies the units.
        norm: `'none'`, `'batch'` or `'group'`, before each ReLU.
        momentum: Of batch norm's running statistics.
        dropout: Fraction of the last layer's inputs dropped in training.
        dtype: Of the dense layers, `'float32'` or `'bfloat16'`.
        classes: K; of two, one logit z is learned and `[0, z]` returned.

    Example:
        >>> import jax
        >>> row = jax.ShapeDtypeStruct((1, 10), 'float32')
        >>> variables = jax.eval_shape(mlp(hidden=(16,)).init, jax.random.key(0), row)
        >>> variables.params['dense_1']['kernel'].shape
        (10, 16)
    """
    return linen.classifier(_Mlp(width, norm, momentum, dropout, dtype, classes, tuple(hidden)))


class _Mlp(linen.Network):
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, image, weight, keys, train):
        x = image.reshape(image.shape[0], -1).astype(self.dtype)
        for number, units in enumerate(self.hidden, 1):
            x = linen.Dense(linen.scaled(units, self.width), name=f"dense_{number}")(x)
            layer = norms.layer(self.norm, f"norm_{number}", self.momentum)
            moments = functools.partial(norms.moments, x)
            factor, shift = layer(moments, jnp.zeros(x.shape[-1]), weight, train)
            x = nn.relu(x * factor + shift).astype(x.dtype)
        features = x.astype(jnp.float32)
        return linen.head(self, features, keys, train)
