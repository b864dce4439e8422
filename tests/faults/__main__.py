"""Kills runs and fills their disks, and shows whether they end with the same bits.

python -m tests.faults              20 kills of each policy, disks full at tables and checkpoints
python -m tests.faults --kills=0    the disks only
python -m tests.faults --volumes    and 3 kills of published:runlocal, minutes

Ends with exit code 1 if any run does not go on to the same tables and parameters. Moments are drawn
from the seed.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tqdm

from harmjax import tables
from tests.faults import runs

POLICIES = ("verify_revisit", "screen")
FULL = 4  # disks of another size
LARGE = "size=256m"
PAGE = 4096  # bytes that a file on a disk in memory takes at least


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--volumes", action="store_true")
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    with tempfile.TemporaryDirectory() as spare:
        rows = list(_volumes(rng, spare) if asked.volumes else _tabular(rng, spare, asked.kills))
    print(tables.aligned(runs.Fault._fields, [[*row[:-1], _word(row.same)] for row in rows]))
    same = sum(row.same for row in rows)
    print(f"{same} of {len(rows)} end with the same bits")
    sys.exit(same < len(rows))


def _tabular(rng, spare, kills):
    manifest = runs.patients(spare)
    for policy in POLICIES:
        case = runs.case(policy, f"tests/faults/study.py:{policy}", manifest, spare)
        yield from _kills(case, rng.uniform(0, 1, kills), spare)
        model = runs.largest(case.whole / "checkpoints" / "final")
        table = max((case.whole / name).stat().st_size for name in runs.TABLES)
        for largest in (model - 1, int(0.7 * table)):
            yield runs.full(case, f"{spare}/{policy}-limit-{largest}", largest)
        for share in rng.uniform(0.3, 0.9, FULL):
            yield from _full(case, share, pathlib.Path(spare) / f"{policy}-disk-{share:.3f}")


def _volumes(rng, spare):
    config = "configs/published.py:runlocal"
    make = [sys.executable, "-m", "experiments.make_cohort", f"--config={config}"]
    subprocess.run([*make, f"--workdir={spare}/cohort"], check=True, cwd=runs.ROOT)
    case = runs.case("runlocal", config, f"{spare}/cohort/manifest.csv", spare)
    yield from _kills(case, rng.uniform(0, 1, 3), spare)


def _kills(case, shares, spare):
    for number, share in enumerate(tqdm.tqdm(sorted(shares), case.name, unit="kill")):
        yield runs.killed(case, f"{spare}/{case.name}-kill-{number}", float(share))


def _full(case, share, disk):
    """A run on a disk that holds a share of what it needs; none where mounting is not allowed."""
    disk.mkdir()
    pages = sum(-(-path.stat().st_size // PAGE) for path in case.whole.rglob("*") if path.is_file())
    size = f"size={int(share * pages) * PAGE}"
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)])
    if mount.returncode:
        return
    try:
        place = runs.named(runs.start(case, disk / "run"))
        subprocess.run(["mount", "-o", f"remount,{LARGE}", str(disk)], check=True)
        fault = f"disk of {share:.0%}, full at {place or 'UNKNOWN'}"
        row = runs.resumed(case, disk / "run", fault)
        yield row._replace(same=row.same and bool(place))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _word(same) -> str:
    return "yes" if same else "NO"


if __name__ == "__main__":
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(runs.ROOT / ".jax_cache"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    main()
