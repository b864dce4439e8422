"""Rows as records: what a function returns is what its table holds, and nothing is read back."""

import math
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmjax import offers, tables, types
from harmjax.runs import logbook, preparation
from harmjax.sweeps import detection

NUMBER = st.floats() | st.floats(width=32) | st.none()


@given(st.lists(st.tuples(NUMBER, st.none() | st.integers(), st.sampled_from(("", "nan", "1", ","))
                          | st.text("ab0.\"' \n")), min_size=1, max_size=4))  # fmt: skip
def test_what_is_read_is_what_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    tables.write(path, ("number", "whole", "text"), rows)
    found = [tables.typed(r, texts=("text",), whole=("whole",)) for r in tables.read(path)]
    expected = [[*map(tables.stored, row)] for row in rows]
    assert repr([[*row.values()] for row in found]) == repr(expected)


@pytest.mark.parametrize("row", [{"n": "1.5"}, {"loss": "O.1"}, {"loss": None}, {"run": None}])
def test_a_field_that_is_no_number_is_named(row):
    with pytest.raises(ValueError, match=f"{next(iter(row))}=.*: expected a number"):
        tables.typed(row, texts=("run",), whole=("n",))


def study(simulated):
    nothing = np.zeros((5, 2), np.float32)
    centre = np.array([0, 0, 1, 1, 1])
    some = types.Samples(nothing, np.array([0, 1, 0, 1, 1]), centre, np.arange(5, dtype="uint32"))
    corrupted = np.array([False, True, False, False, True])
    return preparation.Study(
        train=some, verification=some, test=some, names=("a", "b", "c", "d", "e"),
        centres=("North", "South"), groups={}, simulated=simulated, corrupted=corrupted,
        kind=("", "noise", "", "", "motion"), text="",
        word=np.array([0, 0, 0, offers.DROP, offers.DROP], np.int8),
    )  # fmt: skip


@pytest.mark.parametrize("simulated", [True, False])
def test_rows_of_harm_by_hand(tmp_path, simulated):
    verdicts = types.Verdicts(
        harm=np.array([0.1, np.nan, 1 / 3, -2, 5], np.float32),
        pending=np.array([False, True, False, False, False]),
        eliminated=np.array([False, False, False, False, True]),
        cycle=np.array([-1, 3, -1, -1, 0]),
        evidence={"margin": np.arange(5.0)},
    )
    rows = logbook.harm_rows(study(simulated), verdicts, np.array([1, 0, 0.5, 0, 0]))
    assert [row["verdict"] for row in rows] == [
        *("kept", "pending", "kept", "dropped", "eliminated")
    ]
    planted = {"corrupted": 1, "kind": "noise"} if simulated else {}
    assert repr(rows[1]) == repr(
        {"subject": "b", "centre": "North", "label": 1, "harm": math.nan, "margin": 1.0,
         "p_value": math.nan, "mask": 0.0, "verdict": "pending", "cycle": 3} | planted
    )  # fmt: skip
    assert rows[0]["harm"] == 0.100000001 and math.isnan(rows[0]["cycle"])
    logbook.write_harm(tmp_path / "harm.csv", rows)
    assert repr(logbook.read_harm(tmp_path / "harm.csv")) == repr(rows)
    lines = (tmp_path / "harm.csv").read_text().splitlines()
    assert lines[3] == "c,South,0,0.333333343,2,,0.5,kept," + (",0," if simulated else "")


def test_a_grid_reads_no_table_that_it_has_just_written(patients, tmp_path):
    patients.train.warmup_cycles, patients.train.cycles = 1, 2
    patients.detect.scenarios, patients.detect.count.singles = ("singles",), 4
    patients.detect.harms, patients.detect.policies = (("label_flip",),), ("oracle",)

    def finished(workdir, _):
        for name in ("harm", "metrics", "decisions"):
            (pathlib.Path(workdir) / f"{name}.csv").unlink()

    def ask():
        quiet = {"say": lambda _: None, "progress": False}
        return detection.detect(patients, tmp_path, finished=finished, **quiet)

    (row,), (harm,) = ask()
    assert (row["planted"], row["eliminated"], row["hits"], row["good"]) == (4, 4, 4, 39)
    assert (harm["kind"], harm["recall"]) == ("label_flip", 1.0)
    assert len(tables.read(tmp_path / "detection.csv")) == 1
    with pytest.raises(ValueError, match="harm.csv is missing or damaged"):
        ask()
