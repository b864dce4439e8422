"""Cohorts in memory and whole cycles of a program, for several benchmarks."""

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types
from harmjax.cohort import generator, plan
from harmjax.engine import travel
from harmjax.runs import course as courses
from harmjax.runs import programs


def noise(sizes, held_out: int, shape=(40, 48, 40), seed: int = 0):
    """(train, held out) of `sizes[c]` training scans of random voxels at centre c."""
    rng = np.random.default_rng(seed)

    def drawn(centre):
        number = len(centre)
        return types.Samples(
            image=rng.integers(0, 256, (number, *shape), np.uint8),
            label=rng.integers(0, 2, number).astype(np.int32),
            centre=np.asarray(centre, np.int32),
            identity=rng.integers(0, 2**32, number, np.uint32),
        )

    everywhere = np.sort(np.arange(held_out) % len(sizes))
    return drawn(np.repeat(np.arange(len(sizes)), sizes)), drawn(everywhere)


def brains(centres: str, effect: float = 20.0):
    """(train, verification) of semi-synthetic scans at 4 mm, see `harmjax.cohort`."""
    rows = plan.rows(plan.centres(centres))
    names = sorted({row.centre for row in rows})
    make = generator.generator(effect=effect)

    def samples(split):
        chosen = [row for row in rows if row.split == split]
        return types.Samples(
            image=make(chosen),
            label=np.array([row.label for row in chosen], np.int32),
            centre=np.array([names.index(row.centre) for row in chosen], np.int32),
            identity=np.arange(len(chosen), dtype=np.uint32),
        )

    return samples("train"), samples("verification")


STOPS = 32  # of one compiled call


def program(learner, policy, train, held_out, key, **course):
    """The program of a policy; its compiled calls are awaited, as those of a run are.

    Args:
        learner: What every centre computes.
        policy: From `harmjax.policies`.
        train: N training samples.
        held_out: M verification samples.
        key: Of the course.
        course: Options of `course.course`.
    """
    return programs.program(
        learner,
        policy,
        train,
        held_out,
        courses.course(train.centre, key, **course),
        stops_per_call=STOPS,
        watch=lambda traveller, stops, info, first: np.asarray(info.loss),
    )


def start(learner, policy, program, image):
    """The traveller before the first cycle, for training scans `image` [N, *S]."""
    model = jax.jit(learner.init)(jax.random.key(0), jnp.asarray(image[:1]))
    model = jax.device_put(model, jax.local_devices()[0])
    state = policy.init(len(image), program.confusion(model))
    return jax.device_put(types.Travel(model, state), jax.local_devices()[0])


def cycle(program, traveller, number: int):
    """The traveller after one cycle, computed."""
    traveller, _ = travel.cycle(program.steps, traveller, number)
    program.asked()
    return jax.block_until_ready(traveller)
