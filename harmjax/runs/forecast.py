"""What a run would take, before it is started: memory and time, from one step of each kind."""

import resource
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import policies, types
from harmjax.engine import travel
from harmjax.federations import traffic
from harmjax.policies import fixed
from harmjax.runs import logbook, preparation, training, trajectories

REPEATS = 3
KIBIBYTE = 1024
STREAMED = "stream"


class Forecast(NamedTuple):
    """An estimate; time is that of a run in which no update is refused and nobody is eliminated."""

    process_bytes: int  # of this process, with the scans that it has read into memory
    image_bytes: int  # of all scans, in memory or on disk
    model_bytes: int  # one traveller, with optimiser state
    working_bytes: int  # of the larger of a training step and a verification pass
    is_streamed: bool  # whether scans stay on disk
    passes: dict[str, int]  # of the whole run: forward, gradient and jvp passes in samples
    seconds: dict[str, float]  # of one pass over one sample
    cycles: int  # in all, with those of the delivered model

    @property
    def bytes(self) -> int:
        """Of memory: the process, the device's copy of the scans, three travellers, a step."""
        on_device = 0 if self.is_streamed else self.image_bytes
        return self.process_bytes + on_device + 3 * self.model_bytes + self.working_bytes

    @property
    def total_seconds(self) -> float:
        """Of the run, without compiling."""
        return sum(self.passes[kind] * self.seconds[kind] for kind in self.passes)


def forecast(config, study: preparation.Study) -> Forecast:
    """The forecast of the run that a config describes.

    What centres would be asked in a cycle is read off the policy itself, with a federation that
    computes nothing; one training step and one verification pass are compiled and timed.

    Args:
        config: See `configs/`.
        study: From `preparation.prepare`.

    Raises:
        ValueError: Settings that cannot work.
    """
    train = config.train
    learner = training.build_learner(config)
    trajectories.check(config, study)
    watched, joined = study, 0
    if trajectories.has_shadow(config):
        watched, joined = trajectories.shadow_study(study), len(study.verification.label)
    policy = training.build_policy(config, watched, **({"joined": joined} if joined else {}))
    model = jax.jit(learner.init)(jax.random.key(0), jnp.asarray(study.train.image[:1]))
    warm, control = train.warmup_cycles, train.cycles - train.warmup_cycles
    plain = fixed.under_mask()
    delivery = control if preparation.is_retrained(config) else 0
    delivery = train.cycles if trajectories.has_shadow(config) else delivery
    is_plain, everyone = config.policy.name in policies.UNVERIFYING, np.ones(len(study.names), bool)
    beside = []
    if trajectories.folds(config):
        beside = trajectories.witnesses(config, study, everyone, everyone)
    cycles = (
        *((study, one, warm) for one in beside),
        (study, plain, delivery),
        (watched, plain, warm + (control if is_plain else 0)),
        (watched, policy, 0 if is_plain else control),
    )
    passes = dict.fromkeys(logbook.FORWARD_EQUIVALENTS, 0)
    for of, asked, number in cycles:
        found = _asked(config, of, learner, asked, model) if number else {}
        for kind, samples in found.items():
            passes[kind] += number * samples
    measured = len(study.verification.label) + len(study.test.label)
    metrics_of = delivery if joined else train.cycles + delivery  # a shadow has none
    passes["forward"] += metrics_of * measured
    step, chunk = _step(config, study, learner, model), _chunk(config, study, learner, model)
    seconds = {"gradient": _seconds(step), "forward": _seconds(chunk)}
    seconds["jvp"] = seconds["forward"] * logbook.FORWARD_EQUIVALENTS["jvp"]
    return Forecast(
        process_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE,
        image_bytes=sum(getattr(study, s).image.nbytes for s in ("train", "verification", "test")),
        model_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(model)),
        working_bytes=max(_working_bytes(program) for program, _, _ in (step, chunk)),
        is_streamed=train.federation == STREAMED,
        passes=passes,
        seconds=seconds,
        cycles=train.cycles + delivery,
    )


def text(found: Forecast) -> str:
    """A forecast as a person reads it."""
    where = "left on disk" if found.is_streamed else "included"
    scans = f"scans: {_size(found.image_bytes)}, {where}"
    return (
        f"the run: about {_size(found.bytes)} of memory ({scans}), and for {found.cycles} cycles "
        f"about {_duration(found.total_seconds)} on this machine, without compiling and writing; "
        "longer where updates are refused and tried again, or folds are asked for longer or again"
    )


def _asked(config, study, learner, policy, model) -> dict[str, int]:
    """Passes of one cycle in which nothing is refused, in samples."""
    train, held_out = study.train, study.verification
    course = training.course(config, study, federation="memory")
    recorder = traffic.recorder(learner, train.image, course.minimum)

    def blank(samples):
        return samples._replace(image=jnp.zeros(samples.image.shape, samples.image.dtype))

    def cycle(model, state):
        fed = course.federation(learner, blank(train), blank(held_out), course.key)
        watched, tally = recorder.watch(traffic.silent(fed))
        steps = travel.steps(watched, policy, course.draw, visits=course.visits)
        travel.cycle(steps, types.Travel(model, state), 0)
        return tally()

    number = np.bincount(held_out.label, minlength=len(study.classes))
    state = policy.init(len(study.names), np.diag(number).astype(np.int32))
    asked = recorder.asked([jax.jit(cycle)(model, state)])
    return {
        kind: sum(n.samples * request.passes.count(kind) for request, n in asked.items())
        for kind in logbook.FORWARD_EQUIVALENTS
    }


def _step(config, study, learner, model):
    """(compiled training step, its arguments, samples) of one full batch."""
    size = min(config.train.batch_size, len(study.names))
    batch = types.Batch(
        jnp.asarray(study.train.image[:size]),
        jnp.asarray(study.train.label[:size]),
        jax.random.split(jax.random.key(0), size),
        jnp.zeros(size, jnp.int32),
    )
    arguments = (model, batch, jnp.ones(size), jnp.ones(size, bool), jnp.int32(0))
    return jax.jit(learner.learn).lower(*arguments).compile(), arguments, size


def _chunk(config, study, learner, model):
    """The same of one verification pass."""
    images = study.verification.image[: config.train.verification_batch]
    arguments = (model, jnp.asarray(images))
    return jax.jit(learner.logits).lower(*arguments).compile(), arguments, len(images)


def _seconds(program) -> float:
    """Seconds a sample, the median of a few calls after the first."""
    compiled, arguments, size = program
    jax.block_until_ready(compiled(*arguments))
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) / size


def _working_bytes(compiled) -> int:
    found = compiled.memory_analysis()
    return 0 if found is None else found.temp_size_in_bytes + found.output_size_in_bytes


def _size(number) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def _duration(seconds) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
