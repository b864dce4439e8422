"""A few of the faults of `python -m tests.faults`."""

import pytest

from tests.faults import runs


@pytest.mark.parametrize("policy, shares", [("verify_revisit", (0.35, 0.8)), ("screen", (0.6,))])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, policy, shares):
    case = runs.case(policy, f"tests/faults/study.py:{policy}", runs.patients(tmp_path), tmp_path)
    for number, share in enumerate(shares):
        row = runs.killed(case, tmp_path / f"killed{number}", share)
        assert (row.code, row.same) == (0, True), row
    if policy == "verify_revisit":
        model = runs.largest(case.whole / "checkpoints" / "final")
        row = runs.full(case, tmp_path / "full", int(0.7 * model))
        assert row.fault.startswith(tuple(f"full at {phase}_" for phase in runs.PHASES)), row
        assert (row.code, row.same) == (0, True), row
