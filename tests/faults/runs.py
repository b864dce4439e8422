"""Runs that are killed, or whose disk is full, and what is left of them when they go on."""

import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from harmjax.runs import checkpoints
from tests import conftest

ROOT = pathlib.Path(__file__).parents[2]
TABLES = ("decisions.csv", "harm.csv", "metrics.csv", "delivered.csv", "manifest.csv")
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
PHASES = ("delivery", "control", "warmup")


class Case(NamedTuple):
    """One config on one cohort, and its run without a fault."""

    name: str
    command: tuple[str, ...]  # without --workdir
    whole: pathlib.Path  # workdir of the run without a fault
    seconds: float  # from its first file to its end


class Fault(NamedTuple):
    """One row of the table."""

    case: str
    fault: str
    at: str  # last finished cycle
    left: str  # unfinished files
    code: int  # of the run that went on
    same: bool  # tables and parameters, bit for bit


def patients(folder) -> pathlib.Path:
    """A manifest of tabular patients."""
    return conftest.write_patients(pathlib.Path(folder) / "patients.csv", bad_centre=3)


def case(name: str, config: str, manifest, folder) -> Case:
    """Runs a config without a fault in `folder/whole-NAME`.

    Raises:
        RuntimeError: It fails by itself.
    """
    command = (
        *(sys.executable, "-m", "experiments.train", f"--config={config}"),
        f"--config.data.manifest={manifest}",
    )
    made = Case(name, command, pathlib.Path(folder) / f"whole-{name}", 0.0)
    process = start(made, made.whole)
    began = _first_file(process, made.whole)
    _end(process)
    return made._replace(seconds=time.monotonic() - began)


def start(case: Case, workdir, largest: int | None = None) -> subprocess.Popen:
    """Starts or resumes a case.

    Args:
        case: What to run.
        workdir: Of the run.
        largest: Bytes that no file may exceed, as on a full disk.
    """

    within = () if largest is None else (sys.executable, "-c", LIMITED, str(largest))
    return subprocess.Popen(
        [*within, *case.command, f"--workdir={workdir}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(case: Case, workdir, share: float) -> Fault:
    """A run that is killed after a share of its time, and goes on.

    One that had ended by then, because its programs are compiled by now or the machine is faster,
    says how long a run takes, and is tried again.

    Raises:
        RuntimeError: It fails by itself.
    """
    workdir, seconds = pathlib.Path(workdir), case.seconds
    while True:
        process = start(case, workdir)
        began = _first_file(process, workdir)
        try:
            _end(process, timeout=share * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if process.returncode == -signal.SIGKILL:
            return resumed(case, workdir, f"SIGKILL at {share:.3f}")
        seconds = time.monotonic() - began
        shutil.rmtree(workdir)


def full(case: Case, workdir, largest: int) -> Fault:
    """A run that cannot write a file any more, and goes on when it can."""
    process = start(case, workdir, largest)
    place = named(process)
    found = resumed(case, pathlib.Path(workdir), f"full at {place or 'UNKNOWN'}")
    return found._replace(same=found.same and bool(place))


def named(process) -> str:
    """The file that a run on a full disk names as it ends, '' if it does not end as it should.

    It should end with exit code 1, and one line with the file and the remedy.
    """
    _, said = process.communicate()
    last = said.strip().splitlines()[-1] if said.strip() else ""
    found = re.fullmatch(r"error: (/\S+): [\w ]+: free some space and start .* it resumes", last)
    right = process.returncode == 1 and found and "Traceback" not in said
    return pathlib.Path(found[1]).name if right else ""


def resumed(case: Case, workdir, fault: str) -> Fault:
    """The row of a run that goes on after a fault."""
    at, left = _last_cycle(workdir), _unfinished(workdir)
    process = start(case, workdir)
    process.communicate()
    same = process.returncode == 0 and not _unfinished(workdir) and equal(case.whole, workdir)
    return Fault(case.name, fault, at, ", ".join(left) or "-", process.returncode, same)


def equal(one, two) -> bool:
    """Whether two runs have the same tables and the same delivered parameters, bit for bit."""
    one, two = pathlib.Path(one), pathlib.Path(two)
    for name in TABLES:
        if (one / name).exists() != (two / name).exists():
            return False
        if (one / name).exists() and (one / name).read_bytes() != (two / name).read_bytes():
            return False
    first, second = jax.tree.map(np.asarray, (_delivered(one), _delivered(two)))
    same = jax.tree.map(
        lambda a, b: (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()), first, second
    )
    return jax.tree.all(same)


def _delivered(workdir):
    """The delivered model as nested dictionaries."""
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        asked = ocp.args.Composite(model=ocp.args.StandardRestore())
        return checkpointer.restore(workdir.absolute() / "checkpoints" / "final", asked)["model"]


def largest(folder) -> int:
    """Bytes of the largest file in a folder."""
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _first_file(process, workdir) -> float:
    """The time at which a run has written its settings."""
    while process.poll() is None and not (workdir / "config.json").exists():
        time.sleep(0.005)
    return time.monotonic()


def _end(process, timeout=None) -> None:
    said = process.communicate(timeout=timeout)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode} without a fault: {said}")


def _last_cycle(workdir) -> str:
    for phase in PHASES:
        done = checkpoints.cycles(workdir / "checkpoints", phase)
        if done:
            return checkpoints.name(phase, done[-1])
    return "none"


def _unfinished(workdir) -> Sequence[str]:
    return sorted(str(path.relative_to(workdir)) for path in workdir.glob("**/*.part*"))
