"""The SFCN on one device: its step, its parts, its gradients and its kernels."""

import contextlib
import math
import tempfile

import jax
import jax.numpy as jnp

from benchmarks import quality_control, record, step
from benchmarks.gpu import trace
from harmjax import models, types
from harmjax.engine import learner as learners
from harmjax.engine import precision
from harmjax.models import sfcn
from harmjax.models.ops import cells, conv, first, forms

DTYPES = ("float32", "bfloat16")
BATCH, HELD_OUT = quality_control.BATCH, 8
KERNELS = 25  # rows of the profile, a type


def step_rows(size, before, side="harmjax") -> list[dict]:
    """Training, verification and the first block, in every type."""
    return [row for dtype in DTYPES for row in _step(size, before, side, dtype)]


def lax_rows(size, before) -> list[dict]:
    """As `step_rows`, every convolution by `lax.conv`."""
    with forms.forced("lax"):
        return step_rows(size, before, "harmjax, lax.conv")


def _step(size, before, side, dtype):
    work = step.arithmetic(size["grid"], size["width"])
    peak, turns = matmul_peak(size["matrix"], dtype), size["turns"]
    train, verify = training(size, dtype), verification(size, dtype)
    took = record.in_turns({"train": train, "verify": verify}, turns)
    seconds = {"train": took["train"][0] / size["steps"], "verify": took["verify"][0]}

    def row(what, scans, passes):
        theirs = [
            line["seconds"]
            for line in before
            if line["what"] == what and line.get("type") == dtype and "seconds" in line
            if line["side"].endswith("compiled")
        ]
        return {
            "what": what,
            "side": side,
            "type": dtype,
            "grid": "x".join(map(str, size["grid"])),
            "seconds": record.rounded(seconds[what]),
            "scans_per_second": record.rounded(scans / seconds[what]),
            "utilisation": round(passes * work * scans / seconds[what] / peak, 3),
            "peak_tflops": record.rounded(peak / 1e12),
            "ratio": round(theirs[0] / seconds[what], 2) if theirs else "",
        }

    rows = [row("train", BATCH, 3), row("verify", HELD_OUT, 1)]
    if not _first_suits(size):
        return rows
    return [*rows, _first_block(size, dtype, side, peak, seconds["train"])]


def _first_suits(size):
    return first.suits((BATCH, *size["grid"], 1), (3, 3, 3, 1, 1))


def _first_block(size, dtype, side, peak, whole):
    """Moments, maxima and the kernel's gradient; uint8 in, the maxima and their gradient out."""
    grid, outputs = size["grid"], max(1, round(sfcn.CHANNELS[0] * size["width"]))
    image = jax.random.bits(jax.random.key(0), (BATCH, *grid, 1), "uint8")
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 1, outputs), dtype)
    shape = (BATCH, *(side // 2 for side in grid), outputs)
    change = jax.random.normal(jax.random.key(2), shape, dtype)

    @jax.jit
    def both(image, kernel, change):
        def parts(kernel):
            return conv.convolve_and_pool(image, kernel), first.moments(image, kernel)

        (maxima, moments), pull = jax.vjp(parts, kernel)
        return maxima, moments, pull((change, jax.tree.map(jnp.cos, moments)))

    took = record.in_turns({"both": lambda: both(image, kernel, change)}, size["turns"])
    windows, voxels, places = math.prod(shape[:-1]), len(cells.VOXELS), len(cells.OFFSETS)
    products = 2 * windows * voxels * (2 * places * outputs + voxels)
    moved = 2 * image.nbytes + 2 * change.nbytes + windows * outputs  # and a byte of places, twice
    moved += windows * outputs
    floor = max(products / peak, moved / copy_speed(size["copy"]))
    return {
        "what": "first block",
        "side": side,
        "type": dtype,
        "grid": "x".join(map(str, grid)),
        "seconds": record.rounded(took["both"][0]),
        "floor": record.rounded(floor),
        "gain": round((took["both"][0] - floor) / whole, 3),
    }


def training(size, dtype):
    """A function that runs `steps` training steps in one program."""
    learner, model, image = start(size, dtype, BATCH)
    label = fold = jnp.arange(BATCH, dtype=jnp.int32) % 2
    weight, every = jnp.ones(BATCH), jnp.ones(BATCH, bool)
    keys = jax.random.split(jax.random.key(2), (size["steps"], BATCH))

    @jax.jit
    def scanned(image, model):
        def body(model, key):
            return learner.learn(model, types.Batch(image, label, key, fold), weight, every, 0)

        return jax.lax.scan(body, model, keys)

    return lambda: scanned(image, model)


def verification(size, dtype):
    """A function that does one forward pass under running statistics."""
    learner, model, image = start(size, dtype, HELD_OUT)
    forward = jax.jit(learner.logits)
    return lambda: forward(model, image)


def start(size, dtype, scans, **options):
    classifier = models.get("sfcn")(width=size["width"], dtype=dtype, **options)
    learner = learners.learner(classifier, learners.published_schedule())
    image = jax.random.bits(jax.random.key(0), (scans, *size["grid"]), "uint8")
    return learner, jax.jit(learner.init)(jax.random.key(1), image[:1]), image


def gradient_rows(size, before) -> list[dict]:
    """What form, precision and type do to the gradient of the whole network."""
    del before
    size = size | {"grid": size["half"]}
    ways = [
        ("lax", "float32, full", "float32", precision.full),
        ("gpu", "float32, full", "float32", precision.full),
        ("lax", "float32", "float32", lambda fn: fn),
        ("gpu", "float32", "float32", lambda fn: fn),
        ("lax", "bfloat16", "bfloat16", lambda fn: fn),
        ("gpu", "bfloat16", "bfloat16", lambda fn: fn),
    ]
    want, rows = None, []
    for form, name, dtype, within in ways:
        got = gradient(size, form, dtype, within)
        want = got if want is None else want
        rows.append(
            {
                "what": "gradient",
                "side": f"form {form}",
                "type": name,
                "grid": "x".join(map(str, size["grid"])),
                "difference": float(f"{_difference(got, want):.2g}"),
                "first_block": float(f"{_difference(got['block_1'], want['block_1']):.2g}"),
                "last_block": float(f"{_difference(got['block_6'], want['block_6']):.2g}"),
            }
        )
    return rows


def gradient(size, form, dtype, within):
    """The gradient of a batch's loss by the parameters."""
    learner, model, image = start(size, dtype, BATCH, dropout=0.0)
    del learner
    classifier = models.get("sfcn")(width=size["width"], dtype=dtype, dropout=0.0)
    label = jnp.arange(BATCH) % 2

    def loss(params, image):
        variables = types.Variables(params, model.batch_stats)
        keys = jax.random.split(jax.random.key(2), BATCH)
        logits, _, _ = classifier.apply(variables, image, jnp.ones(BATCH), keys, True)
        return jnp.mean(jnp.logaddexp(0, logits[:, 1]) - label * logits[:, 1])

    with forms.forced(form):
        return jax.jit(within(jax.grad(loss)))(model.params, image)


def _difference(got, want):
    def square(tree):
        return sum(float(jnp.sum(jnp.square(leaf))) for leaf in jax.tree.leaves(tree))

    return math.sqrt(square(jax.tree.map(jnp.subtract, got, want)) / square(want))


def score_rows(size, before) -> list[dict]:
    """What scoring costs over a step, in every type."""
    del before
    grid, width = size["grid"], size["width"]
    found = [
        row | {"type": dtype}
        for dtype in DTYPES
        for row in quality_control.scoring(width, size["turns"], size["steps"], grid, dtype)[1:]
    ]
    return [
        {
            "what": row["what"].replace("alignment, ", "score "),
            "type": row["type"],
            "seconds": row["seconds"],
            "ratio": row["share"],
        }
        for row in found
    ]


def profile_rows(size, before) -> list[dict]:
    """The kernels of a training step by time, in every type."""
    del before
    return [row for dtype in DTYPES for row in _profile(size, dtype)]


def _profile(size, dtype):
    run = training(size, dtype)
    jax.block_until_ready(run())
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(jax.profiler.trace(folder))
        jax.block_until_ready(run())
        stack.close()
        found = trace.kernels(folder)
    total = sum(kernel.microseconds for kernel in found)
    rows = [
        {
            "type": dtype,
            "ms": round(kernel.microseconds / size["steps"] / 1e3, 3),
            "times": round(kernel.times / size["steps"], 1),
            "kernel": kernel.name[:80],
            "operation": kernel.operation[:40],
        }
        for kernel in found[:KERNELS]
    ]
    whole = round(total / size["steps"] / 1e3, 3)
    return [{"type": dtype, "ms": whole, "kernel": "all", "operation": ""}, *rows]


def matmul_peak(size, dtype) -> float:
    """Operations a second of a product of two square matrices, in JAX's default precision."""
    x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    return 2 * size**3 / min(record.seconds(product, x, x)[0] for _ in range(10))


def copy_speed(number) -> float:
    """Bytes a second that a copy of `number` float32 reads and writes."""
    x = jnp.ones(number)
    copied = jax.jit(lambda x: x * 1.5)
    copied(x).block_until_ready()
    return 2 * x.nbytes / min(record.seconds(copied, x)[0] for _ in range(10))
