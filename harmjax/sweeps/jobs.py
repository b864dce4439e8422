"""Many training runs: what they share, which are finished already, and how each one ended.

Every run has a workdir like any other. Runs on the same data share one prepared study, and runs
that differ in their policy only start from one warm-up.
"""

import contextlib
import functools
import itertools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np
import tqdm

from harmjax import metrics, policies, tables, workdirs
from harmjax.data import begun
from harmjax.runs import checkpoints, logbook, preparation, recorded, training, trajectories
from harmjax.sweeps import mapped

FOUND = (
    *("verification_loss", "verification_auroc", "eliminated", "pending"),
    *("planted", "hits", "wrongly_eliminated", "forward_equivalents", "seconds", "problem"),
)
WHOLE = (  # numbers in outcome.csv; `problem` is text, all others are floats
    *("test_n", "eliminated", "pending", "planted", "hits", "wrongly_eliminated"),
    "forward_equivalents",
)
STUDY = ("data", "scenario")  # groups that a study depends on
AFTER_WARM_UP = ("policy", "detect", "sweep", "report")  # groups that no warm-up depends on
PREPARED = ("manifest.csv", "features.npz")  # what predicting with a run reads of its study


SayFn = Callable[[str], None]  # takes a line of text
FinishedFn = Callable[[pathlib.Path, preparation.Study], None]  # takes a finished run's workdir
StudyFn = Callable[[], preparation.Study]


class Job(NamedTuple):
    """One training run among several."""

    name: str  # as a person reads it
    config: ml_collections.ConfigDict
    workdir: pathlib.Path
    home: pathlib.Path  # where the study is prepared, once for all jobs with this home
    warmup: pathlib.Path | None  # workdir of the earlier job whose warm-up this one starts from


class Finished(NamedTuple):
    """How a job ended."""

    job: Job
    outcome: dict  # of outcome.csv by `columns`, with their values as they read back
    samples: list[dict] | None  # rows of harm.csv; None where it was not trained here and now


def columns(config) -> tuple[str, ...]:
    """What outcome.csv has of a run with this config."""
    measured = metrics.names(begun.named(config.data))[1:]
    return *(f"test_{name}" for name in measured), *FOUND


def planned(configs: Sequence, folders: Sequence, *, names=None, homes=None) -> list[Job]:
    """A job per config, with what it can share with those before it.

    Args:
        configs: Of the runs.
        folders: Their workdirs, each another one.
        names: Of the runs; by default those of the folders.
        homes: Where each one's study is prepared; by default in the workdir of the first run on the
            same data. Equal homes mean equal studies.

    Raises:
        ValueError: Unknown models or policies.
    """
    studies: dict[str, pathlib.Path] = {}
    warm_ups: dict[str, pathlib.Path] = {}
    made = []
    for number, (config, folder) in enumerate(zip(configs, folders, strict=True)):
        training.build_learner(config)
        policies.get(config.policy.name)
        folder = pathlib.Path(folder)
        home = studies.setdefault(_part(config, only=STUDY), folder)
        first = folder
        alone = trajectories.has_shadow(config) or trajectories.folds(config)
        if not alone and 0 < config.train.warmup_cycles < config.train.cycles:
            first = warm_ups.setdefault(_part(config, without=AFTER_WARM_UP), folder)
        job = Job(
            name=names[number] if names else folder.name,
            config=config,
            workdir=folder,
            home=pathlib.Path(homes[number]) if homes else home,
            warmup=first if first != folder else None,
        )
        made.append(job)
    return made


def run(
    jobs: Sequence[Job],
    *,
    say: SayFn,
    finished: FinishedFn,
    replicas: str = "loop",
    progress: str = "runs",
) -> Iterator[Finished]:
    """Yields how every job ended.

    Finished jobs are not run again, killed ones resume. Jobs of one home come one after another,
    so that one study is in memory at a time. A loss that is not finite ends a job, not the others:
    its outcome has the message under `problem`.

    Args:
        jobs: From `planned`.
        say: Called before a run.
        finished: Called after a run that was not mapped.
        replicas: 'loop', one run after another; 'auto', side by side where `mapped` can.
        progress: What bars count: 'runs', or the 'stops' of each run; '' draws none.

    Raises:
        ValueError: Settings or data that cannot work, or a workdir that another process writes to.
    """
    order = {home: i for i, home in enumerate(dict.fromkeys(job.home for job in jobs))}
    ordered = sorted(jobs, key=lambda job: order[job.home])
    with _bar(len(jobs), progress == "runs") as bar:
        for _, jobs_of_home in itertools.groupby(ordered, key=lambda job: job.home):
            group = list(jobs_of_home)
            study = functools.cache(functools.partial(_prepared, group[0], bool(progress), say))
            for job in group:
                _check_finished(job, study)
            together = _map(group, study, say) if replicas == "auto" else {}
            for job in group:
                if job.workdir in together:
                    ended = together[job.workdir]
                elif _path(job).exists():
                    ended = Finished(job, _outcome(job), None)
                else:
                    bar.set_postfix_str(job.name)
                    with workdirs.held(job.workdir):
                        samples = study()
                        say("; ".join([job.name, *recorded.record(job.config, job.workdir)]))
                        ended = _trained(job, samples, finished, progress == "stops")
                        _write(ended)
                bar.update()
                yield ended


def _check_finished(job: Job, study: StudyFn) -> None:
    """Refuses a finished run on other data; forgets one whose model knows who is dropped since.

    Raises:
        ValueError: The run, or the data it shares, is not what it was; or it was trained on people
            who are dropped since, and its model is not trained anew without them.
    """
    if not _path(job).exists():
        return
    has_problem = bool(_outcome(job)["problem"])
    if job.config.data.drop:
        study()  # the list may have grown since
    dropped = begun.dropped_since(job.workdir, job.home)
    if has_problem or not job.config.data.drop:
        return
    if not preparation.is_retrained(job.config):
        begun.refuse_dropped(job.workdir, dropped)
        return
    gone = {n for n, drop in zip(study().names, study().drop, strict=True) if drop}
    rows = logbook.read_harm(job.workdir / "harm.csv", begun.named(job.config.data))
    if not gone <= {row["subject"] for row in rows if row["mask"] == 0}:
        _path(job).unlink()


def _outcome(job: Job) -> dict:
    """The row of outcome.csv of a job that was finished before.

    Raises:
        ValueError: It is damaged.
    """
    try:
        (row,) = tables.read(_path(job))
        row = tables.typed(row, texts=("problem",), whole=WHOLE)
    except ValueError:
        row = {}
    if tuple(row) != columns(job.config):
        raise ValueError(
            f"{_path(job)} is damaged, or of another harmjax: delete it, and the run goes on"
        )
    return row


def _map(jobs, study: StudyFn, say) -> dict[pathlib.Path, Finished]:
    """How the jobs that can be mapped ended, by workdir; without those whose loss is not finite."""
    ended = {}
    left = [job for job in jobs if not _path(job).exists()]
    families = [job.warmup or job.workdir for job in left]
    for some in mapped.groups([job.config for job in left], families):
        with contextlib.ExitStack() as held:
            chosen = [left[i] for i in some]
            for job in chosen:
                held.enter_context(workdirs.held(job.workdir))
                recorded.record(job.config, job.workdir)
            study()
            for job in chosen:
                _take_tables(job)
            say(f"{len(chosen)} runs side by side, from {chosen[0].name} to {chosen[-1].name}")
            outcomes = mapped.train(
                [job.config for job in chosen], [job.workdir for job in chosen], study()
            )
            for job, outcome in zip(chosen, outcomes, strict=True):
                if outcome is not None:
                    ended[job.workdir] = Finished(job, _row(job, study(), outcome), None)
                    _write(ended[job.workdir])
    return ended


def _path(job: Job) -> pathlib.Path:
    return job.workdir / "outcome.csv"


def _write(ended: Finished) -> None:
    tables.write(_path(ended.job), list(ended.outcome), [ended.outcome.values()])


def _prepared(job: Job, progress, say) -> preparation.Study:
    with workdirs.held(job.home):
        study = preparation.prepare(job.config, job.home, progress=progress)
    say(study.text)
    return study


def _take_tables(job: Job) -> None:
    """Copies what a run needs of its prepared study; a run on other data is refused."""
    begun.dropped_since(job.workdir, job.home)
    for name in PREPARED:
        with contextlib.suppress(FileNotFoundError, shutil.SameFileError):
            shutil.copyfile(job.home / name, job.workdir / name)


def _part(config, only=(), without=()) -> str:
    """Some groups of a config as text, equal where their settings are."""
    settings = json.loads(config.to_json_best_effort())
    names = only or sorted(settings.keys() - set(without))
    return json.dumps({name: settings[name] for name in names}, sort_keys=True)


def _bar(total, wanted):
    disable = None if wanted else True
    return tqdm.tqdm(total=total, desc="sweep", unit="run", disable=disable, dynamic_ncols=True)


def _trained(job: Job, study, finished, progress) -> Finished:
    """Trains one job; its outcome, or the problem that ended it."""
    _take_tables(job)
    try:
        outcome = training.train(
            job.config, job.workdir, study=study, warmup=_warmed_up(job), progress=progress
        )
    except FloatingPointError as error:
        return Finished(job, _filled(job, {"problem": str(error)}), [])
    finished(job.workdir, study)
    samples = logbook.harm_rows(study, outcome.verdicts, outcome.mask)
    return Finished(job, _row(job, study, outcome), samples)


def _warmed_up(job: Job):
    """The other job's workdir, unless it has no warm-up: it failed there, or it was mapped."""
    last = checkpoints.name("warmup", job.config.train.warmup_cycles - 1)
    there = job.warmup and (job.warmup / "checkpoints" / last).is_dir()
    return job.warmup if there else None


def _row(job: Job, study, outcome: training.Outcome) -> dict:
    gone = np.asarray(outcome.verdicts.eliminated)
    phases = outcome.cost["phases"]
    after = [phases[name] for name in phases if name != "warm-up"]
    row = {f"test_{name}": value for name, value in outcome.metrics.items()}
    row |= {f"verification_{name}": outcome.verified[name] for name in ("loss", "auroc")}
    row |= {
        "eliminated": int(gone.sum()),
        "pending": int(np.sum(outcome.verdicts.pending)),
        "forward_equivalents": sum(phase["forward_equivalents"] for phase in after),
        "seconds": round(sum(phase["seconds"] for phase in after), 3),
    }
    if study.simulated:
        row |= {
            "planted": int(study.corrupted.sum()),
            "hits": int((gone & study.corrupted).sum()),
            "wrongly_eliminated": int((gone & ~study.corrupted).sum()),
        }
    return _filled(job, row)


def _filled(job: Job, row) -> dict:
    """A row with all columns of outcome.csv and their values as they read back."""
    known = {name: tables.stored(row.get(name)) for name in columns(job.config)}
    return known | {"problem": row.get("problem", "")}
