"""One run of the main job: warm-up, cycles under quality control, the delivered model, its tables.

A run is three phases of cycles. `warmup` trains under a fixed mask. `control` goes on from there
under the policy. `delivery` starts from the warm-up again and trains on the mask that the policy
ended with. After every cycle first the tables and then a checkpoint are written, so that a killed
run goes on after its last complete cycle.
"""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from harmjax import (
    checkpoints,
    learner,
    logbook,
    metrics,
    models,
    policies,
    preparation,
    programs,
    tables,
    types,
)
from harmjax.policies import fixed

UNVERIFYING = ("none", "oracle")


class Run(NamedTuple):
    """What the phases of one run share."""

    config: object
    workdir: pathlib.Path
    study: preparation.Study
    learner: types.Learner
    logits: Callable  # (Model, images) -> [M] float32
    progress: bool


class Outcome(NamedTuple):
    """What a run ends with."""

    model: types.Model  # delivered
    mask: np.ndarray  # [N] bool, what it was trained on
    verdicts: types.Verdicts
    metrics: metrics.Metrics  # of the delivered model on the test split
    cost: dict  # content of cost.json


def build_learner(config) -> types.Learner:
    """The learner that a config describes.

    Raises:
        ValueError: Unknown model, or settings that it does not take.
    """
    settings = dict(config.model)
    classifier = _built("model", models.get(settings.pop("name")), settings)
    train = config.train
    restart = train.warmup_cycles + 1 if train.restart_schedule else None
    schedule = learner.published_schedule(train.learning_rate, train.decay, restart=restart)
    return learner.learner(classifier, schedule)


def build_policy(config, study: preparation.Study) -> types.QualityControl:
    """The quality control that a config describes, with a person's word above it.

    Raises:
        ValueError: Unknown policy, settings that it does not take, or a topology that rules it out.
    """
    settings = dict(config.policy)
    name = settings.pop("name")
    if config.train.topology != "travelling" and name not in UNVERIFYING:
        raise ValueError(
            f"policy.name={name!r} verifies after every stop, which train.topology="
            f"{config.train.topology!r} does not allow; use 'travelling', or one of {UNVERIFYING}"
        )
    factory = policies.get(name)
    if name == "none":
        policy = factory()
    elif name == "oracle":
        policy = factory(corrupted=study.corrupted)
    else:
        policy = _built("policy", factory, settings | {"max_batch": config.train.batch_size})
    return overruled(policy, study)


def overruled(policy: types.QualityControl, study: preparation.Study) -> types.QualityControl:
    """The policy, except that a person's word decides about the samples it names."""

    def mask(state, cycle):
        return (policy.mask(state, cycle) | study.keep) & ~study.drop

    return policy._replace(mask=mask)


def train(config, workdir, *, study=None, warmup=None, progress=True) -> Outcome:
    """Runs or resumes one experiment and returns its outcome.

    Args:
        config: See `configs/`.
        workdir: Folder of this run.
        study: Samples that are at hand already; by default prepared from `config.data`.
        warmup: The workdir of another run to take the warm-up checkpoint from, so that several
            policies start from the same model.
        progress: Whether to draw progress bars.

    Raises:
        ValueError: Settings or data that cannot work, before training starts.
        FloatingPointError: The loss is not finite; names cycle, centre and stop.
    """
    workdir = pathlib.Path(workdir)
    lrn = build_learner(config)
    if study is None:
        study = preparation.prepare(config, workdir, progress=progress)
    policy = build_policy(config, study)
    (workdir / "checkpoints").mkdir(parents=True, exist_ok=True)
    run = Run(
        config=config,
        workdir=workdir,
        study=study._replace(test=_on_device(config, study.test)),
        learner=lrn,
        logits=programs.logits(lrn, config.train.verification_batch),
        progress=progress,
    )
    start = _warm_up(run, warmup)
    travelled = _control(run, policy, start)
    cycles = config.train.cycles
    mask = np.asarray(policy.mask(travelled.state, cycles))
    model = travelled.model
    if config.train.deliver == "retrain" and config.policy.name not in UNVERIFYING:
        model = _deliver(run, start, mask)
    checkpoints.save(workdir / "checkpoints", "final", model)
    return _conclude(run, model, mask, policy.verdicts(travelled.state, cycles))


def _built(group, factory, settings):
    try:
        return factory(**settings)
    except TypeError as error:
        raise ValueError(f"config.{group}: {error}; settings: {settings}") from error


def _on_device(config, samples):
    if config.train.federation == "stream":
        return samples
    return samples._replace(image=jnp.asarray(samples.image))


def _warm_up(run: Run, warmup) -> types.Model:
    """The model after the warm-up cycles, from a checkpoint where there is one."""
    train, study = run.config.train, run.study
    key = jax.random.key(run.config.seed)
    fresh = run.learner.init(jax.random.fold_in(key, 1), jnp.asarray(study.train.image[:1]))
    if warmup is not None and train.warmup_cycles:
        last = checkpoints.name("warmup", train.warmup_cycles - 1)
        like = types.Travel(fresh, jnp.ones(len(study.names), bool))
        return checkpoints.restore(pathlib.Path(warmup) / "checkpoints", last, like).model
    keep = None
    if train.warmup_on == "clean":
        keep = ~study.corrupted
    policy = overruled(fixed.under_mask(keep), study)
    return _phase(run, "warmup", policy, fresh, range(train.warmup_cycles), "metrics.csv").model


def _control(run: Run, policy, start: types.Model) -> types.Travel:
    train = run.config.train
    cycles = range(train.warmup_cycles, train.cycles)
    return _phase(run, "control", policy, start, cycles, "metrics.csv")


def _deliver(run: Run, start: types.Model, mask) -> types.Model:
    train = run.config.train
    cycles = range(train.warmup_cycles, train.cycles)
    policy = fixed.under_mask(mask)
    return _phase(run, "delivery", policy, start, cycles, "delivered.csv").model


def _phase(run: Run, phase, policy, model, cycles, metrics_file) -> types.Travel:
    """The traveller after a phase, resumed after its last complete cycle."""
    train, study = run.config.train, run.study
    folder = run.workdir / "checkpoints"
    program = programs.program(
        run.learner,
        policy,
        study.train,
        study.verification,
        jax.random.fold_in(jax.random.key(run.config.seed), 2),
        topology=train.topology,
        federation=train.federation,
        batch_size=train.batch_size,
        drop_remainders=train.drop_remainders,
        stops_per_call=train.stops_per_call,
        chunk=train.verification_batch,
        minimum=train.minimum_group,
    )
    baseline = program.counts(model)
    traveller = types.Travel(model, policy.init(len(study.names), baseline))
    done = [c for c in checkpoints.cycles(folder, phase) if c in cycles]
    if done:
        traveller = checkpoints.restore(folder, checkpoints.name(phase, done[-1]), traveller)
    last = done[-1] if done else cycles.start - 1
    log = _open_log(run, phase, metrics_file, last)
    if phase == "control" and not done:
        log.decisions.append(logbook.baseline_row(cycles.start, baseline))
    with _bar(run, phase, cycles, last, program, traveller) as bar:
        for cycle in range(last + 1, cycles.stop):
            began = time.perf_counter()
            traveller, record = _cycle(run, program, traveller, cycle, bar)
            seconds = time.perf_counter() - began
            _write_cycle(run, phase, cycle, traveller, record, seconds, log)
            checkpoints.save(folder, checkpoints.name(phase, cycle), traveller)
            if train.keep_checkpoints == "last":
                checkpoints.prune(folder, phase, cycle)
    return traveller


def _cycle(run: Run, program: programs.Program, traveller, cycle, bar):
    """The traveller after one cycle, and (stops, trail of the stops, trail of the close)."""
    stops = program.stops(traveller, cycle)
    size, trails = program.stops_per_call, []
    for first in range(0, len(stops.cycle), size):
        some = jax.tree.map(lambda x: x[first : first + size], stops)  # noqa: B023
        traveller, trail = program.visits(traveller, some)
        trails.append(trail)
        _check_finite(run, trail, some, first)
        _show(run, bar, cycle, traveller, some, trail)
    trail = jax.tree.map(lambda *parts: jnp.concatenate(parts), *trails)
    traveller, closing = program.close(traveller, cycle)
    return jax.block_until_ready(traveller), (stops, trail, closing)


def _check_finite(run, trail, stops, first):
    lost = ~np.isfinite(np.asarray(trail.loss)) & (np.asarray(trail.kind) != types.NO_TRIAL)
    if lost.any():
        at = int(np.argwhere(lost)[0, 0])
        raise FloatingPointError(
            f"the loss is not finite in cycle {int(stops.cycle[at])} at centre "
            f"{run.study.centres[int(stops.centre[at])]}, stop {first + at}: lower "
            "train.learning_rate, use model.dtype='float32', or look at the scans of this stop"
        )


def _bar(run, phase, cycles, last, program, traveller):
    per_cycle = len(program.stops(traveller, cycles.start).cycle) if len(cycles) else 0
    names = {"warmup": "warm-up", "control": run.config.policy.name, "delivery": "delivery"}
    return tqdm.tqdm(
        total=per_cycle * len(cycles),
        initial=per_cycle * (last + 1 - cycles.start),
        desc=names[phase],
        unit="stop",
        disable=not run.progress or not len(cycles),
        dynamic_ncols=True,
    )


def _show(run, bar, cycle, traveller, stops, trail):
    bar.update(len(stops.cycle))
    if bar.disable:
        return
    shown = {"cycle": cycle, "centre": run.study.centres[int(stops.centre[-1])]}
    kind = np.asarray(trail.kind)
    verified = np.argwhere((kind != types.NO_TRIAL) & (kind != types.UNVERIFIED))
    if len(verified):
        counts = jax.tree.map(lambda x: x[tuple(verified[-1])], trail.counts)
        rates = logbook.error_rates(counts)
        shown |= {"fpr": f"{rates[0]:.2f}", "fnr": f"{rates[1]:.2f}"}
        state = traveller.state
        shown["suspects"] = int(np.sum(np.asarray(state.suspected) >= 0))
    bar.set_postfix(shown)


class Log(NamedTuple):
    """Rows written so far in one phase's tables; lists grow cycle by cycle."""

    decisions: list
    metrics: list
    metrics_path: pathlib.Path
    cost: list


def _open_log(run, phase, metrics_file, last) -> Log:
    """The tables with the rows that stay when a phase goes on after cycle `last`."""
    entries = logbook.read_cost(run.workdir / "cost.json")
    return Log(
        decisions=logbook.rows_through(run.workdir / "decisions.csv", logbook.DECISIONS, last),
        metrics=logbook.rows_through(run.workdir / metrics_file, logbook.METRICS, last),
        metrics_path=run.workdir / metrics_file,
        cost=[e for e in entries if e["phase"] != phase or e["cycle"] <= last],
    )


def _write_cycle(run: Run, phase, cycle, traveller, record, seconds, log: Log):
    study = run.study
    stops, trail, closing = record
    if phase == "control":
        log.decisions.extend(
            logbook.decision_rows(
                cycle, stops, trail, closing, study.names, study.centres, study.train.centre
            )
        )
        tables.write(run.workdir / "decisions.csv", logbook.DECISIONS, log.decisions)
    for split in ("verification", "test"):
        samples = getattr(study, split)
        logits = run.logits(traveller.model, samples.image)
        log.metrics.extend(
            logbook.metric_rows(cycle, split, logits, samples.label, study.groups[split])
        )
    tables.write(log.metrics_path, logbook.METRICS, log.metrics)
    held_out = study.verification
    entry = logbook.cost_entry(
        phase,
        cycle,
        trail,
        closing,
        num_samples=len(study.names),
        num_held_out=len(held_out.label),
        num_centres=len(np.unique(held_out.centre)),
        model_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(traveller.model)),
    )
    log.cost.append(entry | {"seconds": round(seconds, 4)})
    logbook.write_json(run.workdir / "cost.json", logbook.summarise_cost(log.cost))


def _conclude(run: Run, model, mask, verdicts) -> Outcome:
    study, workdir = run.study, run.workdir
    logbook.write_harm(
        workdir / "harm.csv",
        study.names,
        study.centres,
        study.train.centre,
        study.train.label,
        verdicts,
        mask,
        study.corrupted if study.simulated else None,
        study.kind,
    )
    logits = run.logits(model, study.test.image)
    found = metrics.metrics(logits, study.test.label)
    cost = logbook.summarise_cost(logbook.read_cost(workdir / "cost.json"))
    return Outcome(model, mask, jax.device_get(verdicts), found, cost)


def summary(study: preparation.Study, outcome: Outcome) -> str:
    """What a run found and what its model does on the test scans, as text."""
    pending, gone = outcome.verdicts.pending, outcome.verdicts.eliminated
    found = outcome.metrics
    lines = [
        f"eliminated {int(gone.sum())} of {len(gone)} training samples, {int(pending.sum())} pending",
        f"delivered model on {found.n} test scans: AUROC {found.auroc:.3f}, "
        f"false-positive rate {found.fpr:.3f}, false-negative rate {found.fnr:.3f}, "
        f"loss {found.loss:.3f} nats",
    ]
    if study.simulated:
        hits = int((gone & study.corrupted).sum())
        lines.insert(
            1,
            f"of {int(study.corrupted.sum())} planted harmful samples {hits} were eliminated, "
            f"and {int((gone & ~study.corrupted).sum())} good ones",
        )
    return "\n".join(lines)
