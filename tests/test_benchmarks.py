"""What the benchmarks say where they cannot run, and how they keep their tables."""

import os
import subprocess
import sys

from benchmarks import record, step


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


def test_functions_take_turns_after_one_call_unmeasured():
    calls = []
    took = record.in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
    assert calls == list("ababab") and set(took) == {"a", "b"}


def test_arithmetic_of_the_first_layer_by_hand():
    one = 2 * 27 * 2 * 2 * 2 * 1  # 2 x 2 x 2 voxels, one channel in and out, in every layer
    assert step.arithmetic((2, 2, 2), 1 / 256) == one + 4 * 2 * 27 + 2
