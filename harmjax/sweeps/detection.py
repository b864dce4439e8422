"""Scenarios x harms x seeds x warm-ups x policies: who was found, and what it cost."""

import pathlib

import numpy as np

from harmjax import metrics, plugins, tables
from harmjax.data import begun
from harmjax.runs import logbook
from harmjax.sweeps import hyper, jobs, sweep

FOUND = (
    *("scenario", "harm", "seed", "policy", "planted", "eliminated", "hits", "recall", "good"),
    *("wrongly_eliminated", "false_rate", "auroc", "average_precision"),
)
COST = ("forward_equivalents", "seconds")
HARMS = (
    *("scenario", "harm", "seed", "warmup", "policy", "kind"),
    *("planted", "eliminated", "pending", "recall", "harm_auroc"),
)
RECALLS = tuple(share / 20 for share in range(1, 21))
CURVES = ("scenario", "harm", "seed", "warmup", "policy", "recall", "precision")
WARM_UPS = ("clean", "as_is")


def columns(config) -> tuple[str, ...]:
    """Columns of detection.csv."""
    rates = sweep.rates(jobs.columns(config))
    return *FOUND, "test_auroc", *rates, *COST, "warmup"


def settings(config) -> list[hyper.Setting]:
    """A setting per run of `config.detect`: its whole product, without repetitions.

    A clean cohort appears once per seed and policy, whatever the harms and warm-ups.

    Raises:
        ValueError: A scenario without a count, or a warm-up that is unknown or not among those
            compared.
    """
    detect = config.detect
    for name in detect.scenarios:
        plugins.one_of("detect.scenarios", name, detect.count)
    for name in detect.warmups:
        plugins.one_of("detect.warmups", name, WARM_UPS)
    if config.train.warmup_on != "clean" and config.train.warmup_on not in detect.warmups:
        raise ValueError(
            f"train.warmup_on={config.train.warmup_on!r} is not among detect.warmups="
            f"{tuple(detect.warmups)}, which decide here"
        )
    grid = hyper.product(
        [
            hyper.sweep("seed", detect.seeds),
            hyper.sweep("scenario.name", detect.scenarios),
            hyper.sweep("scenario.harm", detect.harms),
            hyper.sweep("train.warmup_on", detect.warmups),
            hyper.sweep("policy.name", detect.policies),
        ]
    )
    unplanted = {"scenario.harm": (), "train.warmup_on": detect.warmups[0]}
    found = [one | (unplanted if one["scenario.name"] == "none" else {}) for one in grid]
    found = list({tuple(one.items()): one for one in found}.values())
    return [
        one | {"scenario.seed": one["seed"], "scenario.count": detect.count[one["scenario.name"]]}
        for one in found
    ]


def planned(config, workdir) -> list[jobs.Job]:
    """The runs of `config.detect`: a folder per planted cohort, in it a workdir per policy.

    Raises:
        ValueError: Settings that are unknown or do not go together.
    """
    configs = [hyper.applied(config, setting) for setting in settings(config)]
    homes, folders, names = [], [], []
    for one in configs:
        cohort = (one.scenario.name, "+".join(one.scenario.harm), str(one.seed))
        case, warm = "-".join(filter(None, cohort)), one.train.warmup_on
        homes.append(pathlib.Path(workdir) / case)
        folders.append(homes[-1] / (one.policy.name + (f"-{warm}" if warm != "clean" else "")))
        names.append(f"{case}: {folders[-1].name}")
    return jobs.planned(configs, folders, names=names, homes=homes)


def detect(
    config,
    workdir,
    *,
    say: jobs.SayFn,
    finished: jobs.FinishedFn,
    progress: bool = True,
) -> tuple[list[dict], list[dict]]:
    """Runs what is not finished and returns the rows of detection.csv and of harms.csv.

    Args:
        config: See `configs/`, group `detect`.
        workdir: Gets both tables, precision_recall.csv for the page, and a folder per planted
            cohort with a workdir per policy.
        say: Called before a run.
        finished: Called after a run.
        progress: Whether to draw progress bars.

    Raises:
        ValueError: Settings or data that cannot work.
        FloatingPointError: The loss of a run is not finite.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    rows, harms, curves = [], [], []
    for ended in jobs.run(
        planned(config, workdir),
        say=say,
        finished=finished,
        progress="stops" if progress else "",
    ):
        job, outcome, samples = ended
        if outcome["problem"]:
            raise FloatingPointError(f"{job.name}: {outcome['problem']}")
        if samples is None:
            samples = _samples(job, outcome)
        rows.append(_row(job.config, samples, outcome))
        harms += _harm_rows(job.config, samples)
        curves += _curve_rows(job.config, samples)
        written = {
            "detection": (columns(config), rows),
            "harms": (HARMS, harms),
            "precision_recall": (CURVES, curves),
        }
        for name, (header, found) in written.items():
            tables.write(workdir / f"{name}.csv", header, [row.values() for row in found])
    return rows, harms


def _samples(job, outcome) -> list[dict]:
    """Rows of the harm.csv of a run that was finished before.

    Raises:
        ValueError: It is missing, damaged, or not that of the outcome.
    """
    path = job.workdir / "harm.csv"
    try:
        samples = logbook.read_harm(path, begun.named(job.config.data))
        counted = {"eliminated": _verdict(samples, "eliminated").sum(),
                   "planted": _planted(samples).sum()}  # fmt: skip
    except (ValueError, KeyError):
        samples, counted = [], {}
    known = {name for name in counted if not np.isnan(outcome[name])}
    if not samples or any(outcome[name] != counted[name] for name in known):
        raise ValueError(
            f"{path} is missing or damaged: delete {job.workdir / 'outcome.csv'}, and the run "
            "writes both again"
        )
    return samples


def _names(config) -> dict:
    return {
        "scenario": config.scenario.name,
        "harm": "+".join(config.scenario.harm),
        "seed": config.seed,
        "policy": config.policy.name,
        "warmup": config.train.warmup_on,
    }


def _record(header, row) -> dict:
    return {name: tables.stored(row[name]) for name in header}


def _row(config, samples, outcome) -> dict:
    """A row of detection.csv from a run's samples and outcome."""
    planted, gone = _planted(samples), _verdict(samples, "eliminated")
    harm = _ranked(sweep.column(samples, "harm"))
    measured = {
        "planted": int(planted.sum()),
        "eliminated": int(gone.sum()),
        "hits": int((gone & planted).sum()),
        "recall": _share(gone, planted),
        "good": int((~planted).sum()),
        "wrongly_eliminated": int((gone & ~planted).sum()),
        "false_rate": _share(gone, ~planted),
        "auroc": metrics.auroc(harm, planted),
        "average_precision": metrics.average_precision(harm, planted),
    }
    return _record(columns(config), outcome | _names(config) | measured)


def _harm_rows(config, samples) -> list[dict]:
    """A row of harms.csv per kind of harm that was planted; no AUROC where nothing has a score."""
    planted, kind = _planted(samples), np.array([row.get("kind", "") for row in samples], object)
    gone, pending = _verdict(samples, "eliminated"), _verdict(samples, "pending")
    harm, rows = sweep.column(samples, "harm"), []
    scored = np.isfinite(harm).any()
    for name in dict.fromkeys(kind[planted]):
        own = planted & (kind == name)
        compared = own | ~planted
        measured = {
            "kind": name,
            "planted": int(own.sum()),
            "eliminated": int((gone & own).sum()),
            "pending": int((pending & own).sum()),
            "recall": _share(gone, own),
            "harm_auroc": metrics.auroc(_ranked(harm)[compared], own[compared]) if scored else None,
        }
        rows.append(_record(HARMS, _names(config) | measured))
    return sorted(rows, key=lambda row: config.scenario.harm.index(row["kind"]))


def _curve_rows(config, samples) -> list[dict]:
    """Rows of precision_recall.csv: the harm score's precision at every recall, if there is one."""
    planted, harm = _planted(samples), sweep.column(samples, "harm")
    if not planted.any() or not np.isfinite(harm).any():
        return []
    precision = metrics.precision_at(_ranked(harm), planted, RECALLS)
    pairs = zip(RECALLS, precision.tolist(), strict=True)
    return [
        _record(CURVES, _names(config) | {"recall": recall, "precision": p}) for recall, p in pairs
    ]


def _planted(samples) -> np.ndarray:
    return np.array([row.get("corrupted") == 1 for row in samples], bool)


def _verdict(samples, verdict) -> np.ndarray:
    return np.array([row["verdict"] == verdict for row in samples], bool)


def _ranked(harm):
    """Harm with samples that never had a score below all others."""
    known = harm[np.isfinite(harm)]
    return np.where(np.isfinite(harm), harm, known.min() - 1 if len(known) else 0.0)


def _share(part, whole) -> float:
    return float((part & whole).sum() / whole.sum()) if whole.any() else float("nan")


def summary(rows, harms) -> str:
    """Both tables as a person reads them: means ± standard deviation where there are more seeds."""
    measured = ("planted", "hits", "wrongly_eliminated", "good", "test_auroc",
                *sweep.rates(tuple(rows[0])), *COST)  # fmt: skip
    parts = [_aggregated(rows, ("scenario", "harm"), measured)]
    if harms:
        parts.append(_aggregated(harms, ("scenario", "harm", "kind"), HARMS[6:]))
    return "\n\n".join(parts)


def _aggregated(rows, keys, measured) -> str:
    several = {name: len({row[name] for row in rows}) > 1 for name in ("warmup", "seed")}
    keys = (*keys, *(("warmup",) if several["warmup"] else ()), "policy")
    shown = []
    for group in sweep.groups(sweep.Table((), keys, rows), ()):
        if several["seed"]:
            cells = [
                len(group.rows),
                *(sweep.spread(sweep.column(group.rows, n)) for n in measured),
            ]
        else:
            (row,) = group.rows
            cells = [row["seed"], *(row[name] for name in measured)]
        shown.append([*group.setting.values(), *cells])
    seed = "seeds" if several["seed"] else "seed"
    text = tables.aligned([*keys, seed, *(name.replace("_", " ") for name in measured)], shown)
    return f"mean ± SD over seeds\n{text}" if several["seed"] else text
