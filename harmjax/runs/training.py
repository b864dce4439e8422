"""One run of the main job: warm-up, cycles under quality control, the delivered model, its tables.

A run is three phases of cycles. `warmup` trains under a fixed mask. `control` goes on from there
under the policy. `delivery` starts from the warm-up again and trains on the mask that the policy
ended with.
"""

import functools
import hashlib
import inspect
import pathlib
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import metrics, models, plugins, policies, tables, types, workdirs
from harmjax import task as tasks
from harmjax.data import begun
from harmjax.engine import forward, learner
from harmjax.policies import fixed, suspicion
from harmjax.runs import (
    checkpoints,
    logbook,
    phases,
    preparation,
    recorded,
    same_samples,
    trajectories,
)
from harmjax.runs import course as courses

CHOICES = {
    "warmup_on": ("clean", "as_is"),
    "deliver": ("retrain", "last"),
    "keep_checkpoints": ("last", "all"),
}
FEWEST = {"cycles": 1, "warmup_cycles": 0, "batch_size": 1, "stops_per_call": 1,
          "verification_batch": 1, "minimum_group": 1}  # fmt: skip
FEWEST_SUMMED = 10  # verification scans that a reference for evidence is made of


class Outcome(NamedTuple):
    """What a run ends with."""

    model: types.Model  # delivered
    mask: np.ndarray  # [N] bool or weights, what it was trained on
    verdicts: types.Verdicts
    metrics: dict[str, float]  # see `metrics.names`, of the delivered model on the test split
    cost: dict  # content of cost.json
    verified: dict[str, float]  # as `metrics`, on the verification split


def build_learner(config, classifier: types.Classifier | None = None) -> types.Learner:
    """The learner that a config describes.

    Args:
        config: See `configs/`; `data.classes` says how many classes there are.
        classifier: Takes the place of `config.model`.

    Raises:
        ValueError: Unknown model, or settings that it does not take.
    """
    num_classes = len(begun.named(config.data))
    if classifier is None:
        settings = dict(config.model)
        settings["classes"] = num_classes
        classifier = _built("model", models.get(settings.pop("name")), settings)
    train = config.train
    again = train.restart_schedule
    restart = train.warmup_cycles + again if again >= 0 else None
    schedule = learner.published_schedule(train.learning_rate, train.decay, restart=restart)
    return learner.learner(classifier, schedule, task=tasks.classification(num_classes))


def build_policy(config, study: preparation.Study, **beside) -> types.QualityControl:
    """The quality control that a config describes, with a person's word above it.

    Args:
        config: See `configs/`.
        study: What it decides about.
        beside: What models trained beside say, see `trajectories`.

    Raises:
        ValueError: Unknown policy, settings that it does not take, or a topology that rules it out.
    """
    name = config.policy.name
    if config.train.topology != "travelling" and name not in policies.UNVERIFYING:
        raise ValueError(
            f"policy.name={name!r} decides at every stop, which train.topology="
            f"{config.train.topology!r} does not allow; use 'travelling', or one of "
            f"{policies.UNVERIFYING}"
        )
    factory = policies.get(name)
    offered = {
        "corrupted": study.corrupted,
        "word": study.word,
        "max_batch": config.train.batch_size,
        **beside,
    }
    taken = inspect.signature(factory).parameters
    settings = dict(config.policy.get(name, {}))
    if name == "screen":
        settings = {k: v for k, v in settings.items() if k not in trajectories.SETTINGS}
    settings |= {key: value for key, value in offered.items() if key in taken}
    policy = _built(f"policy.{name}", factory, settings)
    if policy.open is not None:
        _check_references(config, study)
    return policy


def _check_references(config, study: preparation.Study) -> None:
    """Raises ValueError if too few verification scans may be summed to measure evidence against."""
    least = config.train.minimum_group
    fold = np.bincount(study.verification.centre) // 2
    summed = int(fold[fold >= least].sum())
    if summed < FEWEST_SUMMED:
        raise ValueError(
            f"policy.name={config.policy.name!r}: {summed} verification scans in either fold of "
            f"the centres that hold at least 2 x train.minimum_group={least} of them, and "
            f"{FEWEST_SUMMED} are needed; hold out more, or lower train.minimum_group"
        )


def train(
    config, workdir, *, study=None, classifier=None, warmup=None, federation=None, progress=True
) -> Outcome:
    """Runs or resumes one experiment and returns its outcome.

    Args:
        config: See `configs/`.
        workdir: Folder of this run.
        study: Samples that are at hand already; by default prepared from `config.data`.
        classifier: Takes the place of `config.model`.
        warmup: The workdir of another run to take the warm-up checkpoint from, so that several
            policies start from the same model.
        federation: A factory that takes the place of `config.train.federation`, such as
            `loopback.loopback`, with a `preparation.rowless` study.
        progress: Whether to draw progress bars.

    Raises:
        ValueError: Settings or data that cannot work, before training starts; or a workdir that
            another process is writing to.
        FloatingPointError: The loss is not finite; names cycle, centre and stop.
        OSError: A file cannot be written; names it. The run resumes when there is space again.
    """
    with workdirs.held(workdir):
        return _train(
            config, pathlib.Path(workdir), study, classifier, warmup, federation, progress
        )


def _train(config, workdir, study, classifier, warmup, federation, progress) -> Outcome:
    _check_choices(config.train)
    lrn = build_learner(config, classifier)
    recorded.compared(config, workdir)
    if study is None:
        study = preparation.prepare(config, workdir, progress=progress)
    _check_logits(lrn, study)
    trajectories.check(config, study, warmup)
    build_policy(config, study)
    recorded.record(config, workdir, classifier=_digest(classifier, study))
    same_samples.check(workdir, study)
    own = {"federation": federation} if federation else {}
    made = course(config, study, **own)
    evaluate = None
    if federation is not None:
        evaluate = made.federation(lrn, study.train, study.verification, made.key).evaluate
    run = phases.Run(
        config=config,
        workdir=workdir,
        study=study,
        learner=lrn,
        course=made,
        evaluate=evaluate or at_hand(config, lrn, study),
        metrics=logbook.metric_columns(study.classes, exact=evaluate is None),
        progress=progress,
    )
    fresh = _fresh(run)
    watch = trajectories.watch(run, fresh, functools.partial(course, config, **own))
    policy = build_policy(config, watch.run.study, **watch.beside)
    start = _warm_up(watch.run, warmup, fresh, watch.keep)
    travelled = _control(watch.run, policy, start)
    cycles, num_samples = config.train.cycles, len(study.names)
    mask = np.asarray(policy.offer(travelled.state, cycles).weight)[:num_samples]
    model = travelled.model
    if watch.run.is_shadow:
        model = _deliver(run, fresh, mask, range(cycles))
    elif preparation.is_retrained(config):
        model = _deliver(run, start, mask, range(config.train.warmup_cycles, cycles))
    checkpoints.save_model(workdir / "checkpoints", "final", model)
    verdicts = trajectories.of_training(policy.verdicts(travelled.state, cycles), num_samples)
    return _conclude(run, model, mask, verdicts)


def _digest(classifier: types.Classifier | None, study: preparation.Study) -> str:
    """What stands for a classifier's computations; equal for equal ones, '' for none."""
    if classifier is None:
        return ""
    image = jnp.asarray(preparation.one_image(study.train))
    program = jax.make_jaxpr(lambda key: logits(classifier, key, image))(jax.random.key(0))
    return hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(program)).encode()).hexdigest()


def logits(classifier: types.Classifier, key, image):
    """Logits [B, K] of a classifier that has just been made, in training."""
    variables = classifier.init(key, image[:1])
    keys = jax.random.split(key, len(image))
    return classifier.apply(variables, image, jnp.ones(len(image)), keys, True)[0]


def _check_logits(lrn: types.Learner, study: preparation.Study) -> None:
    """Raises ValueError if the classifier tells other classes apart than the study has."""
    image = preparation.one_image(study.train)
    found = jax.eval_shape(lambda: lrn.logits(lrn.init(jax.random.key(0), image), image)).shape
    if found != (1, len(study.classes)):
        raise ValueError(
            f"classifier: logits of shape {found} for one image; data.classes has "
            f"{len(study.classes)}: {', '.join(study.classes)}; give one for each"
        )


def _check_choices(train) -> None:
    """Raises ValueError for a setting of `train` that cannot be meant; names it and its choices."""
    for name, known in CHOICES.items():
        plugins.one_of(f"train.{name}", train[name], known)
    for name, least in FEWEST.items():
        if not train[name] >= least:
            raise ValueError(f"train.{name}={train[name]!r}: expected {least} or more")
    if not 0 < train.learning_rate < float("inf"):
        raise ValueError(f"train.learning_rate={train.learning_rate!r}: expected a number above 0")
    if train.warmup_cycles > train.cycles:
        raise ValueError(
            f"train.warmup_cycles={train.warmup_cycles} of train.cycles={train.cycles}: all cycles "
            "hold the warm-up"
        )


def _built(group, factory, settings):
    try:
        return factory(**settings)
    except TypeError as error:
        raise ValueError(f"config.{group}: {error}; settings: {settings}") from error


def course(config, study: preparation.Study, **changed) -> courses.Course:
    """The course of a run, the same in all its phases and in all its counterfactuals.

    Args:
        config: See `configs/`.
        study: Of the run.
        changed: Options of `course.course` instead of the config's.
    """
    key = jax.random.fold_in(jax.random.key(config.seed), 2)
    return courses.of_config(config.train, study.train.centre, key, **changed)


def at_hand(
    config, lrn: types.Learner, study: preparation.Study
) -> Callable[[types.Model], dict[str, dict]]:
    """A function from a model to its metrics by split and subgroup, exact, of scans at hand."""
    logits = forward.logits(lrn, config.train.verification_batch)
    test = study.test
    if config.train.federation != "stream":
        test = test._replace(image=jnp.asarray(test.image))
    splits = {"verification": study.verification, "test": test}

    def evaluate(model):
        return {
            split: metrics.by_group(
                logits(model, samples.image), samples.label, study.groups[split], study.classes
            )
            for split, samples in splits.items()
        }

    return evaluate


def _fresh(run: phases.Run) -> types.Model:
    """The model before the first cycle."""
    key = jax.random.key(run.config.seed)
    init = jax.jit(run.learner.init)  # only the initialisers are compiled, not a forward pass
    return init(jax.random.fold_in(key, 1), preparation.one_image(run.study.train))


def _warm_up(run: phases.Run, warmup, fresh: types.Model, keep) -> types.Model:
    """The model after the warm-up cycles, from a checkpoint where there is one."""
    train, study = run.config.train, run.study
    if warmup is not None and train.warmup_cycles:
        if not same_samples.same(warmup, run.workdir):
            raise ValueError(
                f"warmup={warmup} is of a run on other samples than {run.workdir}: some of those "
                "held out here may have been trained on there; warm up anew"
            )
        last = checkpoints.name("warmup", train.warmup_cycles - 1)
        return checkpoints.restore_model(pathlib.Path(warmup) / "checkpoints", last, fresh)
    policy = fixed.under_mask(None if keep.all() else keep, word=study.word)
    return phases.run_phase(
        run, "warmup", policy, fresh, range(train.warmup_cycles), "metrics.csv"
    ).model


def _control(run: phases.Run, policy, start: types.Model) -> types.Travel:
    train = run.config.train
    cycles = range(train.warmup_cycles, train.cycles)
    return phases.run_phase(run, "control", policy, start, cycles, "metrics.csv")


def _deliver(run: phases.Run, start: types.Model, mask, cycles: range) -> types.Model:
    policy = fixed.under_mask(mask)
    folder = run.workdir / "checkpoints"
    for cycle in checkpoints.cycles(folder, "delivery")[-1:]:
        like = types.Travel(start, jnp.asarray(mask))
        begun = checkpoints.restore(folder, checkpoints.name("delivery", cycle), like).state
        if not np.array_equal(begun, mask):  # more people were dropped since
            checkpoints.discard(folder, "final")  # no model that knows them is delivered meanwhile
            checkpoints.prune(folder, "delivery", keep=-1)
    return phases.run_phase(run, "delivery", policy, start, cycles, "delivered.csv").model


def _conclude(run: phases.Run, model, mask, verdicts) -> Outcome:
    study, workdir = run.study, run.workdir
    verdicts, found = jax.device_get(verdicts), run.evaluate(model)
    tested, verified = (found[split]["all"] for split in ("test", "verification"))
    tables.write(
        workdir / "confusion.csv",
        logbook.confusion_columns(study.classes),
        logbook.confusion_rows(tested, study.classes),
    )
    logbook.write_harm(workdir / "harm.csv", logbook.harm_rows(study, verdicts, mask))
    cost = logbook.summarise_cost(logbook.read_cost(workdir / "cost.json"))
    return Outcome(model, mask, verdicts, tested.measured, cost, verified.measured)


def alarms(verdicts: types.Verdicts) -> list[str]:
    """The texts of all alarms that are on."""
    if verdicts.alarms is None:
        return []
    return [text for text, on in zip(suspicion.ALARMS, verdicts.alarms, strict=True) if on]


def summary(study: preparation.Study, outcome: Outcome) -> str:
    """What a run found and what its model does on the test scans, as text."""
    pending, gone = outcome.verdicts.pending, outcome.verdicts.eliminated
    found = outcome.metrics
    lines = [f"WARNING: {alarm}" for alarm in alarms(outcome.verdicts)]
    left = set(np.asarray(study.train.label)[np.asarray(outcome.mask) > 0].tolist())
    lost = [name for k, name in enumerate(study.classes) if k not in left]
    if lost and -1 not in left:
        which = "one class" if len(study.classes) == 2 else " and ".join(lost)
        lines.append(
            f"WARNING: of {which} no training sample is left, and the delivered model knows "
            "nothing of it; look at what was eliminated"
        )
    lines += [
        f"eliminated {gone.sum()} of {len(gone)} training samples, {pending.sum()} pending",
        f"delivered model on {found['n']} test scans: AUROC {found['auroc']:.3f}, "
        f"{_error_rates(found, study.classes)}, loss {found['loss']:.3f} nats",
    ]
    if study.simulated:
        hits = int((gone & study.corrupted).sum())
        lines.insert(
            -1,
            f"of {int(study.corrupted.sum())} planted harmful samples {hits} were eliminated, "
            f"and {int((gone & ~study.corrupted).sum())} good ones",
        )
    return "\n".join(lines)


def _error_rates(found, classes) -> str:
    if len(classes) == 2:
        return f"false-positive rate {found['fpr']:.3f}, false-negative rate {found['fnr']:.3f}"
    each = (f"{name} {1 - found[f'sensitivity_{name}']:.3f}" for name in classes)
    return f"error rates: {', '.join(each)}"
