"""Folders of runs: one process at a time, whole files, checkpoints that are complete."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import models, policies, tables, types, workdirs
from harmjax.engine import learner
from harmjax.runs import checkpoints, evaluation, recorded, training

ROOT = pathlib.Path(__file__).parent.parent
# In a process of its own, because orbax leaves coroutines behind that never run.
DAMAGED = """
import pathlib, sys
from harmjax import types
from harmjax.runs import checkpoints
from tests.test_workdirs import model
folder = pathlib.Path(sys.argv[1])
def said(restore, like):
    try:
        restore(folder, "final", like)
        print("restored")
    except ValueError as error:
        print(" ".join(str(error).split()))
said(checkpoints.restore_model, model(width=4))
said(checkpoints.restore_model, model().params)
said(checkpoints.restore, types.Travel(model(), ()))
files = [path for path in (folder / "final").rglob("*") if path.is_file()]
largest = max(files, key=lambda path: path.stat().st_size)
whole = largest.read_bytes()
for damaged in (b"", whole[:100], whole[: len(whole) // 2], whole[:200] + b"!" + whole[201:]):
    largest.write_bytes(damaged)
    said(checkpoints.restore_model, model())
"""
HOLD = """
import subprocess, sys
from harmjax import workdirs
with workdirs.held(sys.argv[1]):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    print(child.pid, flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a folder, and its child."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.communicate()
    os.kill(child, signal.SIGKILL)


def test_a_folder_in_use_is_refused_until_its_process_dies_however_that_is(tmp_path, holder):
    with (
        pytest.raises(ValueError, match=rf"run is in use by process {holder.pid} on "),
        workdirs.held(tmp_path / "run"),
    ):
        pass
    holder.kill()
    holder.wait()  # its child, started while it held the folder, lives on
    with workdirs.held(tmp_path / "run"):
        pass


def test_a_thread_may_hold_a_folder_again_and_others_may_not(tmp_path):
    refused = []

    def other():
        try:
            with workdirs.held(tmp_path / "a" / ".." / "run"):
                pass
        except ValueError as error:
            refused.append(str(error))

    (tmp_path / "a").mkdir()
    with workdirs.held(tmp_path / "run"):
        with workdirs.held(tmp_path / "run"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1 and "another thread" in refused[0]
    other()
    assert len(refused) == 1


def test_training_does_not_begin_in_a_folder_in_use(patients, tmp_path, holder):
    with pytest.raises(ValueError, match=f"in use by process {holder.pid}"):
        training.train(patients, tmp_path / "run", progress=False)
    assert os.listdir(tmp_path / "run") == [".lock"]


def test_what_a_kill_left_goes_when_the_folder_is_held_again(tmp_path):
    left = [".metrics.csv.123.part", "retrained/a/.rows_0000001.npz.7.part"]
    left += ["checkpoints/control_0003.part/x"]
    left += ["checkpoints/control_0004.part.orbax-checkpoint-tmp/x"]
    kept = ["film.mp4.part", "metrics.csv", "checkpoints/control_0002/x"]
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert checkpoints.cycles(tmp_path / "checkpoints", "control") == [2]
    with workdirs.held(tmp_path):
        pass
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {*kept, ".lock"}


def test_a_file_that_cannot_be_written_is_named_and_its_old_content_stays(tmp_path):
    path = tmp_path / "a.csv"
    tables.write(path, ["x"], [[1]])
    with pytest.raises(OSError) as failed, workdirs.replacing(path) as file:
        file.write(b"half")
        raise OSError(28, "No space left on device")
    assert failed.value.filename == str(path) and failed.value.errno == 28
    assert path.read_text() == "x\n1\n" and os.listdir(tmp_path) == ["a.csv"]


def model(width=3):
    lrn = learner.learner(models.get("mlp")(), learner.published_schedule(0.1, 0.0))
    return lrn.init(jax.random.key(0), jnp.zeros((1, width)))


@pytest.mark.parametrize("name", policies.names())
def test_a_checkpoint_comes_back_bit_for_bit_with_and_without_the_state(tmp_path, name):
    factory = policies.get(name)
    policy = factory(corrupted=np.zeros(7, bool)) if name == "oracle" else factory()
    odd = jnp.array([jnp.nan, -0.0, 1e-40])
    start = types.Travel(model(), policy.init(7, jnp.array([[2, 1], [3, 0]], jnp.int32)))
    checkpoints.save(tmp_path, "control_0001", start)
    back = checkpoints.restore(tmp_path, "control_0001", start)
    assert jax.tree.structure(back) == jax.tree.structure(start)
    for x, y in zip(jax.tree.leaves(back), jax.tree.leaves(start), strict=True):
        assert (x.dtype, np.asarray(x).tobytes()) == (y.dtype, np.asarray(y).tobytes())
    alone = checkpoints.restore_model(tmp_path, "control_0001", start.model)
    assert jax.tree.all(jax.tree.map(np.array_equal, alone, start.model))
    checkpoints.save(tmp_path, "odd", types.Travel(odd.astype(jnp.bfloat16), odd))
    back = checkpoints.restore(tmp_path, "odd", types.Travel(odd.astype(jnp.bfloat16), odd))
    assert np.asarray(back.state).tobytes() == np.asarray(odd).tobytes()
    assert back.model.dtype == jnp.bfloat16


def test_a_checkpoint_of_something_else_or_a_damaged_one_is_refused_by_name(tmp_path):
    checkpoints.save_model(tmp_path, "final", model())
    with pytest.raises(ValueError, match=r"no checkpoint .*control_0001: train first"):
        checkpoints.restore_model(tmp_path, "control_0001", model())
    done = subprocess.run(
        [sys.executable, "-c", DAMAGED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    said = done.stdout.splitlines()
    assert len(said) == 7, done.stderr
    for line in said:
        assert f"{tmp_path}/final is of another model or policy, or damaged" in line


@pytest.mark.parametrize("name", policies.names())
def test_a_run_of_every_policy_is_evaluated_at_every_cycle(patients, tmp_path, name):
    patients.policy.name, patients.train.keep_checkpoints = name, "all"
    patients.train.minimum_group, patients.train.cycles = 2, 5
    outcome = training.train(patients, tmp_path / "run", progress=False)
    rows = evaluation.evaluate(tmp_path / "run", "test").rows
    found = {(row[0], row[1]): row[-1] for row in rows if row[3] == "all"}
    cycles = [("warmup", c) for c in (0, 1)] + [("control", c) for c in (2, 3, 4)]
    assert set(cycles) < set(found) and found["final", 4] == pytest.approx(outcome.metrics["loss"])
    written = {
        int(row["cycle"]): float(row["loss"])
        for row in tables.read(tmp_path / "run" / "metrics.csv")
        if (row["split"], row["group"]) == ("test", "all")
    }
    for phase, cycle in cycles:
        assert found[phase, cycle] == pytest.approx(written[cycle], rel=1e-6)


@pytest.mark.parametrize(
    "content, words",
    [
        ({"config": {}}, "written by an older harmjax"),
        ({"format": 1, "config": {}}, "written by an older harmjax"),
        ({"format": recorded.FORMAT + 1, "config": {}}, "written by a newer harmjax"),
        ({"format": recorded.FORMAT}, "is not the config.json of a run"),
        ([], "is not the config.json of a run"),
        (None, "has checkpoints and no config.json"),
    ],
)
def test_workdirs_of_another_format_are_refused_in_words(tmp_path, content, words):
    (tmp_path / "checkpoints" / "final").mkdir(parents=True)
    if content is not None:
        (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        recorded.config(tmp_path)


def test_a_table_that_lost_a_finished_cycle_is_noticed_when_the_run_goes_on(patients, tmp_path):
    patients.train.cycles = 4
    training.train(patients, tmp_path, progress=False)
    rows = (tmp_path / "metrics.csv").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.csv").write_text("".join(r for r in rows if not r.startswith("3,")))
    with pytest.raises(ValueError, match=r"metrics.csv has no row of cycle 3, which is finished"):
        training.train(patients, tmp_path, progress=False)
