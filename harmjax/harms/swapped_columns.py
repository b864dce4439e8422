"""Two features entered in each other's place."""

import jax
import jax.numpy as jnp

from harmjax import harms

KIND = "tabular"


def swapped_columns(columns: tuple[int, int] | None = None) -> harms.Harm:
    """Returns a harm that exchanges two features of a row.

    Args:
        columns: Their indices; None draws, per sample, two whose values differ (a missing value
            differs from a recorded one).

    Raises:
        ValueError: When traced with a row that lacks one of the columns.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> row = jnp.array([1.0, 2.0, 3.0])
        >>> swapped_columns(columns=(0, 2))(jax.random.key(0), row, 1, row)[0].tolist()
        [3.0, 2.0, 1.0]
    """

    def harm(key, scan, label, donor):
        del donor
        num_features = scan.shape[0]
        if columns is None:
            first, second = _drawn(key, scan)
        else:
            first, second = columns
            if not (0 <= first < num_features and 0 <= second < num_features):
                raise ValueError(
                    f"swapped_columns: columns {columns} of a row of {num_features} features; "
                    f"choose two of 0 to {num_features - 1}, or None to draw them"
                )
        return scan.at[first].set(scan[second]).at[second].set(scan[first]), label

    return harm


def _drawn(key, scan):
    """Two columns with different values."""
    first_key, second_key = jax.random.split(key)
    first = jax.random.randint(first_key, (), 0, scan.shape[0])
    both_missing = jnp.isnan(scan) & jnp.isnan(scan[first])
    differs = (scan != scan[first]) & ~both_missing
    return first, jax.random.categorical(second_key, jnp.where(differs, 0.0, -jnp.inf))
