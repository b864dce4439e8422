"""Models trained beside the delivered one, for evidence that it could not give.

Folds: each group of centres is judged by a model that has not seen it, before the warm-up. A centre
that was wrong from the start is convicted by its own verification scans, and leaves all masks. Then
models that have not met it either are asked once more. They are trained for as long as the warm-up,
and on while they know too little of the labels.

Shadow: a model that trains on the verification scans too. Training scans are fitted and
verification scans are not, so that these look worse than good training scans do, and little of
`alpha` is spent. Where both are trained on, at stops drawn alike and set aside by the same rule, a
good training scan and the verification scans of its class are exchangeable over the split, and the
conformal p-value holds its level, marginally over splits. The shadow is neither delivered nor used
for metrics.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import offers, types
from harmjax.federations import permitted
from harmjax.policies import evidence, witness
from harmjax.runs import checkpoints, phases, preparation
from harmjax.runs import course as courses

SETTINGS = ("shadow", "folds")  # of `policy.screen`, that the policy itself does not take
ENOUGH = 2.0  # information of all cycles, see `evidence.information`, that convicts a centre
LITTLE = 0.5  # information that does not


class Watch(NamedTuple):
    """The run that quality control looks at, and what other models said before it began."""

    run: phases.Run  # of the shadow, or the run itself
    keep: np.ndarray  # [N] bool, or [N + M], whom the warm-up trains on
    beside: dict  # arguments of the policy


def has_shadow(config) -> bool:
    """Whether the policy looks at a shadow."""
    return config.policy.name == "screen" and bool(config.policy.screen.shadow)


def folds(config) -> int:
    """Into how many groups the policy folds the centres; 0 for none."""
    return int(config.policy.screen.folds) if config.policy.name == "screen" else 0


def check(config, study: preparation.Study, warmup=None) -> None:
    """Raises ValueError where models beside the delivered one cannot be had."""
    number = folds(config)
    if not number and not has_shadow(config):
        return
    if number < 0 or number == 1:
        raise ValueError(
            f"policy.screen.folds={number}: expected 0, or groups of centres from 2 on"
        )
    if number and len(np.unique(study.train.centre)) < 2:
        raise ValueError(f"policy.screen.folds={number}: all training samples are at one centre")
    if number and not config.train.warmup_cycles:
        raise ValueError("policy.screen.folds needs train.warmup_cycles, to train as long at least")
    if has_shadow(config) and config.train.deliver != "retrain":
        raise ValueError(
            f"train.deliver={config.train.deliver!r} would deliver the shadow, which has trained "
            "on the verification scans; set it to 'retrain', or policy.screen.shadow=False"
        )
    if has_shadow(config) and not isinstance(study.train.image, np.ndarray | jax.Array):
        raise ValueError("policy.screen.shadow needs the scans at hand; set it to False")
    if has_shadow(config) and config.train.federation == "stream":
        raise ValueError(
            "policy.screen.shadow puts all scans into one array, which train.federation='stream' "
            "is there to avoid; set one of them otherwise"
        )
    if warmup is not None:
        raise ValueError(
            "policy.screen.folds and policy.screen.shadow warm up their own way: "
            f"warmup={warmup} cannot be shared"
        )


def watch(run: phases.Run, fresh: types.Model, course: Callable[..., courses.Course]) -> Watch:
    """What quality control looks at, after the folds were asked.

    Args:
        run: What the phases share.
        fresh: The model before the first cycle.
        course: From a study to its course; takes `fold`.
    """
    config, study = run.config, run.study
    is_clean = config.train.warmup_on == "clean"
    keep = ~study.corrupted if is_clean else np.ones(len(study.names), bool)
    beside: dict = {}
    if folds(config):
        found = accusation(run, fresh, keep)
        keep = keep & (found > config.policy.screen.alpha)
        beside["accusation"] = found
    if has_shadow(config):
        joined = len(study.verification.label)
        both = shadow_study(study)
        run = run._replace(study=both, course=course(both, fold=shadow_fold(study)), is_shadow=True)
        keep = np.append(keep, np.ones(joined, bool))
        beside["joined"] = joined
        if "accusation" in beside:
            beside["accusation"] = np.append(beside["accusation"], np.ones(joined, np.float32))
    return Watch(run, keep, beside)


def of_training(verdicts: types.Verdicts, num_samples: int) -> types.Verdicts:
    """The verdicts on the first samples, those that are not for verification."""
    alarms = verdicts.alarms
    return jax.tree.map(lambda x: x[:num_samples], verdicts._replace(alarms=None))._replace(
        alarms=alarms
    )


def shadow_study(study: preparation.Study) -> preparation.Study:
    """The study with its verification scans among the training samples too, as the last ones.

    Those whom a person drops stay dropped.
    """
    own = study.verification
    number = len(own.label)
    word = np.full(number, offers.OPEN, study.word.dtype)
    if study.held_out_word is not None:
        word[study.held_out_word == offers.DROP] = offers.DROP
    train = types.Samples(*map(_end_to_end, study.train, own))
    return study._replace(
        train=train,
        names=(*study.names, *(f"verification scan {i}" for i in range(number))),
        corrupted=np.append(study.corrupted, np.zeros(number, bool)),
        kind=(*study.kind, *[""] * number),
        word=np.append(study.word, word),
    )


def _end_to_end(one, two):
    return np.concatenate([np.asarray(one), np.asarray(two)])


def shadow_fold(study: preparation.Study) -> np.ndarray:
    """[N + M] int, the fold of every sample of the joined study."""
    num_samples = len(study.train.label)
    return np.append(np.arange(num_samples) % 2, permitted.folds(study.verification.centre))


def groups(centre, number: int, num_centres: int) -> np.ndarray:
    """[C] int, which of `number` groups each centre is in, balanced by samples.

    From the largest centre to the smallest, each goes to the group that is smallest so far.

    Args:
        centre: [N] int, of the training samples.
        number: Of groups.
        num_centres: C.

    Example:
        >>> groups([0] * 5 + [1] * 3 + [2] * 3 + [3], 2, 4).tolist()
        [0, 1, 1, 0]
    """
    size = np.bincount(np.asarray(centre), minlength=num_centres)
    found, total = np.zeros(len(size), int), np.zeros(number, int)
    for one in np.argsort(-size, kind="stable"):
        found[one] = np.argmin(total)
        total[found[one]] += size[one]
    return found


def witnesses(config, study: preparation.Study, keep, met) -> list[types.QualityControl]:
    """The policies of the folds, one a group of centres; whom a person drops, none of them meets.

    Args:
        config: Of the run.
        study: Of the run.
        keep: [N] bool, whom the warm-up trains on.
        met: [N] bool, who is trained on and judged at all.
    """
    screen, centre = config.policy.screen, np.asarray(study.train.centre)
    asked = evidence.families(screen.families, screen.shares, dict(screen.settings))
    group, size = _groups(config, study), config.train.batch_size
    met = met & ~study.drop
    own = [group[centre] == one for one in range(group.max() + 1)]
    return [
        witness.watching(keep & met & ~judged, met & judged, asked, max_batch=size)
        for judged in own
    ]


def _groups(config, study) -> np.ndarray:
    number = min(folds(config), len(np.unique(study.train.centre)))
    return groups(study.train.centre, number, len(study.centres))


def accusation(run: phases.Run, start: types.Model, keep) -> np.ndarray:
    """[N] float32, family-wise p-values of the samples' centres by folds over centres.

    A second round leaves out whom the first one convicts; all p-values are doubled for it.

    Args:
        run: What the phases share.
        start: The model to start from.
        keep: [N] bool, whom the warm-up trains on.
    """
    alpha = run.config.policy.screen.alpha
    first = _round(run, start, keep, np.ones(len(keep), bool), "fold")
    convicted = 2 * first <= alpha
    if not convicted.any():
        return np.minimum(2 * first, 1)
    second = _round(run, start, keep, ~convicted, "refold")
    return np.minimum(2 * np.where(convicted, first, second), 1)


def _round(run, start, keep, met, phase) -> np.ndarray:
    """[N] float32, p-values of the centres of those who are met; 1 for others."""
    config, study = run.config, run.study
    states = [
        _watched(run, start, policy, f"{phase}{one}")
        for one, policy in enumerate(witnesses(config, study, keep, met))
    ]
    _tell_ignorance(states)
    found = witness.accusation(
        states,
        jnp.asarray(_groups(config, study)),
        jnp.asarray(study.train.centre),
        jnp.asarray(study.verification.centre),
        num_classes=len(study.classes),
    )
    return np.asarray(found)


def _watched(run, start, policy, phase) -> witness.State:
    """What a model of the folds saw, in as many cycles as it takes to know enough."""
    warm, cycles = run.config.train.warmup_cycles, run.config.train.cycles
    reached = max(checkpoints.cycles(run.workdir / "checkpoints", phase), default=-1) + 1
    for last in (*range(warm, cycles, max(warm // 2, 1)), cycles):
        if last >= reached:
            state = phases.run_phase(run, phase, policy, start, range(last), None).state
            if _information(state) >= ENOUGH:
                break
    return state


def _information(state) -> float:
    """What a model knew of labels held out, over all cycles, in the family that tells least."""
    return float(jnp.min(jnp.max(state.seen.held_out_known, axis=0)))


def _tell_ignorance(states) -> None:
    """Warns where a model of the folds has hardly learned by its last cycle."""
    least = min(map(_information, states))
    if least < LITTLE:
        warnings.warn(
            f"policy.screen.folds: a model knows little of the labels of other centres by its last "
            f"cycle (information {least:.2f}), so that centres of wrong labels may stay; raise "
            "train.cycles, or look at the learning rate",
            stacklevel=2,
        )
