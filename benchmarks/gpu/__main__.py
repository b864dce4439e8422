"""One NVIDIA GPU: training, verification, scoring and bulk counterfactuals at full size.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --small

prints a table and writes `benchmarks/results/gpu.csv`, again after every part of it. SFCN at
160x192x160 (1 mm), full width, batch 5, in float32 (convolutions in JAX's default precision, TF32
where the GPU has it) and bfloat16:

- `train`, `verify`: a training step, a forward pass on a batch of eight. `utilisation` is the
  model's arithmetic (convolutions, three times for training) over the measured peak of a matrix
  product in the same type.
- `score`: alignment in the step and by jvp, `ratio` over a training step.
- `counterfactual`: 1,000 leave-one-out retrainings of an MLP on the heart data, `ratio` of the
  sequential jitted loop's time to it.

Without an NVIDIA GPU it says so and exits with 2. `--small` runs everything in a small size on any
device and writes no file.
"""

import argparse
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import counterfactual, quality_control, record, step
from harmjax import learner as learners
from harmjax import models
from harmjax.counterfactual import bulk, masks, retraining

FULL = {"grid": (160, 192, 160), "width": 1, "matrix": 8192, "replicas": 1000, "steps": 5}
SMALL = {"grid": (36, 36, 36), "width": 1 / 16, "matrix": 256, "replicas": 16, "steps": 1}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small size, on any device")
    small = parser.parse_args(arguments).small
    found = jax.devices()[0]
    if found.platform != "gpu" and not small:
        print(f"no NVIDIA GPU here, only {found.device_kind}: try --small", file=sys.stderr)
        return 2
    rows = []
    for part in measured(**(SMALL if small else FULL), turns=1 if small else 5):
        rows += part
        if small:
            record.show(rows)
        else:
            record.write("gpu", rows)
    return 0


def measured(grid, width, matrix, replicas, steps, turns) -> Iterator[list[dict]]:
    """The rows, part by part."""
    yield counterfactuals(replicas, turns)
    for dtype in ("float32", "bfloat16"):
        yield network(grid, width, matrix, dtype, steps, turns)


def network(grid, width, matrix, dtype, steps, turns):
    """Rows of the SFCN in one type."""
    work, peak = step.arithmetic(grid, width), matmul_peak(matrix, dtype)
    batch, held_out = quality_control.BATCH, 8
    plain, *scored = quality_control.scoring(width, turns, steps, grid, dtype)
    seconds = verification(grid, width, dtype, held_out, turns)

    def row(what, scans, seconds, passes):
        return {
            "what": what,
            "type": dtype,
            "grid": "x".join(map(str, grid)),
            "seconds": record.rounded(seconds),
            "scans_per_second": record.rounded(scans / seconds),
            "utilisation": round(passes * work * scans / seconds / peak, 3),
            "peak_tflops": record.rounded(peak / 1e12),
        }

    def score(found):
        about = {key: rows[0][key] for key in ("type", "grid", "peak_tflops")}
        name = found["what"].replace("alignment, ", "score ")
        return {"what": name, "seconds": found["seconds"], "ratio": found["share"]} | about

    rows = [row("train", batch, plain["seconds"], 3), row("verify", held_out, seconds, 1)]
    return rows + [score(found) for found in scored]


def verification(grid, width, dtype, scans, turns) -> float:
    """Seconds of one forward pass under running statistics."""
    classifier = models.get("sfcn")(width=width, dtype=dtype)
    learner = learners.learner(classifier, learners.published_schedule())
    image = jax.random.bits(jax.random.key(0), (scans, *grid), "uint8")
    model = jax.jit(learner.init)(jax.random.key(1), image[:1])
    forward = jax.jit(learner.logits)
    return record.in_turns({"verify": lambda: forward(model, image)}, turns)["verify"][0]


def matmul_peak(size, dtype) -> float:
    """Operations a second of a product of two square matrices, in JAX's default precision."""
    x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    return 2 * size**3 / min(record.seconds(product, x, x)[0] for _ in range(10))


def counterfactuals(replicas, turns):
    """Rows of the bulk, against one retraining after another."""
    load, classifier, cycles, _ = counterfactual.TASKS["heart-mlp"]
    train, verification = load()
    learner = learners.learner(classifier, learners.published_schedule(1e-3))
    again = retraining.retraining(
        learner, train, {"verification": verification}, jax.random.key(1), cycles=range(cycles)
    )
    model = learner.init(jax.random.key(0), jnp.asarray(train.image[:1]))
    these = masks.leave_one_out(len(train.label), np.arange(replicas) % len(train.label))
    one = jax.jit(lambda mask: again.run(again.data, model, mask, 0)[1])
    measured = max(1, min(replicas, 20))

    def sequential():
        return [one(mask) for mask in these[:measured]]

    def together(kind):
        ask = bulk.bulk(again, replicas=kind, progress=False)
        return lambda: ask(model, these)

    ways = {"sequential": sequential} | {kind: together(kind) for kind in ("lanes", "vmap")}
    took = {name: wall for name, (wall, _) in record.in_turns(ways, turns).items()}
    took["sequential"] *= replicas / measured
    return [
        {
            "what": f"counterfactual, {name}",
            "replicas": replicas,
            "seconds": record.rounded(wall),
            "ratio": round(took["sequential"] / wall, 2),
        }
        for name, wall in took.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
