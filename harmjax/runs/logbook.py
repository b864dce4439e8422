"""The tables of a run: decisions.csv, harm.csv, metrics.csv, confusion.csv and cost.json.

Everything here is plain NumPy and text. Rows of cycles that a resumed run will repeat are dropped
when the logbook is opened, so that a killed run ends with the same tables.
"""

import json
import math
import pathlib

import jax
import numpy as np

from harmjax import metrics, tables, task, types
from harmjax.federations import traffic
from harmjax.runs import preparation

KEYS = ("cycle", "stop", "centre", "kind", "subjects")
COUNTS = ("tp", "fp", "tn", "fn", "fpr", "fnr", "reference_fpr", "reference_fnr")
VERDICT = ("allowed", "accepted", "p_value")
HARM_TEXTS = ("subject", "centre", "verdict", "kind")  # columns of harm.csv
HARM_WHOLE = ("label", "cycle", "corrupted")
FORWARD_EQUIVALENTS = {"forward": 1, "gradient": 3, "jvp": 2}


def decision_columns(classes) -> tuple[str, ...]:
    """Columns of decisions.csv: of two classes counts and rates, of more the errors of each.

    Args:
        classes: [K] names.
    """
    if len(classes) == 2:
        return *KEYS, *COUNTS, *VERDICT
    each = (f"{what}_{name}" for what in ("errors", "n", "reference") for name in classes)
    return *KEYS, *each, *VERDICT


def metric_columns(classes, *, exact: bool = True) -> tuple[str, ...]:
    """Columns of metrics.csv and delivered.csv.

    Args:
        classes: [K] names.
        exact: Whether scans are at hand; else AUROCs are of histograms, and their error is told.
    """
    error = () if exact else ("auroc_error",)
    return "cycle", "split", "group", *metrics.names(classes), *error


def error_rates(confusion) -> list[float]:
    """The error rate of each class [K] of concrete counts [K, K]; NaN without scans of it."""
    confusion = np.asarray(confusion)
    pairs = zip(task.errors(confusion).tolist(), task.totals(confusion).tolist(), strict=True)
    return [wrong / number if number else math.nan for wrong, number in pairs]


def baseline_row(cycle: int, confusion) -> list:
    """The row of decisions.csv that sets the first reference."""
    numbers = _numbers(np.asarray(confusion), None)
    return [cycle, None, "", "baseline", "", *numbers, None, 1, None]


def decision_rows(cycle, stops, info, closing, names, centres, centre_of) -> list[list]:
    """Rows of decisions.csv for one cycle, in the order of the verifications.

    Args:
        cycle: The cycle.
        stops: `types.Stop` of [T].
        info: Of the stops, [T, R].
        closing: Of the close, [R].
        names: [N] names of the training samples.
        centres: Names of the centres.
        centre_of: [N] int, index of each sample's centre.
    """
    stops, info, closing = jax.device_get((stops, info, closing))
    rows = []
    for stop, row in np.argwhere(_decided(info)):
        one = jax.tree.map(lambda x: x[stop, row], info)  # noqa: B023
        rows.append(_row(cycle, int(stop), centres[stops.centre[stop]], one, names))
    for row in np.flatnonzero(_decided(closing)):
        one = jax.tree.map(lambda x: x[row], closing)  # noqa: B023
        where = centres[centre_of[one.ids[one.ids < len(names)][0]]]
        rows.append(_row(cycle, None, where, one, names))
    return rows


def _decided(info):
    return np.isin(info.kind, (*types.COMPARED, *types.JUDGED))


def _row(cycle, stop, centre, one, names) -> list:
    subjects = ";".join(names[i] for i in one.ids if i < len(names))
    is_compared = int(one.kind) in types.COMPARED
    numbers = _numbers(one.confusion, one.reference if is_compared else None)
    allowed = round(float(one.allowed), 6) if is_compared else None
    kind = types.TRIAL_KINDS[int(one.kind)]
    verdict = [allowed, int(one.accepted), float(one.p_value)]
    return [cycle, stop, centre, kind, subjects, *numbers, *verdict]


def _numbers(confusion, reference) -> list:
    """What `decision_columns` has of confusion counts [K, K], and of a reference's or None."""
    if len(confusion) == 2:
        (tn, fp), (fn, tp) = confusion.tolist()
        before = [None, None] if reference is None else error_rates(reference)
        return [tp, fp, tn, fn, *error_rates(confusion), *before]
    before = [None] * len(confusion) if reference is None else task.errors(reference).tolist()
    return [*task.errors(confusion).tolist(), *task.totals(confusion).tolist(), *before]


def metric_rows(cycle, evaluation) -> list[list]:
    """Rows of metrics.csv for one cycle, one per split and subgroup.

    Args:
        cycle: The cycle.
        evaluation: Split -> subgroup -> `metrics.Assessed`.
    """
    return [
        [cycle, split, group, *found.measured.values()]
        for split, groups in evaluation.items()
        for group, found in groups.items()
    ]


def confusion_columns(classes) -> tuple[str, ...]:
    """Columns of confusion.csv, which has a row per true class."""
    return "class", "n", *(f"predicted_{name}" for name in classes)


def confusion_rows(found: metrics.Assessed, classes) -> list[list]:
    """Rows of confusion.csv; a scan whose logits are NaN counts in `n` only.

    Args:
        found: Of the scans.
        classes: [K] names.
    """
    rows = zip(classes, found.number.tolist(), found.confusion.tolist(), strict=True)
    return [[name, number, *taken] for name, number, taken in rows]


def cost_entry(phase: str, cycle: int, asked) -> dict:
    """What one cycle cost: passes in samples, and bytes that left centres.

    Learning is training, counting errors verification, and all else that is asked is scoring. What
    is asked between cycles, to start a reference or to write metrics.csv, is not counted.

    Args:
        phase: Of the run.
        cycle: The cycle.
        asked: What was asked of the centres, from `programs.Program.asked`.
    """
    parts: dict[str, dict] = {"learn": {}, "confusion": {}, "score": {}}
    for request, number in asked.items():
        parts[request.name if request.name in parts else "score"][request] = number
    passes = {name: _passes(part) for name, part in parts.items()}
    sent = {name: sum(traffic.bytes_back(*item) for item in p.items()) for name, p in parts.items()}
    return {
        "phase": phase,
        "cycle": cycle,
        "gradient": passes["learn"]["gradient"],
        "forward": passes["confusion"]["forward"],
        "score": passes["score"],
        "verifications": sum(number.times for number in parts["confusion"].values()),
        "model_bytes": sent["learn"],
        "count_bytes": sent["confusion"],
        "score_bytes": sent["score"],
    }


def _passes(asked) -> dict:
    return {
        kind: sum(n.samples * request.passes.count(kind) for request, n in asked.items())
        for kind in FORWARD_EQUIVALENTS
    }


def summarise_cost(entries) -> dict:
    """The content of cost.json: totals of the phases warm-up, train, verify and score, and cycles.

    Training, verification and scoring run in one program, so their seconds are under `train`.
    """
    warm = [e for e in entries if e["phase"] == "warmup"]
    rest = [e for e in entries if e["phase"] != "warmup"]

    def phase(of, gradient, forward, timed):
        passes = {
            "gradient": sum(e["gradient"] for e in of) if gradient else 0,
            "forward": sum(e["forward"] for e in of) if forward else 0,
        }
        return _phase(
            passes,
            seconds=sum(e["seconds"] for e in of) if timed else 0.0,
            num_bytes=sum(e["model_bytes"] * gradient + e["count_bytes"] * forward for e in of),
        )

    score = {
        kind: sum(e.get("score", {}).get(kind, 0) for e in rest) for kind in FORWARD_EQUIVALENTS
    }
    phases = {
        "warm-up": phase(warm, True, False, True),
        "train": phase(rest, True, False, True),
        "verify": phase(rest, False, True, False),
        "score": _phase(score, 0.0, sum(e.get("score_bytes", 0) for e in rest)),
    }
    return {"phases": phases, "forward_equivalents": FORWARD_EQUIVALENTS, "cycles": list(entries)}


def read_cost(path) -> list[dict]:
    """The entries of cost.json by cycle; none if there is no file.

    Raises:
        ValueError: It is damaged; names it.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["cycles"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _phase(passes, seconds, num_bytes) -> dict:
    passes = {kind: passes.get(kind, 0) for kind in FORWARD_EQUIVALENTS}
    return passes | {
        "forward_equivalents": equivalents(passes),
        "seconds": round(seconds, 3),
        "bytes": num_bytes,
    }


def equivalents(passes) -> int:
    """Forward-equivalents of a dictionary of passes."""
    return sum(weight * passes.get(kind, 0) for kind, weight in FORWARD_EQUIVALENTS.items())


def class_labels(labels, classes) -> list:
    """What harm.csv calls the class [N] of every sample: 0 or 1 of two, its name of more.

    Nothing where the label is -1, not known here.

    Args:
        labels: [N] int.
        classes: [K] names.
    """
    labels = np.asarray(labels).tolist()
    known = range(2) if len(classes) == 2 else classes
    return [known[label] if label >= 0 else None for label in labels]


def harm_rows(study: preparation.Study, verdicts: types.Verdicts, mask) -> list[dict]:
    """The rows of harm.csv, one per training sample, with their values as they read back.

    Of a person's word only 'dropped' is a verdict of its own, unless the policy had eliminated the
    sample. NaN where nothing is known.

    Args:
        study: Of the run.
        verdicts: Of its policy.
        mask: [N] what the delivered model is trained on.
    """
    verdicts, drop, rows = jax.device_get(verdicts), study.drop, []
    labels = class_labels(study.train.label, study.classes)
    for i, name in enumerate(study.names):
        verdict = "eliminated" if verdicts.eliminated[i] else "kept"
        verdict = "pending" if verdicts.pending[i] else verdict
        if drop[i] and verdict != "eliminated":
            verdict = "dropped"
        row = {
            "subject": name,
            "centre": study.centres[study.train.centre[i]],
            "label": labels[i],
            "harm": float(verdicts.harm[i]),
            **{column: float(evidence[i]) for column, evidence in verdicts.evidence.items()},
            "p_value": None if verdicts.p_value is None else float(verdicts.p_value[i]),
            "mask": float(mask[i]),
            "verdict": verdict,
            "cycle": int(verdicts.cycle[i]) if verdicts.cycle[i] >= 0 else None,
        }
        if study.simulated:
            row |= {"corrupted": int(study.corrupted[i]), "kind": study.kind[i]}
        rows.append({column: tables.stored(value) for column, value in row.items()})
    return rows


def write_harm(path, rows) -> None:
    """Writes harm.csv.

    Args:
        path: Of the file.
        rows: From `harm_rows`.
    """
    tables.write(path, list(rows[0]), [row.values() for row in rows])


def read_harm(path, classes=types.BINARY) -> list[dict]:
    """The rows of harm.csv as `harm_rows` gives them; none if there is no file.

    Args:
        path: Of the file.
        classes: [K] names, of the run.

    Raises:
        ValueError: A field is cut off, or no number.
    """
    texts = HARM_TEXTS if len(classes) == 2 else (*HARM_TEXTS, "label")
    return [tables.typed(row, texts=texts, whole=HARM_WHOLE) for row in tables.read(path)]


def rows_but(path, header, cycles: range) -> list[list[str]]:
    """Rows of a table but those of cycles that will be repeated; none if there is no table.

    Raises:
        ValueError: It is damaged; names it.
    """
    try:
        rows = [[row[name] for name in header] for row in tables.read(path)]
        if any(None in row for row in rows):
            raise ValueError("a row is cut")
        return [row for row in rows if int(row[0]) not in cycles]
    except (ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path, error) -> ValueError:
    return ValueError(
        f"{path} is damaged ({error!r}): put it back, or train anew in another workdir"
    )
