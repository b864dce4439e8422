"""Which centre the model visits when, and which samples it meets there."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types


def itinerary(
    centre: np.ndarray, *, batch_size: int = 5, drop_remainders: bool = False
) -> Callable[[types.Array, types.Offer, types.Cycle], types.Stop]:
    """A function `(key, Offer, cycle) -> Stop` that draws the stops of one cycle.

    Centres come in a random order, each with all its stops in a row. Within a centre the samples
    to be met are shuffled and cut into batches of `batch_size`; the last one is smaller. The number
    of stops is `sum(ceil(n / batch_size))` whoever is met, so that eliminations never change a
    shape; stops left without samples hold only padding (id N).

    Args:
        centre: [N] int, index of the centre that holds each sample.
        batch_size: Samples per stop.
        drop_remainders: The authors' quirk: samples beyond the last full batch are not visited this
            cycle. A centre with less than one full batch keeps its only one.

    Returns:
        `(key, Offer, cycle) -> Stop` of [T] stops. Pure; works under jit.

    Example:
        >>> draw = itinerary(np.array([0, 0, 0, 1]), batch_size=2)
        >>> keep = jnp.array([True, True, False, True])
        >>> stops = draw(jax.random.key(0), types.Offer(keep, keep.astype(float)), 0)
        >>> stops.ids.shape, sorted(stops.ids.ravel().tolist())
        ((3, 2), [0, 1, 3, 4, 4, 4])
    """
    centre = np.asarray(centre, np.int32)
    num_samples, num_centres = len(centre), int(centre.max()) + 1
    sizes = np.bincount(centre, minlength=num_centres)
    starts = np.cumsum(sizes) - sizes
    num_stops = -(-sizes // batch_size)
    stop_centre = np.repeat(np.arange(num_centres, dtype=np.int32), num_stops)
    within = np.concatenate([np.arange(n * batch_size) for n in num_stops])
    slot_centre = np.repeat(stop_centre, batch_size)
    position = np.where(within < sizes[slot_centre], starts[slot_centre] + within, num_samples)

    def draw(key, offer: types.Offer, cycle) -> types.Stop:
        keep = offer.met
        key_samples, key_centres = jax.random.split(jax.random.fold_in(key, cycle))
        order = jnp.lexsort((jax.random.uniform(key_samples, (num_samples,)), ~keep, centre))
        kept = jnp.append(keep[order], False)[position]
        if drop_remainders:
            num_kept = jnp.zeros(num_centres, jnp.int32).at[centre].add(keep)
            full = num_kept // batch_size * batch_size
            kept &= within < jnp.where(full > 0, full, num_kept)[slot_centre]
        ids = jnp.where(kept, jnp.append(order, num_samples)[position], num_samples)
        weight = jnp.append(offer.weight, 0.0)[ids]
        route = jnp.argsort(jax.random.uniform(key_centres, (num_centres,))[stop_centre])
        return types.Stop(
            cycle=jnp.full(len(stop_centre), cycle, jnp.int32),
            centre=jnp.asarray(stop_centre)[route],
            ids=ids.reshape(-1, batch_size)[route].astype(jnp.int32),
            weight=weight.reshape(-1, batch_size)[route],
        )

    return draw
