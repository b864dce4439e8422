"""A small two-dimensional network, for slices and digits."""

import flax.linen as nn
import jax.numpy as jnp

from harmjax import types
from harmjax.models import linen
from harmjax.models.ops import norm as norms

CHANNELS = (16, 32, 64)


def cnn2d(
    *,
    width: float = 1.0,
    norm: str = "batch",
    momentum: float = norms.MOMENTUM,
    dropout: float = 0.2,
    dtype: str = "float32",
    classes: int = 2,
) -> types.Classifier:
    """A CNN for images [B, X, Y, C] or [B, X, Y]: three blocks, a mean over space, the logits.

    Args:
        width: Multiplies every block's channels (16, 32, 64).
        norm: `'batch'`, `'group'` or `'none'`.
        momentum: Of batch norm's running statistics; less for cycles of a few dozen stops.
        dropout: Fraction of the features dropped in training.
        dtype: Of the convolutions, `'float32'` or `'bfloat16'`.
        classes: K; of two, one logit z is learned and `[0, z]` returned.

    Raises:
        ValueError: From `init` and `apply`, if the image has other than two or three dimensions.

    Example:
        >>> import jax
        >>> image = jax.ShapeDtypeStruct((1, 28, 28), 'uint8')
        >>> variables = jax.eval_shape(cnn2d().init, jax.random.key(0), image)
        >>> variables.params['head']['kernel'].shape
        (64, 1)
    """
    return linen.classifier(_Cnn2d(width, norm, momentum, dropout, dtype, classes))


class _Cnn2d(linen.Network):
    @nn.compact
    def __call__(self, image, weight, keys, train):
        if image.ndim not in (3, 4):
            raise ValueError(f"cnn2d needs images [B, X, Y] or [B, X, Y, C], got {image.shape}")
        x = image if image.ndim == 4 else image[..., None]
        for number, channels in enumerate(CHANNELS, 1):
            name, width = f"block_{number}", linen.scaled(channels, self.width)
            block = linen.Block(width, 3, self.norm, True, self.momentum, self.dtype, name=name)
            x = block(x, weight, train)
        features = x.astype(jnp.float32).mean((1, 2))
        return linen.head(self, features, keys, train)
