"""How many errors a trial may add: integers by hand, and the authors' comparison of rates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import tables, types
from harmjax.engine import itinerary, travel
from harmjax.policies import verify_revisit
from harmjax.runs import logbook
from tests import replay

SIZES = (12, 9, 7, 5, 5, 3, 1, 1)


def at_random(held_out):
    """A federation in which every update draws new counts of errors of each class."""
    centre = np.repeat(np.arange(len(SIZES)), SIZES)
    num_classes = len(held_out)

    def learn(model, leg):
        tried = jnp.sum(jnp.where(leg.ids < len(centre), (leg.ids + 1) ** 3, 0))
        return jax.random.fold_in(jax.random.fold_in(model, leg.cycle[0]), tried), jnp.zeros(1)

    def total(statistic, model):
        wrong = jax.random.randint(model, (num_classes,), 29, 35)
        taken_for = (jnp.arange(num_classes) + 1 + wrong % (num_classes - 1)) % num_classes
        confusion = jnp.diag(jnp.array(held_out) - wrong)
        return confusion.at[jnp.arange(num_classes), taken_for].add(wrong)

    return types.Federation(
        num_classes,
        jnp.asarray(centre),
        None,
        learn,
        None,
        total,
        None,
        jax.lax.scan,
        jax.lax.cond,
    )


@pytest.mark.parametrize(
    "held_out, swapped, floats",
    [
        ((50, 100), False, False),
        ((50, 100), False, True),
        ((50, 100), True, False),
        ((50, 100), True, True),
        ((50, 100, 150), False, False),
        ((50, 100, 150), False, True),
    ],
)
def test_decisions_on_the_bound_follow_the_arithmetic_that_was_asked_for(
    tmp_path, held_out, swapped, floats
):
    """Many decisions exactly on the bound: k errors of 50 and 2 k of 100 are k x .02."""
    fed = at_random(held_out)
    names = [f"p{i}" for i in range(len(fed.centre))]
    centres = [f"C{c}" for c in range(len(SIZES))]
    policy = verify_revisit.verify_revisit(swap_denominators=swapped, float_bound=floats)
    draw = functools.partial(itinerary.itinerary(fed.centre), jax.random.key(1))
    model = jax.random.key(3)
    baseline = fed.total("confusion", model)
    traveller = types.Travel(model, policy.init(len(names), baseline))
    rows = [logbook.baseline_row(0, baseline)]

    @jax.jit
    def one(traveller, cycle):
        return travel.cycle(travel.steps(fed, policy, draw), traveller, cycle)

    for cycle in range(12):
        traveller, record = one(traveller, cycle)
        rows += logbook.decision_rows(cycle, *record[:3], names, centres, fed.centre)
    header = logbook.decision_columns(("HC", "MCI", "AD")[: len(held_out)])
    tables.write(tmp_path / "decisions.csv", header, rows)
    eliminated, pending, harm, events = replay.replay(
        replay.read(tmp_path / "decisions.csv"),
        {name: centres[c] for name, c in zip(names, fed.centre, strict=True)},
        threshold=0.02,
        swapped=swapped,
        floats=floats,
    )
    assert min(events[k] for k in ("rejected", "single", "revisit", "copied", "rounded")) > 0
    state = traveller.state
    assert {names[i] for i in np.flatnonzero(state.eliminated)} == eliminated
    assert {names[i] for i in np.flatnonzero(state.suspected >= 0)} == pending
    found = {name: float(h) for name, h in zip(names, state.harm, strict=True) if h == h}
    assert found == pytest.approx(harm, abs=1e-6)


def counts(tp, fp, tn, fn):
    return jnp.array([[tn, fp], [fn, tp]], jnp.int32)


def test_allowed_errors_are_integers_of_the_published_cohort():
    state = verify_revisit.verify_revisit().init(3, counts(tp=187, fp=20, tn=200, fn=0))
    assert state.allowed.shape == (2, 6, 1)
    assert state.allowed[:, :, 0].tolist() == [[0, 4, 8, 13, 17, 22], [0, 3, 7, 11, 14, 18]]
    swapped = verify_revisit.verify_revisit(swap_denominators=True)
    state = swapped.init(3, counts(tp=187, fp=20, tn=200, fn=0))
    assert state.allowed[:, :, 0].tolist() == [[0, 3, 7, 11, 14, 18], [0, 4, 8, 13, 17, 22]]


def test_rounding_touches_one_bound_of_the_published_cohort():
    """FN + 22 of five scans, over 220 controls: after 29 counts, 21 of which 187 patients allow."""
    authors = verify_revisit.verify_revisit(swap_denominators=True, float_bound=True)
    baseline = counts(tp=187, fp=20, tn=200, fn=0)
    exact = verify_revisit.verify_revisit(swap_denominators=True).init(3, baseline).allowed
    allowed = authors.init(3, baseline).allowed
    for most, number in ((220, 29), (187, 21)):
        possible = np.arange(221) + exact <= np.array([220, most])[:, None, None]
        fewer = np.argwhere((allowed < exact) & possible)
        assert len(fewer) == number and (fewer[:, :2] == [1, 5]).all()


@pytest.mark.parametrize("over", [1, 5, 22, 49, 50, 100])
def test_float_bound_is_the_comparison_of_rates_in_float64(over):
    most = over + 9
    allowed = verify_revisit.tolerated(over, most, 0.02, 5, float_bound=True)
    for k in range(1, 6):
        for before in range(most + 1):
            for after in range(most + 1):
                harmful = after / over > before / over + 0.02 * k
                assert harmful == (after - before > allowed[k, before]), (k, before, after)


def test_of_all_pairs_of_counts_2235_are_decided_by_rounding():
    """N = 5..400, k = 1..5, counted by direct comparison of both rules over all 107.9 million."""
    pairs, fewer, more = 0, 0, 0
    for scans in range(5, 401):
        pairs += 5 * (scans + 1) ** 2
        room = scans - np.arange(scans + 1)
        exact, floats = (
            np.minimum(verify_revisit.tolerated(scans, scans, 0.02, 5, float_bound=b), room)[1:]
            for b in (False, True)
        )
        fewer += int(np.maximum(exact - floats, 0).sum())
        more += int(np.maximum(floats - exact, 0).sum())
    assert (pairs, fewer, more) == (107_870_730, 2235, 0)


def test_exactly_on_the_threshold_is_accepted():
    allowed = verify_revisit.verify_revisit(threshold=0.02).init(1, counts(50, 0, 50, 0)).allowed
    assert allowed[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
