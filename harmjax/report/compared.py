"""How pages that compare runs tell misdiagnosis: both rates, or of more classes mean and worst."""

import numpy as np

from harmjax.report import results
from harmjax.sweeps import sweep

LOWEST = "test_lowest_sensitivity"
RATES = (("test_fpr", "False-positive rate, test"), ("test_fnr", "False-negative rate, test"))
BY_CLASS = (("test_balanced_accuracy", "Balanced accuracy, test"),
            (LOWEST, "Lowest sensitivity, test"))  # fmt: skip


def with_lowest(rows) -> list[dict]:
    """Rows of runs; those of more than two classes with the lowest of their sensitivities too."""
    each = [name for name in sweep.rates(tuple(rows[0])) if name.startswith("test_sensitivity_")]
    if not each:
        return rows
    lowest = np.min([results.column(rows, name) for name in each], axis=0)  # NaN if one is unknown
    known = [f"{value:.9g}" if np.isfinite(value) else "" for value in lowest]
    return [row | {LOWEST: text} for row, text in zip(rows, known, strict=True)]


def drawn(rows) -> tuple[tuple[str, str], ...]:
    """Columns and titles of the charts, of rows from `with_lowest`."""
    return BY_CLASS if LOWEST in rows[0] else RATES


def error(rows) -> tuple[np.ndarray, str]:
    """The error rate [R] of every run, mean over classes, and what it is called."""
    if LOWEST in rows[0]:
        return 1 - results.column(rows, "test_balanced_accuracy"), "mean over classes"
    fpr, fnr = (results.column(rows, name) for name, _ in RATES)
    return (fpr + fnr) / 2, "mean of both error rates"


def is_share(name: str) -> bool:
    """Whether a column is shown in percent."""
    drawn = [column for column, _ in (*RATES, *BY_CLASS)]
    return name in ("recall", "false_rate", *drawn) or name.startswith("test_sensitivity_")
