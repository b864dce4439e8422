"""What `screen` makes of evidence: it accumulates, suspects, decides, and raises alarms."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from harmjax import offers, types
from harmjax.policies import centrewise, conformal, evidence

MODEL_FREE = ("appearance",)  # evidence that training on a sample does not change
TAIL = 0.1  # of the verification scans; as many training samples should lie beyond its edge
UNLIKE = 0.05  # p-value up to which a sample counts as unlike the verification scans
ALARMS = (
    "most of the training samples look unlike the verification scans, or cannot be compared with "
    "them: nothing is eliminated any more; either most of the cohort is harmful or the "
    "verification scans are of another kind",
    "the verification scans hold outliers that the training samples do not: look at them, because "
    "what is eliminated is measured against them",
    "a family of evidence is not a number for any verification scan of a class, so harm that only "
    "that family shows is not found: look for scans that are not numbers, or for centres too small "
    "to answer",
)
MOST, CONTAMINATED, BLIND = range(len(ALARMS))


class Rules(NamedTuple):
    """The settings of `screen.screen`, see there."""

    families: evidence.Families
    alpha: float
    false_share: float
    examine_every: int  # cycles
    centres: bool
    word: types.Array | None  # [N] int8, a person's
    joined: int = 0  # how many samples, the last ones, are the verification scans themselves
    accusation: types.Array | None = None  # [N] float32, p-values of centres, of `witness`


class State(NamedTuple):
    """What the server remembers between stops; E families of evidence, summed over cycles."""

    calibration: evidence.Calibration  # within a cycle; None between cycles
    label: types.Array  # [N] int32, -1 before the first visit
    visits: types.Array  # [N] int32
    known: types.Array  # [N, E] float32, weights of the visits with finite evidence
    evidence: types.Array  # [N, E] float32, robust standard deviations, summed over these
    held_out_known: types.Array  # [M, E] float32
    held_out_evidence: types.Array  # [M, E] float32
    p_value: types.Array  # [N] float32, of all evidence so far, 1 before the first visit
    suspected: types.Array  # [N] int32, cycle of the suspicion, -1 where none is open
    eliminated: types.Array  # [N] bool
    verdict: types.Array  # [N] int32, cycle of the last verdict, -1 before
    start: types.Array  # [] int32, first cycle under control, -1 before
    examinations: types.Array  # [] int32, so far
    alarms: types.Array  # [A] bool, which of ALARMS were ever on


def unsuspecting(rules: Rules, num_samples: int, num_held_out: int) -> State:
    """The state before the first cycle; who is accused is eliminated already, without a verdict."""
    nobody, num_families = jnp.full(num_samples, -1, jnp.int32), len(rules.families.names)
    p_value = jnp.ones(num_samples)
    if rules.accusation is not None:
        is_low = rules.accusation <= rules.alpha
        p_value = jnp.where(is_low & ~_trusted(rules, num_samples), rules.accusation, p_value)
    return State(
        calibration=None,  # type: ignore[arg-type]
        label=nobody,
        visits=jnp.zeros(num_samples, jnp.int32),
        known=jnp.zeros((num_samples, num_families)),
        evidence=jnp.zeros((num_samples, num_families)),
        held_out_known=jnp.zeros((num_held_out, num_families)),
        held_out_evidence=jnp.zeros((num_held_out, num_families)),
        p_value=p_value,
        suspected=nobody,
        eliminated=p_value <= rules.alpha,
        verdict=nobody,
        start=jnp.int32(-1),
        examinations=jnp.int32(0),
        alarms=jnp.zeros(len(ALARMS), bool),
    )


def accumulate(rules: Rules, state: State, ids, harm, label) -> State:
    """The state with the evidence of one visit added.

    The evidence of sample i in family f is its harm in units of the verification scans of its
    class, `(harm_if - median_f) / spread_f`, and its mean over the visits in which it was finite,
    weighted by what their models knew (`evidence.information`).
    The mean's p-values p_f are combined to `log sum_f share_f / p_f`, whose own p-value is kept.

    Args:
        rules: Of the policy.
        state: Within a cycle.
        ids: [J] int32, N in padding.
        harm: [J, E] float32.
        label: [J] float32, NaN in padding.
    """
    calibration = state.calibration
    label = jnp.where(jnp.isnan(label), 0, label).astype(jnp.int32)
    known, units = evidence.finite(evidence.standardise(calibration, harm, label))
    known = state.known.at[ids].add(calibration.weight * known, mode="drop")
    total = state.evidence.at[ids].add(calibration.weight * units, mode="drop")
    visits = state.visits.at[ids].add(1, mode="drop")
    inside = jnp.minimum(ids, len(total) - 1)
    mean = evidence.averaged(total[inside], known[inside])
    p_value = evidence.p_values(calibration, mean, label)
    if rules.joined:
        own = evidence.p_values(calibration, mean, label, calibrating=True)
        p_value = jnp.where(inside < len(total) - rules.joined, p_value, own)
    return state._replace(
        label=state.label.at[ids].set(label, mode="drop"),
        visits=visits,
        known=known,
        evidence=total,
        p_value=state.p_value.at[ids].set(p_value, mode="drop"),
    )


def suspect(rules: Rules, state: State, leg: types.Stop, harm, label, blank: types.Info):
    """What comes of a leg's evidence: whoever has `p <= alpha` is set aside, untrained.

    Args:
        rules: Of the policy.
        state: Within a cycle.
        leg: [T, B].
        harm: [T, B, E] float32.
        label: [T, B] float32, NaN in padding.
        blank: From `trials.no_trial`.

    Returns:
        The state, the leg without all who are set aside, and rows [T, B] about the new ones.
    """
    ids, num_samples = leg.ids.ravel(), len(state.label)
    state = accumulate(rules, state, ids, harm.reshape(len(ids), -1), label.ravel())
    inside = jnp.minimum(ids, num_samples - 1)
    p_value, fresh = state.p_value[inside], state.suspected[inside] < 0
    is_trusted = _trusted(rules, num_samples)[inside]
    suspicious = (ids < num_samples) & fresh & (p_value <= rules.alpha) & ~is_trusted
    since = state.suspected.at[jnp.where(suspicious, ids, num_samples)]
    state = state._replace(suspected=since.set(leg.cycle[0], mode="drop"))
    waiting = (state.suspected[inside] >= 0).reshape(leg.ids.shape)
    rows = _rows(
        state, ids, suspicious & _training(rules, state)[inside], types.SUSPICION, False, blank
    )
    rows = jax.tree.map(lambda x: x.reshape(*leg.ids.shape, *x.shape[1:]), rows)
    return state, offers.empty(leg, waiting, num_samples), rows


def decide(rules: Rules, state: State, centre, held_out_centre, cycle, blank: types.Info):
    """The state after a cycle, and rows [N] of who was examined, or suspected with the centre.

    Whoever is at a centre that is harmful as a group at level alpha is suspected. Every
    `examine_every` cycles suspects are examined instead.

    Args:
        rules: Of the policy.
        state: After the last stop of the cycle.
        centre: [N] int32.
        held_out_centre: [M] int32.
        cycle: [] int32.
        blank: From `trials.no_trial`.
    """
    num_cycles = cycle - state.start + 1
    shared = _at_harmful_centres(rules, state, centre, held_out_centre, rules.alpha)
    shared &= _left(rules, state) & (state.suspected < 0)
    waiting = state._replace(suspected=jnp.where(shared, cycle, state.suspected))
    examined, alone = examine(rules, state, centre, held_out_centre, cycle)
    after = jax.tree.map(
        lambda then, now: jnp.where(num_cycles % rules.examine_every == 0, then, now),
        examined,
        waiting,
    )
    fresh = (after.suspected >= 0) & (state.suspected < 0)
    gone = after.eliminated & (~state.eliminated | (state.verdict < 0))
    after = after._replace(verdict=jnp.where(gone, cycle, after.verdict).astype(jnp.int32))
    back = (state.suspected >= 0) & (after.suspected < 0) & ~gone
    kind = jnp.where(gone & ~alone, types.CENTRE, types.EXAMINATION)
    kind = jnp.where(fresh, types.SUSPICION, kind)
    everyone = jnp.arange(len(centre), dtype=jnp.int32)
    told = (gone | back | fresh) & _training(rules, state)
    return after, _rows(state, everyone, told, kind, back, blank)


def examine(rules: Rules, state: State, centre, held_out_centre, cycle):
    """The state after the k-th examination, and [N] bool, whom their own p-value convicts.

    A suspect is eliminated at `p <= min(alpha (1 - 2^-k), t)`, where t is the largest p-value that
    Benjamini and Hochberg reject at the false discovery rate `false_share` among all who were ever
    visited, so that a centre convicted beforehand lends nothing to others; and everyone at a
    centre that is harmful as a group at level `alpha 2^-k`. All other suspects return. Nobody is
    eliminated under the first alarm.

    Args:
        rules: Of the policy.
        state: After the last stop of the cycle.
        centre: [N] int32.
        held_out_centre: [M] int32.
        cycle: [] int32.
    """
    spared = 2.0 ** -(state.examinations + 1)
    due = (state.suspected >= 0) & (state.suspected <= cycle - rules.examine_every + 1)
    tested = _judged(rules, state)
    limit = jnp.minimum(
        rules.alpha * (1 - spared),
        conformal.largest_rejected(state.p_value, tested, rules.false_share),
    )
    alone = due & (state.p_value <= limit)
    harmful = _at_harmful_centres(rules, state, centre, held_out_centre, rules.alpha * spared)
    gone = alone | (_left(rules, state) & harmful)
    alarms = state.alarms | alarm(rules, state, gone)
    gone &= ~alarms[MOST]
    after = state._replace(
        suspected=jnp.where(gone | due, -1, state.suspected),
        eliminated=state.eliminated | gone,
        verdict=jnp.where(gone | due, cycle, state.verdict).astype(jnp.int32),
        examinations=state.examinations + 1,
        alarms=alarms,
    )
    return after, alone


def alarm(rules: Rules, state: State, gone):
    """[A] bool, which of `ALARMS` are on now.

    The first where more than half of those examined are unlike the verification scans
    (`p <= UNLIKE`), about to be eliminated, or unknown in a family that their class is known in.
    The second where, in a family that training does not change, the share s of n training samples
    beyond the edge of the tail of m verification scans is `s < TAIL - 3 (TAIL (1 - TAIL) (1/n +
    1/m))^1/2`. The third where a class has no verification scan to measure a family by.

    Args:
        rules: Of the policy.
        state: After the last stop of the cycle.
        gone: [N] bool, who is about to be eliminated.
    """
    calibration, mean, examined = state.calibration, evidence_so_far(state), _left(rules, state)
    tail, known = evidence.p_values_by_family(calibration, mean, state.label), ~jnp.isnan(mean)
    missing = jnp.any(~known & evidence.measurable(calibration.families)[state.label], axis=1)
    unlike = examined & ((state.p_value <= UNLIKE) | gone | missing)
    most = jnp.sum(unlike) > 0.5 * jnp.sum(examined)
    contaminated = jnp.bool_(False)
    for place, name in enumerate(rules.families.names):
        if name in MODEL_FREE:
            among = examined & known[:, place]
            number = jnp.maximum(jnp.sum(among), 1)
            share = jnp.sum(among & (tail[:, place] <= TAIL)) / number
            scans = jnp.maximum(jnp.sum(~jnp.isnan(calibration.held_out[:, place])), 1)
            error = jnp.sqrt(TAIL * (1 - TAIL) * (1 / number + 1 / scans))
            contaminated |= share < TAIL - 3 * error
    return jnp.stack([most, contaminated, calibration.blind])


def evidence_so_far(state: State):
    """Mean evidence [N, E] over the visits in which it was finite; NaN where there was none."""
    return evidence.averaged(state.evidence, state.known)


def _left(rules, state):
    """[N] bool, who is examined."""
    return ~state.eliminated & _judged(rules, state)


def _judged(rules, state):
    """[N] bool, training samples that evidence of their own speaks of, eliminated or not."""
    return (state.visits > 0) & ~_trusted(rules, len(state.visits)) & _training(rules, state)


def _training(rules, state):
    """[N] bool, all but verification scans that joined."""
    num_samples = len(state.visits)
    return jnp.arange(num_samples) < num_samples - rules.joined


def _trusted(rules, num_samples):
    return offers.said(rules.word, offers.KEEP, num_samples)


def _at_harmful_centres(rules, state, centre, held_out_centre, level):
    """[N] bool, whether the sample's centre is harmful as a group."""
    if not rules.centres:
        return jnp.zeros(len(centre), bool)
    calibration, mean = state.calibration, evidence_so_far(state)

    def known(mean, label):
        p_values = evidence.p_values_by_family(calibration, mean, label)
        return jnp.where(jnp.isnan(mean), jnp.nan, p_values)

    training = known(mean, state.label), centre, _left(rules, state)
    held_out = known(calibration.held_out, calibration.held_out_label), held_out_centre
    return centrewise.harmful(training, held_out, level)


def _rows(state, ids, chosen, kind, accepted, blank):
    """Rows [J] for the log about samples `ids` [J], without a trial where not `chosen` [J]."""
    num_samples = len(state.label)

    def row(i, chosen, kind, accepted):
        inside = jnp.minimum(i, num_samples - 1)
        return blank._replace(
            kind=jnp.where(chosen, kind, types.NO_TRIAL).astype(jnp.int32),
            ids=blank.ids.at[0].set(jnp.where(chosen, i, num_samples)),
            confusion=state.calibration.confusion,
            reference=state.calibration.confusion,
            accepted=accepted,
            p_value=jnp.where(chosen, state.p_value[inside], jnp.nan),
        )

    kind, accepted = jnp.broadcast_to(kind, ids.shape), jnp.broadcast_to(accepted, ids.shape)
    return jax.vmap(row)(ids, chosen, kind, accepted)
