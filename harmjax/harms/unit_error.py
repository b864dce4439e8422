"""A feature recorded in the wrong unit."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "tabular"


def unit_error(column: int | None = None, factor: float = 38.67, offset: float = 0.0) -> harms.Harm:
    """Returns a harm that records one feature in another unit, `factor x + offset`.

    Meant for features in their own units, before any standardisation. Missing stays missing.

    Args:
        column: Index of the feature; None draws one per sample among those recorded and not zero.
        factor: 38.67 takes cholesterol from mmol/l to mg/dl (1 / 38.67 back), 18.02 glucose, 2.205
            kilograms to pounds, 1.8 with offset 32 Celsius to Fahrenheit.
        offset: In the new unit.

    Raises:
        ValueError: When traced with a row that lacks the column.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> row = jnp.array([63.0, 37.0])
        >>> harm = unit_error(column=1, factor=1.8, offset=32.0)
        >>> harm(jax.random.key(0), row, 1, row)[0].tolist()
        [63.0, 98.5999984741211]
    """

    def harm(key, scan, label, donor):
        del donor
        num_features = scan.shape[0]
        if column is not None and not 0 <= column < num_features:
            raise ValueError(
                f"unit_error: column {column} of a row of {num_features} features; "
                f"choose 0 to {num_features - 1}, or None to draw one"
            )
        if column is None:
            usable = jnp.isfinite(scan) & (scan != 0)
            chosen: jax.Array | int = jax.random.categorical(key, jnp.where(usable, 0.0, -jnp.inf))
        else:
            chosen = column
        return scan.at[chosen].set(factor * scan[chosen] + offset), label

    return harm
