"""What the benchmarks say where they cannot run, and how they keep their tables."""

import gzip
import json
import os
import subprocess
import sys

import jax
import numpy as np

from benchmarks import cycles, record, step
from benchmarks.gpu import trace
from harmjax import models, policies
from harmjax.engine import learner as learners


def test_the_gpu_benchmark_says_that_there_is_none():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no NVIDIA GPU" in done.stderr


def test_a_table_keeps_every_column_and_the_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    record.write("these", [{"what": "a", "seconds": 1.5}, {"what": "b", "ratio": 2}])
    header, first, second = (tmp_path / "these.csv").read_text().splitlines()
    assert header == "what,seconds,ratio,device,jax,python"
    assert first.startswith("a,1.5,,") and second.startswith("b,,2,")
    assert "ratio" in capsys.readouterr().out


def test_a_part_takes_the_place_of_its_own_rows_only(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    (tmp_path / "these.csv").write_text("what,seconds\nof no part,1\n")
    record.keep("these", "one", [{"what": "a", "seconds": 1}])
    record.keep("these", "two", [{"what": "b", "ratio": 2}])
    record.keep("these", "one", [{"what": "c", "seconds": 3}])
    header, first, second = (tmp_path / "these.csv").read_text().splitlines()
    assert header == "part,what,seconds,ratio,device,jax,python"
    assert first.startswith("two,b,,2,") and second.startswith("one,c,3,,")


def test_kernels_of_a_trace_are_those_of_the_streams(tmp_path):
    def complete(pid, tid, name, microseconds, operation):
        return {
            "ph": "X",
            "pid": pid,
            "tid": tid,
            "name": name,
            "dur": microseconds,
            "args": {"hlo_op": operation},
        }

    def about(kind, pid, name, **more):
        return {"ph": "M", "name": kind, "pid": pid, "args": {"name": name}} | more

    events = [
        about("process_name", 1, "/device:GPU:0"),
        about("process_name", 2, "/host:CPU"),
        about("thread_name", 1, "Stream #7(Compute)", tid=7),
        about("thread_name", 1, "XLA Ops", tid=8),
        complete(1, 7, "gemm", 2.0, "dot.1"),
        complete(1, 7, "gemm", 3.0, "dot.1"),
        complete(1, 7, "gemm", 1.0, "dot.2"),
        complete(1, 7, "loop", 5.5, "fusion"),
        complete(1, 8, "dot.1", 5.0, "dot.1"),
        complete(2, 1, "launch", 9.0, ""),
    ]
    (tmp_path / "plugins").mkdir()
    with gzip.open(tmp_path / "plugins" / "a.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": events}, file)
    assert trace.kernels(tmp_path) == [
        ("loop", "fusion", 5.5, 1),
        ("gemm", "dot.1", 5.0, 2),
        ("gemm", "dot.2", 1.0, 1),
    ]


def test_functions_take_turns_after_one_call_unmeasured():
    calls = []
    took = record.in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
    assert calls == list("ababab") and set(took) == {"a", "b"}


def test_arithmetic_of_the_first_layer_by_hand():
    one = 2 * 27 * 2 * 2 * 2 * 1  # 2 x 2 x 2 voxels, one channel in and out, in every layer
    assert step.arithmetic((2, 2, 2), 1 / 256) == one + 4 * 2 * 27 + 2


def test_a_cycle_of_a_benchmark_trains_on_everyone():
    train, held_out = cycles.noise([7, 3], 10, shape=(2,))
    learner = learners.learner(models.get("mlp")(hidden=()), learners.published_schedule())
    policy = policies.get("none")()
    program = cycles.program(learner, policy, train, held_out, jax.random.key(0), batch_size=2)
    before = cycles.start(learner, policy, program, train.image)
    met = np.asarray(program.steps.draw(before, 0).ids)
    assert sorted(met[met < 10]) == [*range(10)] and program.num_stops == len(met) == cycles.STOPS
    after = cycles.cycle(program, before, 0)
    assert int(after.model.opt_state.count) == 6
