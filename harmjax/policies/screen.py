"""Quality control by cheap evidence: every sample is scored at every visit, tested, eliminated."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from harmjax import offers, types
from harmjax.engine import trials
from harmjax.engine.apart import apart
from harmjax.policies import centrewise, evidence

FAMILIES = ("margin", "appearance")
MODEL_FREE = ("appearance",)  # evidence that training on a sample does not change
TAIL = 0.1  # of the verification scans; as many training samples should lie beyond its edge
MOST, CONTAMINATED, BLIND = range(len(types.ALARMS))


class State(NamedTuple):
    """What the server remembers between stops; E families of evidence, summed over cycles."""

    calibration: evidence.Calibration | None  # None between cycles
    label: types.Array  # [N] int32, -1 before the first visit
    visits: types.Array  # [N] int32
    known: types.Array  # [N, E] int32, visits with finite evidence
    evidence: types.Array  # [N, E] float32, robust standard deviations, summed over these
    held_out_known: types.Array  # [M, E] int32
    held_out_evidence: types.Array  # [M, E] float32
    p_value: types.Array  # [N] float32, of all evidence so far, 1 before the first visit
    suspected: types.Array  # [N] int32, cycle of the suspicion, -1 where none is open
    eliminated: types.Array  # [N] bool
    verdict: types.Array  # [N] int32, cycle of the last verdict, -1 before
    start: types.Array  # [] int32, first cycle under control, -1 before
    examinations: types.Array  # [] int32, so far
    alarms: types.Array  # [A] bool, which of types.ALARMS were ever on


def screen(
    *,
    alpha: float = 0.01,
    families: Sequence[str] = FAMILIES,
    shares: Sequence[float] = (),
    settings: Mapping | None = None,
    false_share: float = 0.5,
    examine_every: int = 2,
    centres: bool = True,
    word=None,
    max_batch: int = 5,
) -> types.QualityControl:
    """A policy that eliminates what verification scans of the same class never look like.

    As a cycle begins, the model is evaluated on the verification scans. Every family of evidence is
    a harm scorer. Each centre's scans are cut into two folds, and every scan, of verification and
    of training alike, is measured against the reference made of the fold that it is not in
    (cross-fitting). At a stop the samples are scored with that same model, before anything is
    learned. Evidence is standardised by the verification scans of the class and averaged over
    cycles. The p-values p_f of the families are combined to `log sum_f share_f / p_f`, which a
    single family can decide, and that score gets a conformal p-value.

    A sample with p <= `alpha` is set aside at once and not trained on, but scored on. Every
    `examine_every` cycles suspects are examined with all evidence until then: the k-th examination
    eliminates at p <= alpha (1 - 2^-k), whatever the class. A good sample whose evidence stays the
    same is eliminated with a probability of at most `alpha`; the means over all cycles so far move
    little, and `benchmarks/alpha` measures what that costs. Nor may more than `false_share` of all
    that is eliminated be expected to be good (Benjamini-Hochberg), which spares clean cohorts. A
    suspect that is not eliminated at its examination returns. Centres are tested as groups after
    every cycle (see `centrewise`): all samples of a harmful centre are set aside, and eliminated
    at the k-th examination at the level alpha / 2^k.

    If most samples look harmful, alone or as centres, if the verification scans look worse than the
    training samples, or if a family of evidence cannot be had, the policy says so
    (`types.ALARMS`). Each of these is checked by itself, and stays on until the run ends. Once the
    first is, nothing more is eliminated.

    Evidence that is not finite is not known: it is left out of its family's mean, and the other
    visits count. Never known in a family, a sample has the p-value 1 there. It is neither
    suspected nor eliminated for what is not known of it; but it counts as harmful where most
    samples must not be, since evidence that is missing may not release that brake. A family that no
    verification scan of a class has finite evidence in, in this cycle, is an alarm even if it was
    known before; what was found until then counts on.

    Args:
        alpha: Expected fraction of good training samples that are eliminated, at most.
        families: Names of scorers with `measure`.
        shares: Of the level, one per family and above 0, in any unit; () for equal ones. A family
            whose harms are gross finds them at a small share and leaves the rest to the others.
        settings: Name of a scorer -> its settings, where they are not the defaults.
        false_share: Fraction.
        examine_every: Cycles.
        centres: Whether centres are tested as groups.
        word: [N] int8, a person's, see `offers`; who is kept is never set aside.
        max_batch: Largest number of samples of one stop.

    Raises:
        ValueError: An unknown or unfit family, or numbers out of range.

    References:
        Wilson, The harmonic mean p-value for combining dependent tests, PNAS 116(4), 2019, doi
        10.1073/pnas.1814092116 (the combined score is minus its logarithm).
        Bates et al., Testing for outliers with conformal p-values, Annals of Statistics 51(1),
        2023, arXiv 2104.08279.
        Benjamini & Hochberg, Controlling the false discovery rate, Journal of the Royal Statistical
        Society B 57, 1995.

    Example:
        >>> state = screen().init(3, 10 * jnp.eye(2, dtype=int))
        >>> screen().offer(state, 0).met.tolist(), state.evidence.shape
        ([True, True, True], (3, 2))
    """
    asked = evidence.families(families, shares, settings)
    if not 0 < alpha < 1 or not 0 < false_share <= 1 or examine_every < 1:
        raise ValueError(
            f"screen: alpha={alpha} and false_share={false_share} must be fractions above 0, "
            f"examine_every={examine_every} at least 1"
        )

    def init(num_samples, baseline):
        num_held_out = int(jnp.sum(baseline))
        nobody = jnp.full(num_samples, -1, jnp.int32)
        return State(
            calibration=None,
            label=nobody,
            visits=jnp.zeros(num_samples, jnp.int32),
            known=jnp.zeros((num_samples, len(asked.names)), jnp.int32),
            evidence=jnp.zeros((num_samples, len(asked.names))),
            held_out_known=jnp.zeros((num_held_out, len(asked.names)), jnp.int32),
            held_out_evidence=jnp.zeros((num_held_out, len(asked.names))),
            p_value=jnp.ones(num_samples),
            suspected=nobody,
            eliminated=jnp.zeros(num_samples, bool),
            verdict=nobody,
            start=jnp.int32(-1),
            examinations=jnp.int32(0),
            alarms=jnp.zeros(len(types.ALARMS), bool),
        )

    def offer(state, cycle):
        """Suspects are left out of training, yet met at their stops."""
        del cycle
        left_in = ~state.eliminated
        return offers.offer(left_in & (state.suspected < 0), left_in, word)

    def trusted(num_samples):
        return offers.said(word, offers.KEEP, num_samples)

    def open_(fed, travel, cycle):
        state = travel.state
        calibration, total, known = evidence.calibrate(
            asked, fed, travel.model, cycle, state.held_out_evidence, state.held_out_known
        )
        state = state._replace(
            calibration=calibration,
            held_out_known=known,
            held_out_evidence=total,
            start=jnp.where(state.start < 0, cycle, state.start).astype(jnp.int32),
            alarms=state.alarms.at[BLIND].max(calibration.blind),
        )
        return travel._replace(state=state)

    def visit(fed, travel, leg):
        """A leg is scored as a whole by the model of the cycle's start, and then learned."""
        num_samples, calibration = len(fed.centre), travel.state.calibration

        def ask(_):
            return fed.at(asked.measure, calibration.model, leg, calibration.reference)

        def spare(_):
            shape = leg.ids.shape
            return {"harm": jnp.zeros((*shape, len(asked.names))), "label": jnp.zeros(shape)}

        found = fed.cond(jnp.any(leg.ids < num_samples), ask, spare, 0)
        nothing = trials.no_trial(fed, max_batch)
        harm, label = found["harm"], found["label"]
        state, learned, rows = suspect(travel.state, leg, harm, label, nothing)
        model, loss = learn(fed, travel.model, learned)
        info = trials.unverified(fed, learned.ids, loss, max_batch)
        return types.Travel(model, state), trials.join(info, rows, axis=1)

    @apart
    def suspect(state, leg, harm, label, nothing):
        """The state with a leg's evidence, the leg without suspects, and rows [T, B] of them."""
        ids, num_samples = leg.ids.ravel(), len(state.label)
        state = score(state, ids, harm.reshape(len(ids), -1), label.ravel())
        inside = jnp.minimum(ids, num_samples - 1)
        p_value, fresh = state.p_value[inside], state.suspected[inside] < 0
        is_trusted = trusted(num_samples)[inside]
        suspicious = (ids < num_samples) & fresh & (p_value <= alpha) & ~is_trusted
        since = state.suspected.at[jnp.where(suspicious, ids, num_samples)]
        state = state._replace(suspected=since.set(leg.cycle[0], mode="drop"))
        waiting = (state.suspected[inside] >= 0).reshape(leg.ids.shape)
        rows = judged(state, ids, suspicious, types.SUSPICION, False, nothing)
        rows = jax.tree.map(lambda x: x.reshape(*leg.ids.shape, *x.shape[1:]), rows)
        return state, offers.empty(leg, waiting, num_samples), rows

    def learn(fed, model, leg):
        def train(model):
            return fed.learn(model, leg)

        def rest(model):
            return model, jnp.zeros(len(leg.cycle))

        return fed.cond(jnp.any(leg.ids < len(fed.centre)), train, rest, model)

    def score(state, ids, harm, label):
        """The state with the evidence about samples [J] added."""
        calibration = state.calibration
        label = jnp.where(jnp.isnan(label), 0, label).astype(jnp.int32)
        known, units = evidence.finite(evidence.standardise(calibration, harm, label))
        known = state.known.at[ids].add(known, mode="drop")
        total = state.evidence.at[ids].add(units, mode="drop")
        visits = state.visits.at[ids].add(1, mode="drop")
        inside = jnp.minimum(ids, len(total) - 1)
        mean = evidence.averaged(total[inside], known[inside], visits[inside][:, None])
        p_value = evidence.p_values(asked, calibration, mean, label)
        return state._replace(
            label=state.label.at[ids].set(label, mode="drop"),
            visits=visits,
            known=known,
            evidence=total,
            p_value=state.p_value.at[ids].set(p_value, mode="drop"),
        )

    def judged(state, ids, chosen, kind, accepted, nothing):
        """Rows [J] of the info, one per sample."""
        num_samples = len(state.label)

        def row(i, chosen, kind, accepted):
            inside = jnp.minimum(i, num_samples - 1)
            return nothing._replace(
                kind=jnp.where(chosen, kind, types.NO_TRIAL).astype(jnp.int32),
                ids=nothing.ids.at[0].set(jnp.where(chosen, i, num_samples)),
                confusion=state.calibration.confusion,
                reference=state.calibration.confusion,
                accepted=accepted,
                p_value=jnp.where(chosen, state.p_value[inside], jnp.nan),
            )

        shape = ids.shape
        return jax.vmap(row)(
            ids, chosen, jnp.broadcast_to(kind, shape), jnp.broadcast_to(accepted, shape)
        )

    def close(fed, travel, cycle):
        state = travel.state
        nothing = trials.no_trial(fed, max_batch)
        after, rows = closed(state, fed.centre, fed.held_out_centre, cycle, nothing)
        return travel._replace(state=after._replace(calibration=None)), rows

    @apart
    def closed(state, centre, held_out_centre, cycle, nothing):
        """The state after a cycle, and rows [N] of who was judged or suspected with the centre."""
        num_cycles = cycle - state.start + 1
        shared = harmful_centres(state, centre, held_out_centre, alpha)
        shared &= left(state) & (state.suspected < 0)
        waiting = state._replace(suspected=jnp.where(shared, cycle, state.suspected))
        examined, alone = examine(state, centre, held_out_centre, cycle)
        after = jax.tree.map(
            lambda then, now: jnp.where(num_cycles % examine_every == 0, then, now),
            examined,
            waiting,
        )
        fresh = (after.suspected >= 0) & (state.suspected < 0)
        gone = after.eliminated & ~state.eliminated
        back = (state.suspected >= 0) & (after.suspected < 0) & ~gone
        kind = jnp.where(gone & ~alone, types.CENTRE, types.EXAMINATION)
        kind = jnp.where(fresh, types.SUSPICION, kind)
        everyone = jnp.arange(len(centre), dtype=jnp.int32)
        return after, judged(state, everyone, gone | back | fresh, kind, back, nothing)

    def left(state):
        """[N] bool, who is examined."""
        return ~state.eliminated & (state.visits > 0) & ~trusted(len(state.visits))

    def evidence_so_far(state):
        return evidence.averaged(state.evidence, state.known, state.visits[:, None])

    def harmful_centres(state, centre, held_out_centre, level):
        """[N] bool, whether the sample's centre is harmful as a group."""
        calibration, mean = state.calibration, evidence_so_far(state)
        if not centres:
            return jnp.zeros(len(centre), bool)

        def known_tails(mean, label):
            return jnp.where(
                jnp.isnan(mean), jnp.nan, evidence.p_values_by_family(calibration, mean, label)
            )

        training = known_tails(mean, state.label), centre, left(state)
        held_out = known_tails(calibration.held_out, calibration.held_out_label), held_out_centre
        return centrewise.harmful(training, held_out, level)

    def examine(state, centre, held_out_centre, cycle):
        """The state after an examination, and [N] bool, whom its own p-value convicts."""
        spared = 2.0 ** -(state.examinations + 1)
        due = (state.suspected >= 0) & (state.suspected <= cycle - examine_every + 1)
        tested = left(state) | state.eliminated
        limit = jnp.minimum(
            alpha * (1 - spared), largest_rejected(state.p_value, tested, false_share)
        )
        alone = due & (state.p_value <= limit)
        harmful = harmful_centres(state, centre, held_out_centre, alpha * spared)
        gone = alone | (left(state) & harmful)
        alarms = state.alarms | alarmed(state, gone)
        gone &= ~alarms[MOST]
        after = state._replace(
            suspected=jnp.where(gone | due, -1, state.suspected),
            eliminated=state.eliminated | gone,
            verdict=jnp.where(gone | due, cycle, state.verdict).astype(jnp.int32),
            examinations=state.examinations + 1,
            alarms=alarms,
        )
        return after, alone

    def alarmed(state, gone):
        """[A] bool, which alarms are on now, when `gone` [N] are about to be eliminated."""
        calibration, mean, examined = state.calibration, evidence_so_far(state), left(state)
        tail, known = evidence.p_values_by_family(calibration, mean, state.label), ~jnp.isnan(mean)
        missing = jnp.any(~known & evidence.measurable(calibration.families)[state.label], axis=1)
        unlike = examined & ((state.p_value <= 0.05) | gone | missing)
        most = jnp.sum(unlike) > 0.5 * jnp.sum(examined)
        contaminated = jnp.bool_(False)
        for place, name in enumerate(asked.names):
            if name in MODEL_FREE:
                among, of_held_out = (
                    examined & known[:, place],
                    ~jnp.isnan(calibration.held_out[:, place]),
                )
                number = jnp.maximum(jnp.sum(among), 1)
                share = jnp.sum(among & (tail[:, place] <= TAIL)) / number
                scans = jnp.maximum(jnp.sum(of_held_out), 1)
                error = jnp.sqrt(TAIL * (1 - TAIL) * (1 / number + 1 / scans))
                contaminated |= share < TAIL - 3 * error
        return jnp.stack([most, contaminated, calibration.blind])

    def verdicts(state, cycle):
        del cycle
        each = evidence_so_far(state)
        p_value = jnp.where(jnp.any(state.known > 0, axis=1), state.p_value, jnp.nan)
        found = types.Verdicts(
            harm=jnp.log(alpha / jnp.maximum(p_value, 1e-30)),
            pending=(state.suspected >= 0) & ~state.eliminated,
            eliminated=state.eliminated,
            cycle=state.verdict,
            p_value=p_value,
            evidence={name: each[:, place] for place, name in enumerate(asked.names)},
            alarms=state.alarms,
        )
        return offers.told(found, word)

    return types.QualityControl(init, offer, visit, close, verdicts, open_)


def largest_rejected(p_value, used, rate):
    """The largest p-value that Benjamini and Hochberg reject at a false discovery rate, or -1.

    NaN counts among those tested and is never rejected.
    """
    ordered = jnp.sort(jnp.where(used, p_value, jnp.inf))
    place = jnp.arange(1, len(ordered) + 1)
    passed = ordered <= rate * place / jnp.maximum(jnp.sum(used), 1)
    return jnp.max(jnp.where(passed, ordered, -1.0))
