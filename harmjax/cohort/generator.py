"""From rows to scans, a fixed number at a time so that the program is compiled once."""

import jax
import jax.numpy as jnp
import numpy as np

from harmjax.cohort import anatomy, scanner, subject


def generator(spacing=4.0, effect=3.0, seed=0, batch_size=16, diseases=1):
    """Returns `generate(rows) -> scans [n, X, Y, Z] uint8`, for any number of `plan.Row`s.

    A scan depends on its own row and these arguments alone: not on who else is in the cohort, the
    order, or the batch.

    Args:
        spacing: Voxel side in mm, 1 to 4.
        effect: Size of the disease effect, 0 none, 1 realistic, 3 learnable from 600 scans, 20 from
            150; beyond 5 the loss of signal also spreads.
        seed: An int.
        batch_size: Scans per compiled call.
        diseases: 1 or 2, see `subject.DISEASES`; rows have labels up to it.

    Raises:
        ValueError: For a spacing outside 1..4 mm or an effect outside 0..30.

    Example:
        >>> from harmjax.cohort import plan
        >>> rows = plan.rows(plan.centres("83"))[:2]
        >>> generator(spacing=4.0, batch_size=2)(rows).shape
        (2, 40, 48, 40)
    """
    if not 1.0 <= spacing <= 4.0:
        raise ValueError(f"spacing={spacing} mm: scans can be made from 1 to 4 mm")
    if not 0.0 <= effect <= 30.0:
        raise ValueError(f"effect={effect}: expected 0 (none) to 30; 1 is realistic")
    atlas = anatomy.atlas(spacing, diseases)

    @jax.jit
    def scans(atlas, place, label, age, sex):
        root = jax.random.key(seed)
        site = jax.vmap(lambda where: jax.random.fold_in(root, where[0]))(place)
        style = jax.vmap(lambda key: scanner.style(jax.random.fold_in(key, 0)))(site)

        def person_key(key, where):
            # One more than each part, so that no person's key is a centre's.
            for part in (1, 2, 3):
                key = jax.random.fold_in(key, where[part] + 1)
            return jax.random.split(key)

        body, scan = jax.vmap(person_key, out_axes=1)(site, place)
        # One by one: on a CPU faster than vmap, and the same bytes in any batch. In two maps:
        # in one, XLA fuses the sampling of the anatomy into every pass the scanner makes.
        people = jax.lax.map(
            lambda one: subject.subject(
                one[0], atlas, one[1], one[2], one[3], effect, spacing=spacing, diseases=diseases
            ),
            (body, label, age, sex),
        )
        return jax.lax.map(
            lambda one: scanner.scanner(*one, spacing=spacing), (scan, style, people)
        )

    def generate(rows):
        batches = []
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            padded = batch + batch[-1:] * (batch_size - len(batch))
            arrays = (
                jnp.asarray(np.asarray([row.place for row in padded], np.uint32)),
                jnp.asarray([float(row.label) for row in padded]),
                jnp.asarray([row.age for row in padded]),
                jnp.asarray([float(row.sex == "M") for row in padded]),
            )
            batches.append(np.asarray(scans(atlas, *arrays))[: len(batch)])
        return np.concatenate(batches)

    return generate
