"""What a trace of `jax.profiler` says of kernels."""

import collections
import gzip
import json
import pathlib
from typing import NamedTuple


class Kernel(NamedTuple):
    """All calls of a kernel by one operation of the program."""

    name: str
    operation: str
    microseconds: float
    times: int


def kernels(folder) -> list[Kernel]:
    """The kernels of a trace, the longest first.

    On a GPU those of its streams; on CPU, which has none, the operations that XLA names.

    Args:
        folder: That of `jax.profiler.trace`.
    """
    took, times = collections.Counter(), collections.Counter()
    for path in pathlib.Path(folder).rglob("*.trace.json.gz"):
        with gzip.open(path) as file:
            events = json.load(file)["traceEvents"]
        for event in _on_streams(events) or _named(events):
            key = event["name"], event.get("args", {}).get("hlo_op", "")
            took[key] += event["dur"]
            times[key] += 1
    return [Kernel(*key, total, times[key]) for key, total in took.most_common()]


def _on_streams(events):
    about = [event for event in events if event.get("ph") == "M"]
    processes = {e["pid"]: e["args"]["name"] for e in about if e["name"] == "process_name"}
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in about if e["name"] == "thread_name"}
    return [
        event
        for event in _complete(events)
        if "GPU" in processes.get(event["pid"], "")
        and "Stream" in threads.get((event["pid"], event["tid"]), "")
    ]


def _named(events):
    return [event for event in _complete(events) if "hlo_op" in event.get("args", {})]


def _complete(events):
    return [event for event in events if event.get("ph") == "X"]
