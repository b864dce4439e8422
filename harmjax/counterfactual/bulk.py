"""One retraining under many masks: in chunks, over devices, resumable."""

import hashlib
import re
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from harmjax import plugins, types
from harmjax.counterfactual import parts
from harmjax.counterfactual import retraining as retrainings

MOST = {"vmap": 1024, "map": 32}  # replicas of one call and device
# without it XLA copies Adam's moments at every step, because the parameters read the old ones
CPU_OPTIONS = {"xla_cpu_copy_insertion_use_region_analysis": True}


class AskFn(Protocol):
    def __call__(self, model: types.Model, masks: np.ndarray, folder=None) -> types.PyTree:
        """What was kept of every replica: NumPy arrays [R, ...] in the order of the masks.

        Args:
            model: That every replica starts from.
            masks: [R, N] float32.
            folder: Where finished chunks are kept.
        """


def bulk(
    retraining: retrainings.Retraining,
    *,
    keep: Callable[[types.Model, dict[str, retrainings.Outcome]], types.PyTree] | None = None,
    replicas: str = "vmap",
    chunk: int | None = None,
    devices=None,
    memory: int = 2 << 30,
    progress: bool = True,
) -> AskFn:
    """A function that retrains a model under every mask.

    Masks that occur twice are run once. Replicas that agree with the mask of ones up to
    a stop of the first cycle start there, from the run they share. Given a folder, finished chunks
    are kept there and found again after a kill. Programs are compiled once and used again.

    Args:
        retraining: From `retraining.retraining`.
        keep: What to keep of a replica's model and outcomes; by default the latter, split ->
            Outcome [C].
        replicas: How those of one chunk run: 'vmap', side by side; 'map', one after another, bit
            for bit the training run.
        chunk: Replicas of one call and device; by default all, up to `MOST` and as far as `memory`
            bears.
        devices: To spread the replicas over; by default the first one.
        memory: Bytes that a call may take on a device.
        progress: Whether to draw a progress bar.

    Raises:
        ValueError: Unknown `replicas`; when asked, masks of another length, too little memory for
            one replica, or a folder with the results of another question.
    """
    plugins.one_of("replicas", replicas, MAPPED)
    keep = keep or (lambda model, outcomes: outcomes)
    devices = list(devices or jax.devices()[:1])
    run, place = _spread(retraining, keep, replicas, devices)
    advance, data = jax.jit(retraining.advance), retraining.data
    compiled, used = {}, jax.device_put(data, place)

    def program(model, num_masks):
        each = chunk or MOST[replicas]
        step = 1 if replicas == "map" else 16
        most = -(-num_masks // len(devices))
        each = min(each, -(-most // step) * step)
        while True:
            size = each * len(devices)
            if size not in compiled:
                ones = np.ones((size, len(used.train.label)), np.float32)
                compiled[size] = run.lower(used, model, np.int32(0), ones).compile()
            need = _bytes(compiled[size])
            if need <= memory or chunk:
                return compiled[size], size
            if each == 1:
                raise ValueError(f"one replica takes {need} bytes, memory={memory}: raise memory")
            each = max(1, min(each - 1, int(each * memory / need)))

    def ask(model, masks, folder=None):
        masks = np.asarray(masks, np.float32)
        num_samples = len(used.train.label)
        if masks.ndim != 2 or masks.shape[1] != num_samples:
            raise ValueError(f"masks of shape {masks.shape}: need [R, {num_samples}]")
        asked, inverse = np.unique(masks, axis=0, return_inverse=True)
        first = first_difference(retraining, asked)
        order = np.argsort(first, kind="stable")
        asked, first, inverse = asked[order], first[order], np.argsort(order)[inverse.ravel()]
        like = jax.eval_shape(lambda *args: keep(*retraining.run(*args)), data, model, asked[0], 0)
        found = jax.tree.map(lambda x: np.zeros((len(asked), *x.shape), x.dtype), like)
        done, question = np.zeros(len(asked), bool), ""
        if folder:
            question = _question(retraining, model, keep, asked)
            done = parts.load(folder, question, found)
        rows = np.flatnonzero(~done)
        call, size = program(model, max(1, len(rows)))
        base, reached = model, 0
        with _bar(progress, len(asked), len(asked) - len(rows)) as bar:
            for begin in range(0, len(rows), size):
                some = rows[begin : begin + size]
                start = first[some[0]]
                base, reached = advance(data, base, np.int32(reached), start), start
                padded = np.concatenate([some, np.repeat(some[-1:], size - len(some))])
                spread = jax.device_put(base, place)
                part = jax.device_get(call(used, spread, start, asked[padded]))
                part = jax.tree.map(lambda x: x[: len(some)], part)  # noqa: B023
                if folder:
                    parts.save(folder, question, some, part)
                jax.tree.map(lambda rows, x: rows.__setitem__(some, x), found, part)  # noqa: B023
                bar.update(len(some))
        return jax.tree.map(lambda x: x[inverse], found)

    return ask


def first_difference(retraining: retrainings.Retraining, masks) -> np.ndarray:
    """The first stop of the first cycle at which a mask differs from ones, int32 [R].

    The number of stops if there is none in that cycle; 0 where replicas cannot start late.

    Args:
        retraining: From `retraining.retraining`.
        masks: [R, N] float.
    """
    visits = retraining.visits[0]
    if not retraining.late:
        return np.zeros(len(masks), np.int32)
    stop_of = np.full(masks.shape[1] + 1, len(visits), np.int32)
    stop_of[visits[::-1].ravel()] = np.repeat(np.arange(len(visits))[::-1], visits.shape[1])
    return np.where(masks != 1, stop_of[:-1], len(visits)).min(axis=1).astype(np.int32)


def _spread(retraining, keep, replicas, devices):
    """The jitted `(Data, Model, first, masks [K, N]) -> kept [K, ...]`, and where its data lie."""

    def one(data, model, first, mask):
        return keep(*retraining.run(data, model, mask, first))

    mapped = MAPPED[replicas](one)
    options = CPU_OPTIONS if devices[0].platform == "cpu" and replicas != "map" else None
    if len(devices) == 1:
        device = jax.sharding.SingleDeviceSharding(devices[0])
        return jax.jit(mapped, compiler_options=options, in_shardings=device), device
    mesh = jax.sharding.Mesh(np.array(devices), ("replica",))
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("replica")
    specs = (whole, whole, whole, split)
    mapped = jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)
    shardings = tuple(jax.sharding.NamedSharding(mesh, spec) for spec in specs)
    return jax.jit(mapped, compiler_options=options, in_shardings=shardings), shardings[0]


def _map(one):
    return lambda data, model, first, masks: jax.lax.map(
        lambda mask: one(data, model, first, mask), masks
    )


def _vmap(one):
    return jax.vmap(one, in_axes=(None, None, None, 0))


MAPPED = {"vmap": _vmap, "map": _map}


def _bytes(compiled) -> int:
    used = compiled.memory_analysis()
    if used is None:
        return 0
    return used.temp_size_in_bytes + used.output_size_in_bytes + used.argument_size_in_bytes


def _bar(progress, total, initial):
    return tqdm.tqdm(
        total=total,
        initial=initial,
        desc="counterfactuals",
        unit="run",
        disable=not progress,
        dynamic_ncols=True,
    )


def _question(retraining, model, keep, masks) -> str:
    """A hash of everything that the results depend on."""
    found = hashlib.sha256(masks.tobytes())
    program = jax.make_jaxpr(lambda *args: keep(*retraining.run(*args)))(
        retraining.data, model, masks[0], 0
    )
    found.update(re.sub(r"0x[0-9a-f]+", "", str(program)).encode())
    for leaf in jax.tree.leaves((retraining.data, model)):
        leaf = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def _is_key(leaf) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
