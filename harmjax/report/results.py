"""The tables of a finished run, read back from its workdir."""

import json
import math
import pathlib
from typing import NamedTuple

import numpy as np

from harmjax import plugins, tables, types
from harmjax.runs import logbook

HARM = ("subject", "centre", "label", "harm", "p_value", "mask", "verdict", "cycle")
SIMULATED = ("corrupted", "kind")
LONGEST = 26  # letters of a class's name above a chart


class Kind(NamedTuple):
    """One kind of misdiagnosis: that of scans of one class."""

    name: str  # column of its rate; `reference_NAME` is that of the last accepted model
    title: str
    short: str


BINARY = (
    Kind("fpr", "False-positive rate", "FPR"),
    Kind("fnr", "False-negative rate", "FNR"),
)


class Confusion(NamedTuple):
    """confusion.csv: the delivered model on the test scans."""

    number: np.ndarray  # [K] int, scans of each class
    taken: np.ndarray  # [K, K] int, those of the row's class that were taken for the column's


class Harm(NamedTuple):
    """harm.csv by column."""

    subject: list[str]  # [N]
    centre: np.ndarray  # [N] str
    label: np.ndarray  # [N] int, index of the class
    harm: np.ndarray  # [N] float, NaN where unknown
    p_value: np.ndarray  # [N] float, NaN where there is none
    mask: np.ndarray  # [N] float, what the delivered model was trained on
    verdict: np.ndarray  # [N] str: kept, pending, eliminated, dropped
    cycle: np.ndarray  # [N] float, of the verdict, NaN where there is none
    evidence: dict  # column -> [N] float
    corrupted: np.ndarray  # [N] bool, all False unless simulated
    kind: list[str]  # [N] the harm planted, '' where none
    simulated: bool


class Results(NamedTuple):
    """What one run left in its workdir."""

    workdir: pathlib.Path
    config: dict  # {} where the run was started without writing it down
    versions: dict
    devices: list
    harm: Harm
    decisions: list  # rows of text
    metrics: list  # of the travelled model; none of a shadow
    delivered: list  # of the retrained model, [] where nothing was retrained
    cost: list  # entries by phase and cycle
    classes: tuple[str, ...]  # [K] names
    kinds: tuple[Kind, ...]  # [K] of misdiagnosis
    confusion: Confusion | None  # None where the run wrote none


def read(workdir, classes=types.BINARY) -> Results:
    """Everything that a run wrote.

    Args:
        workdir: Of the run.
        classes: [K] names. Of more than two, rows of decisions and metrics also get the columns of
            `Results.kinds`, as rates.

    Raises:
        ValueError: The run is not finished, or has other classes; names the table.
    """
    workdir = pathlib.Path(workdir)
    measured = "delivered.csv" if (workdir / "delivered.csv").exists() else "metrics.csv"
    for name in ("harm.csv", measured):
        if not (workdir / name).exists():
            raise ValueError(
                f"{workdir} holds no {name}: the run is not finished; run it again to resume it"
            )
    about = workdir / "config.json"
    about = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    return Results(
        workdir=workdir,
        config=about.get("config", {}),
        versions=about.get("versions", {}),
        devices=about.get("devices", []),
        harm=_harm(tables.read(workdir / "harm.csv"), classes),
        decisions=_with_rates(tables.read(workdir / "decisions.csv"), classes, _decided),
        metrics=_with_rates(tables.read(workdir / "metrics.csv"), classes, _measured),
        delivered=_with_rates(tables.read(workdir / "delivered.csv"), classes, _measured),
        cost=logbook.read_cost(workdir / "cost.json"),
        classes=tuple(classes),
        kinds=_kinds(classes),
        confusion=_confusion(workdir / "confusion.csv", classes),
    )


def _kinds(classes) -> tuple[Kind, ...]:
    if len(classes) == 2:
        return BINARY
    return tuple(
        Kind(f"error_{k}", f"Error rate: {shortened(name, LONGEST)}", name)
        for k, name in enumerate(classes)
    )


def _with_rates(rows, classes, rates) -> list[dict]:
    if len(classes) == 2:
        return rows
    named = [(kind.name, kind.short) for kind in _kinds(classes)]
    return [row | {k: v for pair in named for k, v in rates(row, *pair).items()} for row in rows]


def _decided(row, name, of) -> dict[str, str]:
    scans = number(row[f"n_{of}"])
    wrong = {name: row[f"errors_{of}"], f"reference_{name}": row[f"reference_{of}"]}
    return {column: _ratio(text, scans) for column, text in wrong.items()}


def _ratio(text, scans) -> str:
    return str(number(text) / scans) if text and scans else ""


def _measured(row, name, of) -> dict[str, str]:
    right = row[f"sensitivity_{of}"]
    return {name: str(1 - number(right)) if right else ""}


def _confusion(path, classes) -> Confusion | None:
    rows = tables.read(path)
    if not rows:
        return None
    if [row["class"] for row in rows] != list(classes):
        raise ValueError(f"{path} is not of the classes {', '.join(classes)}: run it again")
    taken = [[int(row[f"predicted_{name}"]) for name in classes] for row in rows]
    return Confusion(np.array([int(row["n"]) for row in rows]), np.array(taken))


def _harm(rows, classes) -> Harm:
    first = rows[0] if rows else {}
    known = (*HARM, *SIMULATED)
    simulated = "corrupted" in first
    called = logbook.class_labels(range(len(classes)), classes)
    known_as = {str(name): k for k, name in enumerate(called)}
    for label in sorted({row["label"] for row in rows}):
        plugins.one_of("label in harm.csv", label, known_as)
    return Harm(
        subject=[row["subject"] for row in rows],
        centre=np.array([row["centre"] for row in rows], object),
        label=np.array([known_as[row["label"]] for row in rows], int),
        **{name: column(rows, name) for name in ("harm", "p_value", "mask", "cycle")},
        verdict=np.array([row["verdict"] for row in rows], object),
        evidence={name: column(rows, name) for name in first if name not in known},
        corrupted=np.array([simulated and row["corrupted"] == "1" for row in rows], bool),
        kind=[row.get("kind", "") for row in rows],
        simulated=simulated,
    )


def shortened(name: str, most: int = 22) -> str:
    """A name that is cut visibly where it has more letters."""
    return name if len(name) <= most else name[: most - 1] + "…"


def number(text) -> float:
    """A field of a table as a number, NaN where it is empty."""
    return float(text) if text not in ("", None) else math.nan


def column(rows, name) -> np.ndarray:
    """One column of a table as numbers."""
    return np.array([number(row.get(name)) for row in rows], float)


def setting(results: Results, name: str, default=None):
    """One setting of the run, such as `policy.name`."""
    found = results.config
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return default
        found = found[part]
    return found


def curve(rows, split: str, name: str):
    """Cycles and values of one metric over all scans of one split."""
    chosen = [r for r in rows if r["split"] == split and r["group"] == "all"]
    return column(chosen, "cycle"), column(chosen, name)


def last(results: Results) -> list[dict]:
    """Rows of the delivered model on the test scans, by subgroup; [] if it was never measured."""
    rows = [r for r in results.delivered or results.metrics if r["split"] == "test"]
    return [r for r in rows if r["cycle"] == rows[-1]["cycle"]]


def equivalents(entry: dict) -> int:
    """Forward-equivalents of one entry of the cost: training, verification and scoring."""
    return logbook.equivalents(entry) + logbook.equivalents(entry.get("score", {}))


def passes(entry: dict, kind: str) -> int:
    """Passes of one kind in one entry of the cost."""
    return entry.get(kind, 0) + entry.get("score", {}).get(kind, 0)
