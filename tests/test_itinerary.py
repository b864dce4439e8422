"""Itineraries: who is visited when, under any mask."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import types
from harmjax.engine import itinerary


def drawn(centre, keep, weight=None, *, batch_size=5, drop_remainders=False, seed=0, cycle=0):
    draw = itinerary.itinerary(centre, batch_size=batch_size, drop_remainders=drop_remainders)
    weight = np.asarray(keep if weight is None else weight, np.float32)
    offer = types.Offer(jnp.asarray(keep), jnp.asarray(weight))
    return jax.device_get(draw(jax.random.key(seed), offer, cycle))


cohorts = st.lists(st.integers(1, 11), min_size=1, max_size=6).flatmap(
    lambda sizes: st.tuples(
        st.just(np.repeat(np.arange(len(sizes)), sizes)),
        st.lists(st.booleans(), min_size=sum(sizes), max_size=sum(sizes)),
        st.integers(1, 6),
        st.integers(0, 3),
    )
)


@settings(max_examples=25, deadline=None)
@given(cohorts)
def test_every_kept_sample_is_visited_once_at_its_own_centre(cohort):
    centre, keep, batch_size, cycle = cohort
    stops = drawn(centre, keep, batch_size=batch_size, cycle=cycle)
    visited = stops.ids[stops.ids < len(centre)]
    assert sorted(visited) == list(np.flatnonzero(keep))
    assert stops.ids.shape == (sum(-(-np.bincount(centre) // batch_size)), batch_size)
    for where, ids in zip(stops.centre, stops.ids, strict=True):
        assert (centre[ids[ids < len(centre)]] == where).all()
    changes = np.flatnonzero(np.diff(stops.centre)) + 1
    assert len(changes) + 1 == len(np.unique(centre))


@settings(max_examples=25, deadline=None)
@given(cohorts, st.data())
def test_a_slot_has_the_weight_of_its_sample_and_an_empty_one_none(cohort, data):
    """Of whoever is met: a weight of 0 is met only to be looked at."""
    centre, keep, batch_size, cycle = cohort
    size = len(centre)
    weight = data.draw(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=size, max_size=size))
    stops = drawn(centre, keep, weight, batch_size=batch_size, cycle=cycle)
    whoever = drawn(centre, keep, batch_size=batch_size, cycle=cycle)
    assert (stops.ids == whoever.ids).all() and stops.weight.dtype == np.float32
    expected = [[weight[i] if i < size else 0.0 for i in row] for row in stops.ids]
    assert stops.weight.tolist() == expected
    assert (stops.cycle == cycle).all()


@settings(max_examples=25, deadline=None)
@given(cohorts)
def test_kept_samples_are_packed_into_full_batches(cohort):
    centre, keep, batch_size, cycle = cohort
    stops = drawn(centre, keep, batch_size=batch_size, cycle=cycle)
    for c in np.unique(centre):
        filled = (stops.ids[stops.centre == c] < len(centre)).sum(axis=1)
        kept = int(np.asarray(keep)[centre == c].sum())
        assert sorted(filled[filled > 0], reverse=True) == [
            min(batch_size, kept - start) for start in range(0, kept, batch_size)
        ]


def test_authors_drop_the_remainder_but_not_a_centres_only_batch():
    centre = np.repeat([0, 1, 2], [13, 5, 3])
    stops = drawn(centre, np.ones(21, bool), drop_remainders=True)
    visits = {c: int((stops.ids[stops.centre == c] < 21).sum()) for c in range(3)}
    assert visits == {0: 10, 1: 5, 2: 3}


def test_published_cohort_has_318_stops_or_284_full_batches():
    sizes = np.loadtxt(
        "harmjax/files/centre_sizes_83.csv", delimiter=",", skiprows=1, usecols=(1, 2), dtype=int
    ).sum(axis=1)
    centre = np.repeat(np.arange(83), sizes)
    assert len(drawn(centre, np.ones(1410, bool)).centre) == 318
    dropped = drawn(centre, np.ones(1410, bool), drop_remainders=True)
    assert int((dropped.ids < 1410).any(axis=1).sum()) == 284


def test_cycles_differ_and_the_same_cycle_repeats():
    centre, keep = np.repeat([0, 1, 2], 7), np.ones(21, bool)
    first, second = drawn(centre, keep, cycle=0), drawn(centre, keep, cycle=1)
    again = drawn(centre, keep, cycle=0)
    assert (first.ids == again.ids).all() and (first.centre == again.centre).all()
    assert (first.ids != second.ids).any()
