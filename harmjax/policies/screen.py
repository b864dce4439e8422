"""Quality control by cheap evidence: every sample is scored at every visit, tested, eliminated."""

import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from harmjax import offers, types
from harmjax.engine import trials
from harmjax.engine.apart import apart
from harmjax.policies import evidence, suspicion

FAMILIES = ("margin", "appearance")


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
    joined: int = 0,
    accusation=None,
) -> types.QualityControl:
    """A policy that eliminates what verification scans of the same class never look like.

    As a cycle begins, the model is evaluated on the verification scans, which calibrates every
    family of evidence, a harm scorer each (`evidence.calibrate`). Each centre's scans are cut into
    two folds, and every scan, of verification and of training alike, is measured against the
    reference made of the fold that it is not in (cross-fitting). At a stop the samples are scored
    with that same model, before anything is learned, and a sample with p <= `alpha` is set aside at
    once: not trained on, but scored on (`suspicion.accumulate`, `suspicion.suspect`). A single
    family can decide.

    Every `examine_every` cycles suspects are examined with all evidence until then, whatever the
    class (`suspicion.examine`). A good sample whose evidence stays the same is eliminated with a
    probability of at most `alpha`, without folds and shadow; the means over all cycles so far move
    little, and `benchmarks/alpha` measures what that costs. Nor may more than `false_share` of all
    that is eliminated be expected to be good, which spares clean cohorts. A suspect that is not
    eliminated at its examination returns. Centres are tested as groups after every cycle
    (`centrewise`): all samples of a harmful centre are set aside, and at an examination, at its own
    level, eliminated or let back.

    If most samples look harmful, alone or as centres, if the verification scans look worse than the
    training samples, or if a family of evidence cannot be had, the policy says so
    (`suspicion.alarm`). Each of these is checked by itself, and stays on until the run ends. Once
    the first is, nothing more is eliminated.

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
        joined: How many samples, the last ones, are the verification scans themselves, which train
            the model too; good training samples and they are then exchangeable, see
            `runs/trajectories`.
        accusation: [N] float32, p-values of the samples' centres, see `witness.accusation`; those
            up to `alpha` are eliminated without being met.

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
    rules = suspicion.Rules(
        asked, alpha, false_share, examine_every, centres, word, joined, accusation
    )
    suspect = apart(functools.partial(suspicion.suspect, rules))
    decide = apart(functools.partial(suspicion.decide, rules))

    def init(num_samples, baseline):
        return suspicion.unsuspecting(rules, num_samples, int(jnp.sum(baseline)))

    def offer(state, cycle):
        """Suspects are left out of training, yet met at their stops."""
        del cycle
        left_in = ~state.eliminated
        return offers.offer(left_in & (state.suspected < 0), left_in, word)

    def open_(fed: types.Federation, travel: types.Travel, cycle):
        state = travel.state
        start = jnp.where(state.start < 0, cycle, state.start).astype(jnp.int32)
        made, total, known = evidence.calibrate(
            asked, fed, travel.model, cycle, start, state.held_out_evidence, state.held_out_known
        )
        state = state._replace(
            calibration=made,
            held_out_known=known,
            held_out_evidence=total,
            start=start,
            alarms=state.alarms.at[suspicion.BLIND].max(made.blind),
        )
        return travel._replace(state=state)

    def visit(fed: types.Federation, travel: types.Travel, leg: types.Stop):
        """A leg is scored as a whole by the model of the cycle's start, and then learned."""
        found = measured(asked, fed, travel.state.calibration, leg)
        blank = trials.no_trial(fed, max_batch)
        state, learned, rows = suspect(travel.state, leg, found["harm"], found["label"], blank)
        model, loss = learn(fed, travel.model, learned)
        info = trials.unverified(fed, learned.ids, loss, max_batch)
        return types.Travel(model, state), trials.join(info, rows, axis=1)

    def close(fed: types.Federation, travel: types.Travel, cycle):
        blank = trials.no_trial(fed, max_batch)
        after, rows = decide(travel.state, fed.centre, fed.held_out_centre, cycle, blank)
        return travel._replace(state=after._replace(calibration=None)), rows

    def verdicts(state, cycle):
        del cycle
        each = suspicion.evidence_so_far(state)
        judged = jnp.any(state.known > 0, axis=1) | state.eliminated
        p_value = jnp.where(judged, state.p_value, jnp.nan)
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


def measured(
    asked: evidence.Families,
    fed: types.Federation,
    calibration: evidence.Calibration,
    leg: types.Stop,
):
    """Harm [T, B, E] and label [T, B] of a leg's samples; an empty leg is not asked."""

    def ask(_):
        return fed.at(asked.measure, calibration.model, leg, calibration.reference)

    def spare(_):
        shape = leg.ids.shape
        return {"harm": jnp.zeros((*shape, len(asked.names))), "label": jnp.zeros(shape)}

    return fed.cond(jnp.any(leg.ids < len(fed.centre)), ask, spare, 0)


def learn(fed: types.Federation, model: types.Model, leg: types.Stop):
    """The model after a leg, and its loss [T]; an empty leg is not learned."""

    def train(model):
        return fed.learn(model, leg)

    def rest(model):
        return model, jnp.zeros(len(leg.cycle))

    return fed.cond(jnp.any(leg.ids < len(fed.centre)), train, rest, model)
