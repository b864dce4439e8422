"""The published quality control: verify, roll back, isolate, revisit, eliminate."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import offers, task, types
from harmjax.engine import trials
from harmjax.engine.apart import apart
from harmjax.engine.learner import select


class State(NamedTuple):
    """What the server remembers between stops."""

    reference: types.Array  # [K, K] int32, confusion of the last accepted model
    allowed: types.Array  # [K, B+1, H] int32, errors that b samples may add, see `tolerated`
    rate: types.Array  # [K] float32, what one extra error of each class adds to its rate
    suspected: types.Array  # [N] int32, cycle of the suspicion, -1 where none is open
    order: types.Array  # [N] int32, lone trials before the last one of this sample
    lone: types.Array  # [] int32, lone trials so far
    eliminated: types.Array  # [N] bool
    harm: types.Array  # [N] float32, larger rate change of the last lone trial, NaN before
    verdict: types.Array  # [N] int32, cycle of the last verdict, -1 before


def tolerated(
    over: int, most: int, threshold: float, max_batch: int, *, float_bound: bool = False
) -> np.ndarray:
    """[B+1, H] int64, how many errors b samples may add to a count of 0, 1, ... of them.

    The rule as written is `floor(threshold b over)`, whatever the count was: H = 1. The authors
    compare rates instead, `after / over > before / over + threshold b` in float64, where rounding
    makes some rises that equal the bound exceed it: of 50 scans and with b = 2, 20 after 18 is
    harmful, 19 after 17 is not. JAX has no float64 as a rule, hence a table: H = most + 1.

    Args:
        over: Scans that the errors are counted over.
        most: The largest count that there can be.
        threshold: Tolerated rise of the rate per sample (fraction).
        max_batch: B.
        float_bound: Whether to decide as their comparison does.

    Example:
        >>> tolerated(50, 50, 0.02, 2).tolist()
        [[0], [1], [2]]
        >>> tolerated(50, 50, 0.02, 2, float_bound=True)[2, [17, 18]].tolist()
        [2, 1]
    """
    tried = np.arange(max_batch + 1)[:, None]
    if not float_bound:
        return np.floor(threshold * (over * tried) + 1e-9).astype(int)
    count = np.arange(most + 1)
    rate = count / over
    return np.searchsorted(rate, rate + threshold * tried, side="right") - 1 - count


def verify(threshold: float, state: State, ids, confusion, info: types.Info):
    """The verdict on an update: harmful if, for any class, it adds more errors than tolerated.

    Args:
        threshold: Tolerated rise of a class's error rate per sample tried (fraction).
        state: Before the update.
        ids: [B] int32, samples tried, N in padding.
        confusion: [K, K] int32, of the updated model.
        info: Row of the trial, with its loss; one that is not finite is not accepted.

    Returns:
        The state, its reference that of the updated model if that is accepted; the row; and the
        largest rise of an error rate.
    """
    tried, before = jnp.sum(ids < len(state.order)), task.errors(state.reference)
    extra = task.errors(confusion) - before
    counted = jnp.minimum(before, state.allowed.shape[2] - 1)
    is_harmful = jnp.any(extra > state.allowed[jnp.arange(len(extra)), tried, counted])
    accepted = ~is_harmful & jnp.isfinite(info.loss)
    info = info._replace(
        ids=info.ids.at[: len(ids)].set(ids),
        confusion=confusion,
        reference=state.reference,
        allowed=jnp.float32(threshold) * tried,
        accepted=accepted,
    )
    after = state._replace(reference=select(accepted, confusion, state.reference))
    return after, info, jnp.max(extra * state.rate)


def judged(state: State, i, cycle, trial: types.Info, rise) -> State:
    """The state after a lone trial of sample `i`; the same state where `i` is padding."""
    harmful = ~trial.accepted
    gone = harmful & (trial.kind == types.REVISIT)
    suspected = jnp.where(harmful & ~gone, cycle, -1)
    return state._replace(
        suspected=state.suspected.at[i].set(suspected, mode="drop"),
        order=state.order.at[i].set(state.lone, mode="drop"),
        lone=state.lone + (i < len(state.order)),
        eliminated=state.eliminated.at[i].set(gone, mode="drop"),
        harm=state.harm.at[i].set(rise, mode="drop"),
        verdict=state.verdict.at[i].set(cycle, mode="drop"),
    )


def verify_revisit(
    *,
    threshold: float = 0.02,
    revisit_after: int = 2,
    swap_denominators: bool = False,
    float_bound: bool = False,
    word=None,
    max_batch: int = 5,
) -> types.QualityControl:
    """The published procedure as a policy.

    After every batch all centres count errors on their held-out scans. An update is harmful if, for
    any class, it adds more than `floor(threshold k N_class)` errors to the last accepted model, k
    being the samples tried and N_class the held-out scans of the class: of two classes, false
    positives among the controls and false negatives among the patients. A harmful
    batch is rolled back and its samples are tried alone, one after another, each accepted one
    moving the model. A harmful batch of one sample is that sample's lone trial too: the same update
    would be computed again. A sample that is harmful alone is set aside and tried again at the end
    of cycle c + `revisit_after`: harmful again, it is eliminated; otherwise it has been trained on
    and returns. Revisits go in the order of suspicion.

    Args:
        threshold: Tolerated rise of a class's error rate per sample tried (fraction).
        revisit_after: Cycles until a suspect is tried again.
        swap_denominators: The authors' quirk, of two classes: false positives are divided by the
            number of positives, false negatives by the number of negatives.
        float_bound: The authors' quirk: a rise that equals the bound is at the mercy of rounding;
            see `tolerated`.
        word: [N] int8, a person's, see `offers`; one who is dropped after the suspicion is never
            tried again.
        max_batch: Largest number of samples of one stop.

    Raises:
        ValueError: A threshold that is no fraction; from `init`, a class without held-out scans, or
            swapped denominators of more than two classes.

    References:
        Souza et al., Self-supervised identification and elimination of harmful datasets in
        distributed machine learning for medical image analysis, npj Digital
        Medicine 2025, doi 10.1038/s41746-025-01499-0.

    Example:
        >>> state = verify_revisit().init(3, jnp.array([[41, 9], [0, 100]]))
        >>> state.allowed[:, 5, 0].tolist()
        [5, 10]
    """
    if not 0 <= threshold <= 1:
        raise ValueError(
            f"policy.verify_revisit.threshold={threshold!r} must be a fraction, such as 0.02 for 2%"
        )

    decided = apart(functools.partial(verify, threshold))

    def init(num_samples, baseline):
        held_out = np.asarray(task.totals(baseline))
        _check_classes(held_out, swap_denominators)
        counted_over = held_out[::-1] if swap_denominators else held_out
        allowed = [
            tolerated(over, held_out.max(), threshold, max_batch, float_bound=float_bound)
            for over in counted_over
        ]
        return State(
            reference=jnp.asarray(baseline, jnp.int32),
            allowed=jnp.asarray(np.stack(allowed), jnp.int32),
            rate=jnp.asarray(1 / counted_over, jnp.float32),
            suspected=jnp.full(num_samples, -1, jnp.int32),
            order=jnp.zeros(num_samples, jnp.int32),
            lone=jnp.int32(0),
            eliminated=jnp.zeros(num_samples, bool),
            harm=jnp.full(num_samples, jnp.nan, jnp.float32),
            verdict=jnp.full(num_samples, -1, jnp.int32),
        )

    def offer(state, cycle):
        del cycle
        return offers.offer(~state.eliminated & (state.suspected < 0), word=word)

    def attempt(fed: types.Federation, travel: types.Travel, leg: types.Stop, kind):
        """Trains on a leg of one stop, verifies, and keeps or rolls back: one sample or five."""
        candidate, (loss,) = fed.learn(travel.model, leg)
        confusion = fed.total("confusion", candidate)
        nothing = trials.no_trial(fed, max_batch)._replace(kind=jnp.int32(kind), loss=loss)
        state, info, rise = decided(travel.state, leg.ids[0], confusion, nothing)
        return types.Travel(select(info.accepted, candidate, travel.model), state), info, rise

    def lone_trials(fed: types.Federation, travel: types.Travel, cycle, ids, kind):
        """Tries samples one at a time; padding ids are skipped."""

        def trial(travel, i):
            travel, info, rise = attempt(fed, travel, offers.alone(fed, cycle, i), kind)
            return travel._replace(state=judged(travel.state, i, cycle, info, rise)), info

        def skip(travel, i):
            del i
            return travel, trials.no_trial(fed, max_batch)

        def each(travel, i):
            return fed.cond(i < len(fed.centre), trial, skip, travel, i)

        return fed.scan(each, travel, ids)

    def tried_alone(fed: types.Federation, travel: types.Travel, cycle, ids, kind):
        """`lone_trials` of a row of ids, unless the whole row is padding."""

        def skip(travel):
            return travel, trials.nothing(fed, len(ids), max_batch)

        def run(travel):
            return lone_trials(fed, travel, cycle, ids, kind)

        return fed.cond(jnp.any(ids < len(fed.centre)), run, skip, travel)

    def visit(fed: types.Federation, travel: types.Travel, leg: types.Stop):
        if len(leg.cycle) == 1:
            travel, info = stop_at(fed, travel, leg)
            return travel, jax.tree.map(lambda x: x[None], info)
        return fed.scan(lambda t, stop: stop_at(fed, t, offers.leg(stop)), travel, leg)

    def stop_at(fed: types.Federation, travel: types.Travel, leg: types.Stop):
        stop = jax.tree.map(lambda x: x[0], leg)
        nobody = jnp.full_like(stop.ids, len(fed.centre))

        def run(travel):
            travel, info, rise = attempt(fed, travel, leg, types.BATCH)
            suspects = jnp.where(info.accepted, nobody, stop.ids)
            one = jnp.sum(suspects < len(fed.centre)) == 1
            nothing = trials.no_trial(fed, max_batch)
            copy = select(one, info._replace(kind=jnp.int32(types.COPIED)), nothing)
            state = judged(travel.state, jnp.min(copy.ids), stop.cycle, copy, rise)
            travel = travel._replace(state=state)
            suspects = jnp.where(one, nobody, suspects)
            travel, alone = tried_alone(fed, travel, stop.cycle, suspects, types.SINGLE)
            return travel, trials.join(trials.stack([info, copy]), alone)

        def skip(travel):
            return travel, trials.nothing(fed, 2 + len(stop.ids), max_batch)

        return fed.cond(jnp.any(stop.ids < len(fed.centre)), run, skip, travel)

    def close(fed: types.Federation, travel: types.Travel, cycle):
        num_samples = len(fed.centre)
        suspected = travel.state.suspected
        due = (suspected >= 0) & (suspected + revisit_after <= cycle)
        due &= ~offers.said(word, offers.DROP, num_samples)
        first = jnp.lexsort((travel.state.order, ~due))
        ids = jnp.where(due[first], first, num_samples).astype(jnp.int32)
        ids = jnp.pad(ids, (0, -num_samples % max_batch), constant_values=num_samples)
        rows = ids.reshape(-1, max_batch)
        cycle = jnp.asarray(cycle, jnp.int32)

        def revisit(travel, row):
            return tried_alone(fed, travel, cycle, row, types.REVISIT)

        travel, info = fed.scan(revisit, travel, rows)
        return travel, trials.flatten(info)

    def verdicts(state, cycle):
        del cycle
        pending = state.suspected >= 0
        found = types.Verdicts(state.harm, pending, state.eliminated, state.verdict)
        return offers.told(found, word)

    return types.QualityControl(init, offer, visit, close, verdicts)


def _check_classes(held_out, swap_denominators) -> None:
    """Raises ValueError for classes that error rates cannot be told of."""
    if held_out.min() < 1:
        raise ValueError(
            f"verification scans of each class: {held_out.tolist()}; "
            "error rates need at least one of each"
        )
    if swap_denominators and len(held_out) != 2:
        raise ValueError(
            "policy.verify_revisit.swap_denominators=True: the authors' quirk is about two "
            f"classes, not {len(held_out)}; set it to False"
        )
