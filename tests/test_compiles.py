"""Nothing is compiled again after the first cycle of a phase: not for a cycle, batch or centre."""

import re

import jax
import pytest

from harmjax.engine import travel
from harmjax.runs import preparation, training
from tests import sites

RUNS = [
    ("verify_revisit", "memory"),
    ("none", "stream"),
    ("screen", "memory"),
    ("screen", "loopback"),
]


@pytest.mark.parametrize(("policy", "federation"), RUNS)
def test_no_cycle_but_a_phases_first_compiles(
    patients, tmp_path, monkeypatch, caplog, policy, federation
):
    """Centres of 1 to 12 patients, a bad one whose batches are rejected, stops in calls of four."""
    patients.policy.name, messages = policy, {}
    patients.train.warmup_cycles, patients.train.cycles = 3, 7
    if policy == "screen":
        patients.policy.screen.families = ("margin", "mahalanobis")
        patients.train.minimum_group = 2
    if federation == "loopback":
        study = preparation.prepare(patients, tmp_path / "data", progress=False)
        factory = sites.of_study(patients, study)
        messages = {"study": sites.without_rows(study), "federation": factory}
    else:
        patients.train.federation = federation
    real, programs, compiled = travel.cycle, [], []

    def counted(steps, traveller, cycle):
        caplog.clear()
        result = real(steps, traveller, cycle)
        if not programs or steps is not programs[-1]:
            programs.append(steps)
            compiled.append([])
        compiled[-1].append(re.findall(r"Finished XLA compilation of (\S+)", caplog.text))
        return result

    monkeypatch.setattr(travel, "cycle", counted)
    with jax.log_compiles():
        training.train(patients, tmp_path / "run", progress=False, **messages)
    assert len(compiled) >= 2 and any(cycles[0] for cycles in compiled)
    for cycles in compiled:
        if federation == "loopback":  # a branch in Python fills its zeros when it is first taken
            cycles = [[name for name in c if name != "jit(broadcast_in_dim)"] for c in cycles]
        assert len(cycles) >= 3 and not any(cycles[1:]), cycles
