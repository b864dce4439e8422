"""Where a training step's time goes: the blocks of the full-width SFCN, ours against PyTorch.

    HARMJAX_TORCH_PYTHON=/path/to/python/with/torch python -m benchmarks.layers

A block is convolution, batch norm, maxima and ReLU, forwards and backwards; all but the first also
give the gradient of their input. Ours are steps of one `jit(lax.scan)`. Both sides take turns;
`ms` are medians per step, `gflops` the arithmetic of the convolution and its gradients over them.
"""

import functools
import math
import os
import statistics
import sys
import time

import jax
import jax.numpy as jnp

from benchmarks import record, step
from harmjax.models import linen, sfcn

BATCH = 5
SHAPES = ((40, 48, 40), (80, 96, 80))
ROUNDS = 7
SECONDS_A_TURN = 0.5


def main():
    torch = step.Torch(os.environ["HARMJAX_TORCH_PYTHON"])
    rows = [
        row(shape, number, torch) for shape in SHAPES for number in range(1, len(sfcn.CHANNELS) + 1)
    ]
    record.write("layers", rows)


def row(shape, number, torch) -> dict:
    """One block of the table."""
    inputs, sides, outputs = block(shape, number)
    run = ours(number, inputs, sides, outputs)
    torch.ask(block={"number": number, "inputs": inputs, "shape": sides, "batch": BATCH})
    run(2)
    steps = max(2, round(SECONDS_A_TURN / run(2)))
    run(steps)
    torch.ask(task="train", steps=steps)
    turns = [(run(steps), torch.ask(task="train", steps=steps)["seconds"]) for _ in range(ROUNDS)]
    mine, theirs = map(statistics.median, zip(*turns, strict=True))
    taps = sfcn.KERNELS[number - 1] ** 3
    passes = 3 if number > 1 else 2
    work = passes * 2 * BATCH * math.prod(sides) * taps * inputs * outputs
    return {
        "grid": "x".join(map(str, shape)),
        "block": number,
        "input": f"{'x'.join(map(str, sides))}, {inputs} -> {outputs}",
        "ms": record.rounded(1e3 * mine),
        "torch_ms": record.rounded(1e3 * theirs),
        "ratio": f"{theirs / mine:.2f}",
        "gflops": record.rounded(work / mine / 1e9),
        "torch_gflops": record.rounded(work / theirs / 1e9),
        "torch": torch.version,
    }


def block(shape, number):
    """Input channels, sides and output channels of a block of the full-width SFCN."""
    for _ in range(number - 1):
        shape = [-(-side // 2) for side in shape]
    return ([1, *sfcn.CHANNELS][number - 1], list(shape), sfcn.CHANNELS[number - 1])


def ours(number, inputs, sides, outputs):
    """A function of a number of steps that returns seconds per step."""
    pooled = number < len(sfcn.CHANNELS)
    module = linen.Block(outputs, sfcn.KERNELS[number - 1], "batch", pooled)
    weight = jnp.ones(BATCH)
    image = jax.random.normal(jax.random.key(0), (BATCH, *sides, inputs))
    start = jax.jit(functools.partial(module.init, train=True))(jax.random.key(1), image, weight)

    def change(carry, _):
        variables, image = carry

        def total(params, image):
            result, updated = module.apply(
                variables | {"params": params}, image, weight, True, mutable=["batch_stats"]
            )
            return jnp.sum(result * jnp.cos(result)), updated

        asked = (0, 1) if number > 1 else (0,)
        gradients, updated = jax.grad(total, asked, has_aux=True)(variables["params"], image)
        params = jax.tree.map(lambda p, g: p - 1e-6 * g, variables["params"], gradients[0])
        image = image - 1e-6 * gradients[1] if number > 1 else image
        return ({"params": params, **updated}, image), None

    @functools.partial(jax.jit, static_argnums=1)
    def steps(carry, length):
        return jax.lax.scan(change, carry, None, length)[0]

    def run(length):
        began = time.perf_counter()
        jax.block_until_ready(steps((start, image), length))
        return (time.perf_counter() - began) / length

    return run


if __name__ == "__main__":
    if not os.environ.get("HARMJAX_TORCH_PYTHON"):
        sys.exit("HARMJAX_TORCH_PYTHON: name a Python interpreter that has PyTorch")
    main()
