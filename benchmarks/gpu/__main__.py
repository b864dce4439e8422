"""One NVIDIA GPU: training, verification, scoring, replicas and bulk counterfactuals at full size.

    python -m benchmarks.gpu --part=torch,step,gradients --profile
    python -m benchmarks.gpu --part=score,replicas,counterfactual
    python -m benchmarks.gpu --part=lax
    python -m benchmarks.gpu --small --profile

keeps the rows of a part in `benchmarks/results/gpu.csv` as soon as it is done, in place of those of
a run before, and prints all tables at the end. Without `--part` it runs every part. The first
command is made for five minutes on a machine of its own, compilation included.

SFCN at 160x192x160 (1 mm), full width, batch 5, in float32 (convolutions in JAX's default
precision, TF32 where the GPU has it) and bfloat16, but where a part says otherwise:

- `torch`: a training step and a forward pass on a batch of eight in PyTorch, channels last, eager
  and compiled, where this interpreter or that of HARMJAX_TORCH_PYTHON has it. bfloat16 is autocast.
- `step`: the same here. `utilisation` is the model's arithmetic (convolutions, three times for
  training) over the measured peak of a matrix product in the same type; `ratio` is PyTorch's
  compiled seconds over ours. `first block` is the first block alone, forwards and backwards: what
  its `floor` (its products at that peak, or what it has to read and write at the measured speed of
  a copy) leaves to gain, as a share of a step, is in `gain`. Beyond .1 a kernel of its own pays.
- `lax`: the same with every convolution by `lax.conv`.
- `gradients`: of the whole network at 80x96x80, in the form for GPU and by `lax.conv`, each with
  products in full precision, in the default one and in bfloat16; `difference` is relative to
  `lax.conv` in full precision.
- `score`: alignment by jvp and by difference, `ratio` over a training step.
- `replicas`: 8 and 32 replicas at 40x48x40 (4 mm) under different masks, `ratio` of the time of one
  after another to theirs.
- `counterfactual`: 1,000 leave-one-out retrainings of an MLP on the heart data, likewise.

`--profile` adds the kernels of a training step by time. Without an NVIDIA GPU it says so and exits
with 2. `--small` runs the parts in a small size on any device and writes no file.
"""

import argparse
import functools
import os
import sys

import jax

from benchmarks import record
from benchmarks.gpu import network, peer, replicas

FULL = {
    "grid": (160, 192, 160),
    "half": (80, 96, 80),
    "quarter": (40, 48, 40),
    "width": 1,
    "matrix": 8192,
    "copy": 2**28,
    "replicas": (8, 32),
    "retrainings": 1000,
    "steps": 5,
    "turns": 5,
}
SMALL = {
    "grid": (36, 36, 36),
    "half": (36, 36, 36),
    "quarter": (36, 36, 36),
    "width": 1 / 16,
    "matrix": 256,
    "copy": 2**20,
    "replicas": (2,),
    "retrainings": 16,
    "steps": 1,
    "turns": 1,
}
PARTS = {
    "torch": peer.rows,
    "step": network.step_rows,
    "lax": network.lax_rows,
    "gradients": network.gradient_rows,
    "score": network.score_rows,
    "replicas": replicas.replica_rows,
    "counterfactual": replicas.counterfactual_rows,
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", default=",".join(PARTS), help="comma-separated, in this order")
    parser.add_argument("--profile", action="store_true", help="the kernels of a step by time")
    parser.add_argument("--small", action="store_true", help="a small size, on any device")
    asked = parser.parse_args(arguments)
    wanted = asked.part.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"--part={','.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    # PyTorch has to fit beside.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".6")
    found = jax.devices()[0]
    if found.platform != "gpu" and not asked.small:
        print(f"no NVIDIA GPU here, only {found.device_kind}: try --small", file=sys.stderr)
        return 2
    size = SMALL if asked.small else FULL
    parts = {name: functools.partial(PARTS[name], size) for name in wanted}
    if asked.profile:
        parts["profile"] = functools.partial(network.profile_rows, size)
    tables = {}
    for name, measure in parts.items():
        tables[name] = measure([row for rows in tables.values() for row in rows])
        print(f"{name}: done", file=sys.stderr, flush=True)
        if not asked.small:
            record.keep("gpu", name, tables[name])
    for name, rows in tables.items():
        print(f"\n{name}")
        record.show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
