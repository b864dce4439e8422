"""Training runs under many settings: one table, and the best setting with its spread over seeds."""

import hashlib
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harmjax import plugins, tables
from harmjax.sweeps import hyper, jobs

REPLICAS = ("auto", "loop")
CHOOSE_BY = {"loss": -1, "auroc": 1}  # of verification, and whether more of it is better
ONLY_SIMULATED = ("planted", "hits", "wrongly_eliminated")
LONGEST_NAME = 100  # characters of a folder


class Table(NamedTuple):
    """sweep.csv, as records."""

    header: tuple[str, ...]
    keys: tuple[str, ...]  # swept, the first columns
    rows: list[dict]  # settings as text; numbers as they read back, NaN where unknown


class Group(NamedTuple):
    """Runs under one setting."""

    setting: dict[str, str]
    rows: list[dict]  # replicates


def sweep(
    config,
    settings: Sequence[hyper.Setting],
    workdir,
    *,
    say: jobs.SayFn,
    finished: jobs.FinishedFn,
    progress: bool = True,
) -> Table:
    """Runs every setting, or what is left of them, and writes sweep.csv.

    Args:
        config: That the settings change; group `sweep` says how the best one is chosen.
        settings: From `harmjax.sweeps.hyper`.
        workdir: Gets sweep.csv and a workdir per run.
        say: Called before a run.
        finished: Called after a run.
        progress: Whether to draw a progress bar over runs.

    Raises:
        ValueError: Before any run: no settings, one of them twice, keys, values, models or policies
            that are unknown. Later: settings or data that cannot work.
    """
    if "sweep" not in config:
        raise ValueError("no group sweep: start from harmjax/defaults.py")
    for name, known in (("choose_by", CHOOSE_BY), ("replicas", REPLICAS)):
        plugins.one_of(f"sweep.{name}", config.sweep[name], known)
    workdir = pathlib.Path(workdir)
    configs = [hyper.applied(config, setting) for setting in settings]
    names = [folder_name(setting) for setting in settings]
    if len(set(names)) < len(names) or not names:
        again = next((name for name in names if names.count(name) > 1), None)
        raise ValueError(f"get_hyper gives {again} twice" if names else "get_hyper gives nothing")
    planned = jobs.planned(configs, [workdir / name for name in names])
    keys = tuple(dict.fromkeys(key for setting in settings for key in setting))
    found = jobs.run(
        planned,
        say=say,
        finished=finished,
        replicas="loop" if config.sweep.pages else config.sweep.replicas,
        progress="runs" if progress else "",
    )
    outcomes = {ended.job.workdir: ended.outcome for ended in found}
    table = _table(keys, planned, [outcomes[job.workdir] for job in planned])
    tables.write(workdir / "sweep.csv", table.header, [row.values() for row in table.rows])
    return table


def folder_name(setting: hyper.Setting) -> str:
    """A readable name, the same for the same setting whatever else is swept.

    Example:
        >>> folder_name({"train.learning_rate": 0.003, "seed": 1})
        'learning_rate=0.003,seed=1'
    """
    exact = ",".join(f"{key}={cell(setting[key])}" for key in sorted(setting))
    short = ",".join(sorted(f"{_short(key, setting)}={cell(setting[key])}" for key in setting))
    plain = re.sub(r"[^\w.,=+-]", "_", short)[:LONGEST_NAME]
    if plain == short and plain.strip("."):
        return plain
    return f"{plain},{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def cell(value) -> str:
    """A setting's value as tables show it; tuples are joined by `+`.

    Example:
        >>> cell(("inversion", "noise")), cell(0.1 + 0.2)
        ('inversion+noise', '0.3')
    """
    if isinstance(value, tuple | list):
        return "+".join(map(cell, value))
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def groups(table: Table, replicates: Sequence[str]) -> list[Group]:
    """Rows that differ in `replicates` only, in the table's order."""
    found: dict[tuple, Group] = {}
    for row in table.rows:
        setting = {key: row[key] for key in table.keys if key not in replicates}
        found.setdefault(tuple(setting.items()), Group(setting, [])).rows.append(row)
    return list(found.values())


def best(found: Sequence[Group], choose_by: str) -> Group | None:
    """The setting with the best mean verification metric; None where none is known.

    Args:
        found: From `groups`. One with a run that has no finite metric is not chosen.
        choose_by: 'loss', the lowest, or 'auroc', the highest.
    """
    sign = CHOOSE_BY[choose_by]
    means = [sign * column(group.rows, f"verification_{choose_by}").mean() for group in found]
    known = [i for i, mean in enumerate(means) if np.isfinite(mean)]
    return found[max(known, key=means.__getitem__)] if known else None


def best_run(group: Group, choose_by: str) -> dict:
    """The row of a setting whose model did best on the verification scans."""
    values = column(group.rows, f"verification_{choose_by}")
    return group.rows[int(np.argmax(CHOOSE_BY[choose_by] * values))]


def column(rows, name) -> np.ndarray:
    """One column of records as numbers, NaN where nothing is known."""
    return np.array([row[name] for row in rows], float)


def rates(header: Sequence[str]) -> tuple[str, ...]:
    """Columns that say how often models misdiagnose test scans: of more than two classes the
    balanced accuracy and every sensitivity.

    Example:
        >>> rates(("seed", "test_auroc", "test_sensitivity", "test_fpr", "test_fnr"))
        ('test_fpr', 'test_fnr')
    """
    if "test_fpr" in header:
        return "test_fpr", "test_fnr"
    several = ("test_balanced_accuracy", "test_sensitivity_")
    return tuple(name for name in header if name.startswith(several))


def spread(values) -> str:
    """Mean ± standard deviation of what is known, without the latter for a single value.

    Example:
        >>> spread([0.5, 0.7]), spread([3.0]), spread([10_000, 12_000])
        ('0.6 ± 0.14', '3', '11,000 ± 1,414')
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return "-"
    kind = ",.0f" if np.abs(values).max() >= 1000 else ".3g"
    text = f"{values.mean():{kind}}"
    if len(values) == 1:
        return text
    return f"{text} ± {values.std(ddof=1):{',.0f' if kind == ',.0f' else '.2g'}}"


def summary(table: Table, replicates: Sequence[str], choose_by: str, workdir) -> str:
    """The table, the means over replicates where there are any, and the best setting."""
    tested = ("test_auroc", *rates(table.header))
    shown = ["verification_loss", "verification_auroc", *tested, "eliminated"]
    shown += [name for name in ONLY_SIMULATED[1:] if name in table.header]
    shown += ["forward_equivalents", "seconds"]
    rows = [[row[name] for name in (*table.keys, *shown)] for row in table.rows]
    parts = [tables.aligned([*table.keys, *(n.replace("_", " ") for n in shown)], rows)]
    found = groups(table, replicates)
    if len(found) < len(table.rows):
        parts.append(_means(found, shown, replicates))
    parts += [f"{row['run']}: {row['problem']}" for row in table.rows if row["problem"]]
    parts.append(_verdict(best(found, choose_by), choose_by, tested, replicates, workdir))
    return "\n\n".join(parts)


def _table(keys, planned, outcomes) -> Table:
    simulated = not all(np.isnan(outcome["planted"]) for outcome in outcomes)
    every = dict.fromkeys(n for outcome in outcomes for n in outcome)
    columns = [n for n in every if simulated or n not in ONLY_SIMULATED]
    rows = [
        {key: cell(_value(job.config, key)) for key in keys}
        | {name: outcome.get(name, np.nan) for name in columns}
        | {"run": job.workdir.name}
        for job, outcome in zip(planned, outcomes, strict=True)
    ]
    return Table((*keys, *columns, "run"), keys, rows)


def _value(config, key):
    for word in key.split("."):
        config = config[word]
    return config


def _short(key, setting):
    """The last words of a dotted key that tell it from the setting's other keys."""
    words = key.split(".")
    tails = [".".join(words[i:]) for i in range(len(words) - 1, -1, -1)]
    others = [f".{other}" for other in setting if other != key]
    return next((t for t in tails if not any(o.endswith(f".{t}") for o in others)), key)


def _means(found, shown, replicates) -> str:
    header = [*found[0].setting, "runs", *(name.replace("_", " ") for name in shown)]
    rows = [
        [*group.setting.values(), len(group.rows), *(spread(column(group.rows, n)) for n in shown)]
        for group in found
    ]
    return f"mean ± SD over {', '.join(replicates)}\n{tables.aligned(header, rows)}"


def _verdict(group, choose_by, tested, replicates, workdir) -> str:
    if group is None:
        return f"no best setting: no run has a verification {choose_by}"
    setting = ", ".join(f"{k}={v}" for k, v in group.setting.items()) or "the only setting"
    over = f" over {len(group.rows)} runs that differ in {', '.join(replicates)}"
    measured = ", ".join(
        f"{name.replace('_', ' ')} {spread(column(group.rows, name))}"
        for name in dict.fromkeys((f"verification_{choose_by}", *tested))
    )
    return (
        f"best by verification {choose_by}: {setting}\n"
        f"{measured}{over if len(group.rows) > 1 else ''}\n"
        f"its best run: {pathlib.Path(workdir) / best_run(group, choose_by)['run']}"
    )
