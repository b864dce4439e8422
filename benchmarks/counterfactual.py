"""Leave-one-out retraining in bulk, against one after another and against PyTorch.

    HARMJAX_TORCH_PYTHON=/path/to/python/with/torch python -m benchmarks.counterfactual

prints a table and writes `benchmarks/results/counterfactual.csv`. Every method retrains the same
run without each sample in turn: same model, batches of five, Adam, and the verification loss after
every cycle. `sequential` is one jitted program (a scan over all stops) called once per mask: the
best loop that we know. `vmap` is `jax.vmap` over all masks at once, and over chunks of sixteen.
PyTorch runs its eager loop with foreach Adam, on the number of threads that is fastest; without the
variable its rows are left out.

Times are the best of five turns, compiling excluded (its own column), on as many masks as fit a
turn of some seconds, scaled to all; `measured` says how many. All replicas run all stops.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from configs import heart
from harmjax import models, tables, types
from harmjax.counterfactual import bulk, masks, retraining
from harmjax.engine import learner as learners
from harmjax.runs import course as courses
from harmjax.runs import preparation

RESULTS = pathlib.Path(__file__).parent / "results" / "counterfactual.csv"
HEADER = (
    *("task", "method", "devices", "replicas", "measured", "stops", "seconds", "compile_seconds"),
    *("microseconds_a_step", "ratio_to_sequential", "ratio_to_torch", "largest_difference"),
    *("device", "jax", "torch"),
)
TURNS = 5


def digits(image=False):
    """Odd against even digits, 8 x 8 pixels, over eight centres: train and verification samples."""
    from sklearn.datasets import load_digits

    pixels, digit = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digit))
    pixels = (pixels[order] / 16).astype(np.float32)
    every = types.Samples(
        image=pixels.reshape(-1, 8, 8) if image else pixels,
        label=(digit[order] % 2).astype(np.int32),
        centre=(np.arange(len(digit)) % 8).astype(np.int32),
        identity=np.arange(len(digit), dtype=np.uint32),
    )
    return jax.tree.map(lambda x: x[:1257], every), jax.tree.map(lambda x: x[1257:], every)


def heart_disease():
    """Four hospitals: train and verification patients."""
    config = config_dict.ConfigDict(heart.get_config())
    with tempfile.TemporaryDirectory() as folder:
        study = preparation.prepare(config, folder, progress=False)
    return study.train, study.verification


TASKS = {
    "digits-mlp": (digits, models.get("mlp")(hidden=(32,)), 3, 1000),
    "heart-mlp": (heart_disease, models.get("mlp")(hidden=(32,)), 6, 1000),
    "digits-cnn": (
        lambda: digits(image=True),
        models.get("cnn2d")(width=0.5, norm="none", dropout=0.0),
        1,
        1000,
    ),
}


def main():
    devices = jax.devices()
    rows = []
    for task in sys.argv[1:] or TASKS:
        rows += compare(task, devices)
    RESULTS.parent.mkdir(exist_ok=True)
    tables.write(RESULTS, HEADER, [[row[name] for name in HEADER] for row in rows])


def compare(task, devices):
    """Rows of the table for one task; the methods take turns."""
    load, classifier, cycles, replicas = TASKS[task]
    train, verification = load()
    learner = learners.learner(classifier, learners.published_schedule(1e-3))
    start = learner.init(jax.random.key(0), jnp.asarray(train.image[:1]))
    course = courses.course(train.centre, jax.random.key(1))
    again = retraining.retraining(
        learner, train, {"verification": verification}, course, cycles=range(cycles)
    )
    these = masks.leave_one_out(len(train.label), np.arange(replicas) % len(train.label))
    methods = ours(task, again, start, devices)
    torch = Torch(train, verification, again, start) if has_torch() else None
    if torch and task.endswith("mlp"):
        threads = min((1, os.cpu_count()), key=lambda t: seconds(torch, these[:1], t, 20))
        methods[f"torch, {threads} threads"] = (1, lambda m: torch(m, threads), 3)
    stops = int(np.prod(again.visits.shape[:2]))
    times, compiling, losses = {}, {}, {}
    for name, (_, run, number) in methods.items():
        began = time.perf_counter()
        losses[name] = run(these[:number])
        compiling[name] = time.perf_counter() - began
    for _ in range(TURNS):
        for name, (_, run, number) in methods.items():
            took = seconds(run, these[:number]) / number * replicas
            times[name] = min(took, times.get(name, np.inf))
    fastest_torch = min((s for n, s in times.items() if n.startswith("torch")), default=np.nan)
    rows = []
    for name, (used, _, number) in methods.items():
        first = min(number, len(losses["sequential"]))
        apart = np.abs(losses[name][:first] - losses["sequential"][:first]).max()
        rows.append(
            {
                "task": task,
                "method": name,
                "devices": used,
                "replicas": replicas,
                "measured": number,
                "stops": stops,
                "seconds": round(times[name], 3),
                "compile_seconds": round(compiling[name] - times[name] * number / replicas, 1),
                "microseconds_a_step": round(times[name] / replicas / stops * 1e6, 2),
                "ratio_to_sequential": round(times["sequential"] / times[name], 2),
                "ratio_to_torch": round(fastest_torch / times[name], 1),
                "largest_difference": float(f"{apart:.1e}"),
                "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, "
                f"{platform.machine()}",
                "jax": jax.__version__,
                "torch": torch.version if torch else "",
            }
        )
    print(tables.aligned(HEADER[:-3], [[row[n] for n in HEADER[:-3]] for row in rows]), flush=True)
    return rows


def seconds(run, *args) -> float:
    began = time.perf_counter()
    run(*args)
    return time.perf_counter() - began


def ours(task, again, start, devices):
    """Name -> (devices, masks -> verification losses [R, C], number of masks of a turn)."""
    early, small = again._replace(late=False), task.endswith("mlp")
    one = jax.jit(lambda data, model, mask: again.run(data, model, mask, 0)[1])

    def sequential(these):
        found = [one(again.data, start, mask)["verification"].loss for mask in these]
        return np.stack(jax.device_get(found))

    def in_bulk(retrained, **options):
        ask = bulk.bulk(retrained, progress=False, **options)
        return lambda these: ask(start, these)["verification"].loss

    many = 1000 if small else 64
    methods = {
        "sequential": (1, sequential, 100 if small else 16),
        "vmap, all at once": (1, in_bulk(early, chunk=many), many),
        "vmap, chunks of 16": (1, in_bulk(early, chunk=16), min(many, 256)),
    }
    if len(devices) > 1:
        number = len(devices)
        methods |= {
            "map": (number, in_bulk(early, replicas="map", devices=devices), min(many, 256)),
            "vmap, all devices": (number, in_bulk(early, devices=devices), many),
        }
    return methods


def has_torch() -> bool:
    return bool(os.environ.get("HARMJAX_TORCH_PYTHON"))


class Torch:
    """The PyTorch side, in its own process: `(masks, threads) -> verification losses`."""

    def __init__(self, train, verification, again, start):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        params = jax.device_get(start.params)
        cycles = np.asarray(again.data.stops.cycle)[:, 0]
        np.savez(
            self.path / "task.npz",
            image=train.image,
            label=train.label,
            held_out=verification.image,
            held_out_label=verification.label,
            visits=again.visits,
            rate=np.asarray(learners.published_schedule(1e-3)(cycles)),
            **{f"{layer}.{name}": x for layer, p in params.items() for name, x in p.items()},
        )
        script = pathlib.Path(__file__).with_name("counterfactual_torch.py")
        command = [os.environ["HARMJAX_TORCH_PYTHON"], str(script), str(self.path / "task.npz")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        self.version = json.loads(self.process.stdout.readline())["version"]

    def __call__(self, these, threads, stops=None):
        without = [int(mask.argmin()) for mask in these]
        self.process.stdin.write(
            json.dumps({"without": without, "threads": threads, "stops": stops}) + "\n"
        )
        self.process.stdin.flush()
        return np.array(json.loads(self.process.stdout.readline())["losses"])


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    main()
