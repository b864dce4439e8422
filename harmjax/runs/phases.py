"""One phase of a run: its cycles, one after another, each followed by tables and a checkpoint.

First the tables and then the checkpoint are written, so that a killed run goes on after its last
complete cycle and ends with the same tables.
"""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
import tqdm

from harmjax import tables, types, workdirs
from harmjax.engine import travel
from harmjax.runs import checkpoints, logbook, preparation, programs
from harmjax.runs import course as courses


class Run(NamedTuple):
    """What the phases of one run share."""

    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    study: preparation.Study
    learner: types.Learner
    course: courses.Course
    evaluate: Callable[[types.Model], dict]  # split -> group -> `metrics.Assessed`
    metrics: tuple[str, ...]  # columns of metrics.csv
    progress: bool
    is_shadow: bool = False  # trained on verification scans, so that metrics would tell nothing


class Log(NamedTuple):
    """Rows written so far in one phase's tables; lists grow cycle by cycle."""

    decisions: list
    metrics: list
    metrics_path: pathlib.Path | None
    cost: list


def run_phase(run: Run, phase: str, policy, model, cycles: range, metrics_file) -> types.Travel:
    """The traveller after a phase, resumed after its last complete cycle.

    Args:
        run: What the phases share.
        phase: 'warmup', 'control' or 'delivery'; names its checkpoints and its cost.
        policy: Of this phase.
        model: To start from.
        cycles: Their numbers, which decide about learning rate and itinerary.
        metrics_file: Table of the workdir that the metrics go to; None where the model is not
            evaluated, because it only watches.

    Raises:
        FloatingPointError: A loss or an update is not finite; names cycle, centre and stop.
    """
    train, study = run.config.train, run.study
    metrics_file = None if run.is_shadow else metrics_file
    folder = run.workdir / "checkpoints"
    spent = []  # seconds of evaluations

    def evaluate(model):
        if metrics_file is None:
            return None
        began = time.perf_counter()
        found = run.evaluate(model)
        spent.append(time.perf_counter() - began)
        return found

    def watch(traveller, stops, info, first):
        places = range(first, first + len(stops.centre))
        _check_finite(run, info, stops.cycle[0], stops.centre, places)
        _show(run, bar, policy, traveller, stops, info)

    program = programs.program(
        run.learner,
        policy,
        study.train,
        study.verification,
        run.course,
        stops_per_call=train.stops_per_call,
        evaluate=evaluate,
        watch=watch,
    )
    baseline = program.confusion(model)
    traveller = types.Travel(model, policy.init(len(study.names), baseline))
    done = [c for c in checkpoints.cycles(folder, phase) if c in cycles]
    if done:
        traveller = checkpoints.restore(folder, checkpoints.name(phase, done[-1]), traveller)
    # Committed like a compiled step's results; otherwise the second cycle compiles again.
    traveller = jax.device_put(traveller, jax.local_devices()[0])
    last = done[-1] if done else cycles.start - 1
    log = _open_log(run, phase, metrics_file, range(cycles.start, last + 1), cycles)
    if phase == "control" and not done:
        log.decisions.append(logbook.baseline_row(cycles.start, baseline))
    with _bar(run, phase, cycles, last, program.num_stops) as bar:
        for cycle in range(last + 1, cycles.stop):
            began = time.perf_counter()
            traveller, record = travel.cycle(program.steps, traveller, cycle)
            _check_finite(run, record.closing, cycle, _holders(run, record.closing), None)
            traveller = jax.block_until_ready(traveller)
            seconds = time.perf_counter() - began - sum(spent)
            spent.clear()
            _write_cycle(run, phase, cycle, record, program.asked(), seconds, log)
            checkpoints.save(folder, checkpoints.name(phase, cycle), traveller)
            if train.keep_checkpoints == "last":
                checkpoints.prune(folder, phase, cycle)
    return traveller


def _check_finite(run, info, cycle, centres, stops):
    """Raises FloatingPointError for a trial whose loss, or the model that it gave, is not finite.

    Args:
        run: What the phases share.
        info: Of stops, [T, R], or of a close, [R].
        cycle: The cycle.
        centres: [T] or [R], who answered.
        stops: [T], numbers of the stops in the cycle; None at the close.
    """
    lost = ~np.isfinite(np.asarray(info.loss)) & (np.asarray(info.kind) != types.NO_TRIAL)
    if lost.any():
        at = int(np.argwhere(lost)[0, 0])
        where = "at the close of the cycle" if stops is None else f"stop {stops[at]}"
        raise FloatingPointError(
            f"the loss or the updated model is not finite in cycle {cycle} at centre "
            f"{run.study.centres[int(centres[at])]}, {where}: lower train.learning_rate, use "
            "model.dtype='float32', or look at the scans tried there"
        )


def _holders(run, closing):
    """[R] int, the centre of the first sample of every row."""
    ids = np.minimum(np.asarray(closing.ids)[:, 0], len(run.study.names) - 1)
    return np.asarray(run.study.train.centre)[ids]


def _bar(run, phase, cycles, last, num_stops):
    names = {"warmup": "warm-up", "control": run.config.policy.name, "delivery": "delivery"}
    return tqdm.tqdm(
        total=num_stops * len(cycles),
        initial=num_stops * (last + 1 - cycles.start),
        desc=names.get(phase, phase),
        unit="stop",
        disable=None if run.progress and len(cycles) else True,
        dynamic_ncols=True,
    )


def _show(run, bar, policy, traveller, stops, info):
    bar.update(len(stops.cycle))
    if bar.disable:
        return
    cycle = int(stops.cycle[0])
    shown = {"cycle": cycle, "centre": run.study.centres[int(stops.centre[-1])]}
    kind = np.asarray(info.kind)
    decided = np.argwhere(np.isin(kind, (*types.VERIFIED, *types.JUDGED)))
    if len(decided):
        rates = logbook.error_rates(info.confusion[tuple(decided[-1])])
        names = ("fpr", "fnr") if len(rates) == 2 else run.study.classes
        shown |= {name: f"{rate:.2f}" for name, rate in zip(names, rates, strict=True)}
        pending = policy.verdicts(traveller.state, cycle).pending
        shown["suspects"] = int(np.sum(np.asarray(pending)))
    bar.set_postfix(shown)


def _open_log(run, phase, metrics_file, done: range, cycles: range) -> Log:
    """The tables with the rows that stay when a phase goes on after the cycles `done`.

    Rows of metrics of later phases stay too: a warm-up that is trained again, because its
    checkpoint was lost, ends where they began.

    Raises:
        ValueError: A table is damaged, or has no row of a cycle that is finished.
    """
    folder, entries = run.workdir, logbook.read_cost(run.workdir / "cost.json")
    path = folder / metrics_file if metrics_file else None
    again = range(done.stop, cycles.stop)
    decisions = logbook.rows_but(
        folder / "decisions.csv", logbook.decision_columns(run.study.classes), again
    )
    metrics = []
    if path:
        metrics = logbook.rows_but(path, run.metrics, again)
        _check_rows(path, {int(row[0]) for row in metrics}, done)
    _check_rows(folder / "cost.json", {e["cycle"] for e in entries if e["phase"] == phase}, done)
    if phase == "control":
        _check_rows(folder / "decisions.csv", {int(row[0]) for row in decisions}, done[:1])
    return Log(
        decisions=decisions,
        metrics=metrics,
        metrics_path=path,
        cost=[e for e in entries if e["phase"] != phase or e["cycle"] not in again],
    )


def _check_rows(path, found, done: range) -> None:
    lost = [cycle for cycle in done if cycle not in found]
    if lost:
        raise ValueError(
            f"{path} has no row of cycle {lost[0]}, which is finished: put the table back, "
            "or train anew in another workdir"
        )


def _write_cycle(run: Run, phase, cycle, record: travel.Record, asked, seconds, log: Log):
    study = run.study
    if phase == "control":
        log.decisions.extend(
            logbook.decision_rows(
                cycle,
                record.stops,
                record.info,
                record.closing,
                study.names,
                study.centres,
                study.train.centre,
            )
        )
        header = logbook.decision_columns(study.classes)
        tables.write(run.workdir / "decisions.csv", header, log.decisions)
    if log.metrics_path:
        log.metrics.extend(logbook.metric_rows(cycle, record.evaluation))
        rows = sorted(log.metrics, key=lambda row: int(row[0]))
        tables.write(log.metrics_path, run.metrics, rows)
    entry = logbook.cost_entry(phase, cycle, asked)
    log.cost.append(entry | {"seconds": round(seconds, 4)})
    workdirs.write_json(run.workdir / "cost.json", logbook.summarise_cost(log.cost))
