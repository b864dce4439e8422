"""SFCN, the three-dimensional network of the travelling-model papers."""

import flax.linen as nn
import jax.numpy as jnp

from harmjax import types
from harmjax.models import linen
from harmjax.models.ops import norm as norms
from harmjax.models.ops import pool

CHANNELS = (32, 64, 128, 256, 256, 64)
KERNELS = (3, 3, 3, 3, 3, 1)
SMALLEST_SIDE = 33


def sfcn(
    *,
    width: float = 1.0,
    norm: str = "batch",
    momentum: float = norms.MOMENTUM,
    dropout: float = 0.2,
    dtype: str = "float32",
    classes: int = 2,
) -> types.Classifier:
    """SFCN as published: six convolution blocks, average pooling, dropout, the logits.

    A block is a convolution, normalisation, max-pooling (not in the last) and a ReLU. Features are
    what the last layer sees. Parameters and logits are float32.

    Args:
        width: Multiplies every block's channels.
        norm: `'batch'` as published, or `'group'`, `'none'`.
        momentum: Of batch norm's running statistics; less for cycles of a few dozen stops.
        dropout: Fraction of the features dropped in training.
        dtype: Of the convolutions, `'float32'` or `'bfloat16'`.
        classes: K; of two, one logit z is learned and `[0, z]` returned.

    Raises:
        ValueError: From `init` and `apply`, if the image has a side below 33 voxels.

    References:
        Peng, Gong, Beckmann, Vedaldi & Smith, Accurate brain age prediction with lightweight deep
        neural networks, Medical Image Analysis 68, 2021, doi 10.1016/j.media.2020.101871.
        Souza et al., npj Digital Medicine 2025, doi 10.1038/s41746-025-01499-0.

    Example:
        >>> import jax
        >>> image = jax.ShapeDtypeStruct((1, 40, 48, 40), 'uint8')
        >>> variables = jax.eval_shape(sfcn(width=1 / 4).init, jax.random.key(0), image)
        >>> variables.params['block_1']['kernel'].shape
        (3, 3, 3, 1, 8)
    """
    return linen.classifier(_Sfcn(width, norm, momentum, dropout, dtype, classes))


class _Sfcn(linen.Network):
    @nn.compact
    def __call__(self, image, weight, keys, train):
        _check_shape(image.shape)
        x = image[..., None]
        last = len(CHANNELS)
        for number, (channels, side) in enumerate(zip(CHANNELS, KERNELS, strict=True), 1):
            width = linen.scaled(channels, self.width)
            name, pooled = f"block_{number}", number < last
            block = linen.Block(
                width, side, self.norm, pooled, self.momentum, self.dtype, name=name
            )
            x = block(x, weight, train)
        x = pool.average_pool(x).astype(jnp.float32)
        features = x.reshape(x.shape[0], -1)
        return linen.head(self, features, keys, train)


def _check_shape(shape):
    if len(shape) != 4 or min(shape[1:]) < SMALLEST_SIDE:
        raise ValueError(
            f"sfcn needs images [B, X, Y, Z] with every side at least {SMALLEST_SIDE} voxels (five "
            f"poolings, then an average), got {shape}: load the data at a finer spacing"
        )
