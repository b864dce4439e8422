"""What every benchmark says of its machine, and how it prints and keeps its table."""

import os
import pathlib
import platform
import statistics
import time

import jax

from harmjax import tables

FOLDER = pathlib.Path(__file__).parent / "results"


def machine() -> dict:
    """The columns `device`, `jax` and `python`."""
    kind = jax.devices()[0].device_kind
    return {
        "device": f"{kind}, {os.cpu_count()} cores, {platform.machine()}",
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def write(name: str, rows: list[dict]) -> None:
    """Prints a table and writes `results/NAME.csv`, with the machine in its last columns."""
    header, cells = show(rows)
    FOLDER.mkdir(exist_ok=True)
    about = machine()
    rows = [[*row, *about.values()] for row in cells]
    tables.write(FOLDER / f"{name}.csv", [*header, *about], rows)


def keep(name: str, part: str, rows: list[dict]) -> None:
    """Writes the rows of a part to `results/NAME.csv`, in place of those it had; others stay."""
    path = FOLDER / f"{name}.csv"
    before = [row for row in tables.read(path) if row.get("part") not in (None, part)]
    rows = before + [{"part": part} | row | machine() for row in rows]
    about = list(machine())
    header = [*dict.fromkeys(key for row in rows for key in row if key not in about), *about]
    FOLDER.mkdir(exist_ok=True)
    tables.write(path, header, [[row.get(name, "") for name in header] for row in rows])


def show(rows: list[dict]) -> tuple[list, list]:
    """Prints a table; returns its header and its cells, empty where a row has no such key."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[row.get(key, "") for key in header] for row in rows]
    print(tables.aligned(header, cells))
    return header, cells


def seconds(function, *args) -> tuple[float, float]:
    """Seconds of one call, its arrays awaited: of the clock, and of all cores together."""
    start, cores = time.perf_counter(), time.process_time()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start, time.process_time() - cores


def in_turns(functions: dict, turns: int = 5) -> dict:
    """Median `seconds` of each function: all once a turn, after a call that is not measured."""
    for function in functions.values():
        seconds(function)
    took = {name: [] for name in functions}
    for _ in range(turns):
        for name, function in functions.items():
            took[name].append(seconds(function))
    return {name: medians(each) for name, each in took.items()}


def medians(pairs) -> tuple[float, float]:
    """The median of each of the two numbers of `seconds`."""
    return tuple(map(statistics.median, zip(*pairs, strict=True)))


def rounded(value: float) -> float:
    """To three significant digits."""
    return float(f"{value:.3g}")
