"""How held-out scans lie in batches, and sums over them in an order that no network changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harmjax import types
from harmjax.federations import layout, memory, permitted, statistics, stepwise, stream
from tests import classes, sites

centres = st.lists(st.sampled_from([0, 1, 2, 5, 9]), min_size=1, max_size=30).map(np.array)
quick = settings(max_examples=100, deadline=None)


@quick
@given(centres)
def test_a_fold_is_every_other_scan_of_a_centre(centre):
    seen, expected = dict.fromkeys(centre.tolist(), 0), []
    for c in centre.tolist():
        expected.append(seen[c] % 2)
        seen[c] += 1
    assert permitted.folds(centre).tolist() == expected


@quick
@given(
    centres,
    st.sampled_from(["confusion", "loss", "gradient"]),
    st.sampled_from([None, 0, 1]),
    st.integers(0, 6),
)
def test_centres_answer_of_whom_they_have_enough(centre, statistic, fold, minimum):
    expected = []
    for i, c in enumerate(centre):
        own = [j for j in range(len(centre)) if centre[j] == c]
        meant = own if fold is None else own[fold::2]
        enough = len(meant) >= minimum or statistic == "confusion"
        expected.append(i in meant and enough)
    found = permitted.answering(statistic, centre, fold, minimum)
    assert found.dtype == bool and found.tolist() == expected


@pytest.mark.parametrize("fold", [2, -1, 0.0, "0", np.int32(1), np.ones(3, int), [0, 1, 0], (1,)])
def test_no_subset_but_a_fold_can_be_asked_for(fold):
    for statistic in ("confusion", "gradient"):
        with pytest.raises(ValueError, match="known: 0, 1, or None"):
            permitted.answering(statistic, [0, 0, 0], fold)


@quick
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 80))
def test_batches_are_as_wide_as_pads_least(sizes, most):
    assume(any(sizes))
    centre = np.repeat(np.arange(len(sizes)), sizes)
    costs = {}
    for width in [*(2**i for i in range(8) if 2**i < most), most]:
        rows = sum(len(range(0, size, width)) for size in sizes)
        costs[width] = rows * width + rows
    found = layout.width(centre, most)
    assert costs[found] == min(costs.values()) and found == min(
        width for width, cost in costs.items() if cost == costs[found]
    )


@quick
@given(centres, st.data(), st.integers(1, 7))
def test_rows_hold_each_chosen_scan_once_centre_by_centre(centre, data, width):
    size = len(centre)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    rows, owner = layout.by_centre(centre, chosen, width)
    expected, owners = [], []
    for c in sorted(set(centre[chosen].tolist())):
        own = [i for i in range(size) if centre[i] == c and chosen[i]]
        for start in range(0, len(own), width):
            some = own[start : start + width]
            expected.append(some + [size] * (width - len(some)))
            owners.append(c)
    if not chosen.any():
        expected, owners = [[size] * width], [0]
    assert rows.dtype == np.int32 and rows.tolist() == expected and owner.tolist() == owners


@quick
@given(st.lists(st.integers(0, 99), max_size=20), st.integers(1, 8))
def test_packed_rows_are_filled_in_order(ids, width):
    rows = layout.packed(np.array(ids, int), width, 100)
    assert rows.dtype == np.int32 and rows.shape == (max(1, -(-len(ids) // width)), width)
    assert rows.ravel().tolist() == ids + [100] * (rows.size - len(ids))


def in_a_loop(parts, owner):
    """Sums of each centre's parts, added up centre by centre from zero; in float32, by hand."""
    whole = [np.zeros_like(leaf) for leaf in parts[0]]
    for c in sorted(set(owner)):
        own = None
        for part, at in zip(parts, owner, strict=True):
            if at == c:
                own = part if own is None else [a + b for a, b in zip(own, part, strict=True)]
        whole = [a + b for a, b in zip(whole, own, strict=True)]
    return whole


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-(2.0**30), 2.0**30, width=32), min_size=12, max_size=12),
    st.lists(st.integers(0, 3), min_size=12, max_size=12).map(sorted),
)
def test_sums_in_order_equal_a_loop_bit_for_bit(values, owner):
    values = np.array(values, np.float32)
    rows = np.arange(12, dtype=np.int32)[:, None]
    found = _added(jnp.asarray(values), rows.tobytes(), tuple(owner))
    (expected,) = in_a_loop([[v] for v in values], owner)
    assert np.asarray(found).tobytes() == expected.tobytes()


@functools.partial(jax.jit, static_argnums=(1, 2))
def _added(values, rows, owner):
    rows = np.frombuffer(rows, np.int32).reshape(-1, 1)
    return memory.in_order(lambda ids: values[ids[0]], rows, np.array(owner))


def test_sums_in_order_are_not_those_in_another_order():
    """What the test above can tell: 2^24 + 1 + 1 is 2^24 in float32, 1 + 1 + 2^24 is not."""
    values = jnp.array([2.0**24, 1.0, 1.0])
    rows = np.arange(3, dtype=np.int32)[:, None].tobytes()
    assert _added(values, rows, (0, 1, 2)) == 2.0**24
    assert _added(values, rows, (0, 1, 1)) == 2.0**24 + 2


M = 41
MAKERS = {
    "memory": memory.memory,
    "stepwise": stepwise.stepwise,
    "stream": stream.stream,
    "loopback": sites.messages,
}


@functools.cache
def held(num_classes):
    """Samples whose centres are mixed up, a learner and a model."""
    train = classes.samples(20, 0, num_classes)
    held_out = classes.samples(M, 1, num_classes)
    mixed = np.random.default_rng(2).permutation(held_out.centre)
    lrn = classes.perceptron(num_classes)
    model = jax.jit(lrn.init)(jax.random.key(0), train.image[:1])
    return lrn, model, train, held_out._replace(centre=mixed)


@pytest.mark.optimised
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("num_classes", "statistic", "fold"),
    [(2, "gradient", None), (2, "loss", 1), (3, "loss", None), (3, "feature_moments", 0)],
)
def test_every_federations_sums_equal_a_loop_bit_for_bit(name, num_classes, statistic, fold):
    lrn, model, train, held_out = held(num_classes)
    fed = MAKERS[name](lrn, train, held_out, jax.random.key(7), chunk=4, minimum=4)

    def asked(model):
        return fed.total(statistic, model, fold=fold)

    found = jax.jit(asked)(model) if name == "memory" else asked(model)
    part = jax.jit(functools.partial(getattr(statistics, statistic), lrn))
    width = layout.width(held_out.centre, 4)
    parts, owner = [], []
    for c in range(5):
        own = np.flatnonzero(held_out.centre == c)[slice(fold, None, None if fold is None else 2)]
        for start in range(0, len(own) if len(own) >= 4 else 0, width):
            some = own[start : start + width]
            ids = np.append(some, np.full(width - len(some), M - 1))
            batch = types.Batch(held_out.image[ids], held_out.label[ids], None, None)
            weight = np.float32(np.arange(width) < len(some))
            parts.append([np.asarray(x) for x in jax.tree.leaves(part(model, batch, weight))])
            owner.append(c)
    assert len(parts) > len(set(owner)) > 1
    for x, expected in zip(jax.tree.leaves(found), in_a_loop(parts, owner), strict=True):
        assert np.asarray(x).tobytes() == expected.tobytes()


@pytest.mark.optimised
def test_how_centres_are_mixed_up_changes_no_bit():
    """A centre's own order decides, and nobody else's scans beside it."""
    lrn, model, train, held_out = held(3)
    by_centre = np.argsort(held_out.centre, kind="stable")
    apart = types.Samples(*(x[by_centre] for x in held_out))
    found = []
    for samples in (held_out, apart):
        fed = memory.memory(lrn, train, samples, jax.random.key(7), chunk=4)
        found.append(jax.jit(functools.partial(fed.total, "gradient"))(model))
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
