"""SFCN training step and verification forward, ours against PyTorch on the same threads.

    HARMJAX_TORCH_PYTHON=/path/to/python/with/torch python -m benchmarks.step

prints a table and writes `benchmarks/results/step.csv`. Ours and PyTorch (channels last) take
turns; medians are reported. Without the variable the PyTorch columns stay empty.

A training step is forward, backward and Adam on a batch of five; ours are the steps of one
`jit(lax.scan)`, as in training. Verification is the forward pass under running statistics.
"""

import functools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import optax

from harmjax import models, tables

RESULTS = pathlib.Path(__file__).parent / "results" / "step.csv"
CASES = [
    {"shape": shape, "width": width, "batch": 5, "verification": verification}
    for shape in ((40, 48, 40), (80, 96, 80))
    for width in (1 / 4, 1)
    for verification in (8, 32)
]
ROUNDS = 5
SECONDS_A_TURN = 1.0
FEWEST_STEPS = 4  # one call, which takes its memory anew; a cycle is one call too


def main():
    peak = matmul_peak()
    python = os.environ.get("HARMJAX_TORCH_PYTHON")
    torch = Torch(python) if python else None
    rows = []
    for case in CASES:
        ours = tasks(**case)
        if torch:
            torch.ask(case=case)
        for task in ("train", "verify") if case["verification"] == 8 else ("verify",):
            rows.append(row(case, task, ours[task], torch, peak))
            print(*(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    tables.write(RESULTS, rows[0], [row.values() for row in rows])


def row(case, task, run, torch, peak):
    """One line of the table: both sides measured in turns."""
    scans = case["batch"] if task == "train" else case["verification"]
    run(1)
    steps = max(FEWEST_STEPS, round(SECONDS_A_TURN / run(1)))
    run(steps)
    if torch:
        torch.ask(task=task, steps=2)
    seconds, reference = [], []
    for _ in range(ROUNDS):
        seconds.append(run(steps))
        if torch:
            reference.append(torch.ask(task=task, steps=steps)["seconds"])
    ours = scans / statistics.median(seconds)
    theirs = scans / statistics.median(reference) if torch else None
    work = arithmetic(case["shape"], case["width"]) * (3 if task == "train" else 1)
    return {
        "task": task,
        "grid": "x".join(map(str, case["shape"])),
        "width": case["width"],
        "batch": scans,
        "scans_per_second": f"{ours:.3g}",
        "torch_scans_per_second": f"{theirs:.3g}" if torch else "",
        "ratio": f"{ours / theirs:.2f}" if torch else "",
        "peak_share": f"{ours * work / peak:.2f}",
        "matmul_peak_gflops": f"{peak / 1e9:.0f}",
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "jax": jax.__version__,
        "torch": torch.version if torch else "",
    }


def tasks(shape, width, batch, verification):
    """Functions of a number of steps that return seconds per step."""
    classifier = models.get("sfcn")(width=width)
    optimiser = optax.adam(1e-4, eps=1e-7)
    images = jax.random.bits(jax.random.key(0), (max(batch, verification), *shape), "uint8")
    labels = (jnp.arange(batch) % 2).astype(jnp.float32)
    weight = jnp.ones(batch)
    variables = jax.jit(classifier.init)(jax.random.key(1), images[:1])

    def step(images, carry, key):
        variables, state = carry

        def loss(params):
            logits, _, updated = classifier.apply(
                variables._replace(params=params),
                images[:batch],
                weight,
                jax.random.split(key, batch),
                True,
            )
            losses = optax.sigmoid_binary_cross_entropy(logits[:, 1], labels)
            return jnp.mean(weight * losses), updated

        gradient, updated = jax.grad(loss, has_aux=True)(variables.params)
        change, state = optimiser.update(gradient, state)
        return (updated._replace(params=optax.apply_updates(updated.params, change)), state), None

    @jax.jit
    def train(variables, images, keys):
        start = variables, optimiser.init(variables.params)
        return jax.lax.scan(functools.partial(step, images), start, keys)[0]

    @jax.jit
    def verify(variables, images, keys):
        def forward(total, _):
            params = jax.tree.map(lambda p: p + 0 * total, variables.params)
            chosen = images[:verification]
            logits, _, _ = classifier.apply(
                variables._replace(params=params), chosen, weight, None, False
            )
            return logits.sum(), None

        return jax.lax.scan(forward, 0.0, keys)[0]

    def timed(function):
        def run(steps):
            keys = jax.random.split(jax.random.key(2), steps)
            jax.block_until_ready(keys)
            start = time.perf_counter()
            jax.block_until_ready(function(variables, images, keys))
            return (time.perf_counter() - start) / steps

        return run

    return {"train": timed(train), "verify": timed(verify)}


def arithmetic(shape, width):
    """Operations of the convolutions of one forward pass of one scan."""
    inputs, total = 1, 0
    for channels, taps in zip((32, 64, 128, 256, 256, 64), (27, 27, 27, 27, 27, 1), strict=True):
        outputs = max(1, round(channels * width))
        x, y, z = shape
        total += 2 * x * y * z * taps * inputs * outputs
        inputs, shape = outputs, [-(-side // 2) for side in shape]
    return total


def matmul_peak():
    """Operations per second of the best of ten products of 1024 x 1024 float32 matrices."""
    x = jax.random.normal(jax.random.key(0), (1024, 1024))
    product = jax.jit(jnp.matmul)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(seconds)


class Torch:
    """The other interpreter, asked for one case or one timing at a time."""

    def __init__(self, python):
        script = pathlib.Path(__file__).with_name("step_torch.py")
        self.process = subprocess.Popen(
            [python, str(script), str(os.cpu_count())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = json.loads(self.process.stdout.readline())["version"]

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer


if __name__ == "__main__":
    sys.exit(main())
