"""The same network in PyTorch, in a process of its own."""

import importlib.util
import os
import sys

from benchmarks import record, step
from benchmarks.gpu import network

MODES = ("eager", "compiled")


def rows(size, before) -> list[dict]:
    """A row for every type, mode and task; one that says so where there is no PyTorch."""
    del before
    python = os.environ.get("HARMJAX_TORCH_PYTHON")
    if python is None and importlib.util.find_spec("torch") is None:
        return [{"what": "no PyTorch here: name an interpreter in HARMJAX_TORCH_PYTHON"}]
    torch = step.Torch(python or sys.executable)
    with torch:
        return [
            row(torch, task, dtype, mode, size)
            for dtype in network.DTYPES
            for mode in MODES
            for task in ask(torch, dtype, mode, size)
        ]


def ask(torch, dtype, mode, size):
    """The tasks of a network that is built there."""
    torch.ask(
        case={
            "shape": size["grid"],
            "width": size["width"],
            "batch": network.BATCH,
            "verification": network.HELD_OUT,
            "dtype": dtype,
            "compiled": mode == "compiled",
            "device": "any",
        }
    )
    return "train", "verify"


def row(torch, task, dtype, mode, size) -> dict:
    """One timing, or what PyTorch said instead."""
    about = {"what": task, "side": f"PyTorch {torch.version}, {mode}", "type": dtype}
    try:
        torch.ask(task=task, steps=2)
        turns = [torch.ask(task=task, steps=size["steps"]) for _ in range(size["turns"])]
    except RuntimeError as error:
        return about | {"failed": str(error)[:80]}
    seconds, _ = record.medians([(turn["seconds"], 0) for turn in turns])
    scans = network.BATCH if task == "train" else network.HELD_OUT
    about |= {"seconds": record.rounded(seconds)}
    return about | {"scans_per_second": record.rounded(scans / seconds), "device": turns[0]["on"]}
