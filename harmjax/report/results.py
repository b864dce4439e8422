"""The tables of a finished run, read back from its workdir."""

import json
import math
import pathlib
from typing import NamedTuple

import numpy as np

from harmjax import logbook, tables

HARM = ("subject", "centre", "label", "harm", "p_value", "mask", "verdict", "cycle")
SIMULATED = ("corrupted", "kind")


class Harm(NamedTuple):
    """harm.csv by column."""

    subject: list[str]  # [N]
    centre: np.ndarray  # [N] str
    label: np.ndarray  # [N] int
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
    metrics: list  # of the travelled model
    delivered: list  # of the retrained model, [] where nothing was retrained
    cost: list  # entries by phase and cycle


def read(workdir) -> Results:
    """Everything that a run wrote.

    Raises:
        ValueError: The run is not finished; names the missing table.
    """
    workdir = pathlib.Path(workdir)
    for name in ("harm.csv", "metrics.csv"):
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
        harm=_harm(tables.read(workdir / "harm.csv")),
        decisions=tables.read(workdir / "decisions.csv"),
        metrics=tables.read(workdir / "metrics.csv"),
        delivered=tables.read(workdir / "delivered.csv"),
        cost=logbook.read_cost(workdir / "cost.json"),
    )


def _harm(rows) -> Harm:
    first = rows[0] if rows else {}
    known = (*HARM, *SIMULATED)
    simulated = "corrupted" in first
    return Harm(
        subject=[row["subject"] for row in rows],
        centre=np.array([row["centre"] for row in rows], object),
        label=np.array([int(row["label"]) for row in rows], int),
        **{name: column(rows, name) for name in ("harm", "p_value", "mask", "cycle")},
        verdict=np.array([row["verdict"] for row in rows], object),
        evidence={name: column(rows, name) for name in first if name not in known},
        corrupted=np.array([simulated and row["corrupted"] == "1" for row in rows], bool),
        kind=[row.get("kind", "") for row in rows],
        simulated=simulated,
    )


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


def curve(rows, split: str, name: str, group: str = "all"):
    """Cycles and values of one metric of one split and group."""
    chosen = [r for r in rows if r["split"] == split and r["group"] == group]
    return column(chosen, "cycle"), column(chosen, name)


def last(results: Results, split: str = "test") -> list[dict]:
    """Rows of the delivered model, one per subgroup; [] if it was never measured."""
    rows = [r for r in results.delivered or results.metrics if r["split"] == split]
    return [r for r in rows if r["cycle"] == rows[-1]["cycle"]]


def equivalents(entry: dict) -> int:
    """Forward-equivalents of one entry of the cost: training, verification and scoring."""
    return logbook.equivalents(entry) + logbook.equivalents(entry.get("score", {}))


def passes(entry: dict, kind: str) -> int:
    """Passes of one kind in one entry of the cost."""
    return entry.get(kind, 0) + entry.get("score", {}).get(kind, 0)
