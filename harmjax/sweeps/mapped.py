"""Runs that differ in plain numbers only, trained side by side in one program.

A run on tabular data takes milliseconds; compiling it, its checkpoints and its tables take a
second. Mapped runs are compiled once, and keep only what predicting and evaluating need: the
delivered model and metrics.csv.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import metrics, models, policies, tables, types
from harmjax import task as tasks
from harmjax.engine import learner, travel
from harmjax.policies import fixed
from harmjax.runs import checkpoints, logbook, same_samples, training
from harmjax.runs import course as courses

NUMBERS = ("seed", "learning_rate", "decay")
FEWEST = 4  # below, looping is faster
MOST = 64  # in one call
IGNORED = ("detect", "sweep", "report")  # groups that no run depends on


class Trained(NamedTuple):
    """One run, and what it gave after every cycle."""

    model: types.Model  # delivered
    logits: dict  # split -> [C, M, K] float32
    finite: types.Array  # [C] bool, whether all losses of a cycle were
    visits: types.Array  # [C] int32, samples trained on


def groups(configs: Sequence, families: Sequence) -> list[list[int]]:
    """Which runs can be mapped together, as lists of their positions.

    These are on tabular data in memory, under a policy that verifies nothing, equal but for seed,
    learning rate and decay, and at least `FEWEST`. A run that shares its warm-up with one that
    cannot be mapped is none of them: both start from the same checkpoint.

    Args:
        configs: Of the runs, on one study.
        families: Whose warm-up each one starts from, equal where it is shared.
    """
    fit = [_fits(config) for config in configs]
    looped = {family for family, fits in zip(families, fit, strict=True) if not fits}
    found: dict[str, list[int]] = {}
    for i, (config, family) in enumerate(zip(configs, families, strict=True)):
        if fit[i] and family not in looped:
            found.setdefault(_rest(config), []).append(i)
    return [
        part.tolist()
        for some in found.values()
        if len(some) >= FEWEST
        for part in np.array_split(some, -(-len(some) // MOST))
    ]


def train(configs: Sequence, workdirs: Sequence, study) -> list[training.Outcome | None]:
    """The outcomes of one group of runs; None for one whose loss is not finite.

    Equal to `training.train` up to rounding.

    Args:
        configs: One group of `groups`.
        workdirs: Of the runs; each gets metrics.csv and its delivered model.
        study: Of all of them.
    """
    for workdir in workdirs:
        same_samples.check(workdir, study)
    began = time.perf_counter()
    numbers = [
        np.array([config.seed for config in configs], np.uint32),
        *(np.array([config.train[n] for config in configs], np.float32) for n in NUMBERS[1:]),
    ]
    policy = training.build_policy(configs[0], study)
    run = jax.jit(jax.vmap(_run(configs[0], study, policy), (None, 0, 0, 0)))
    found = jax.device_get(run((study.train, study.verification, study.test), *numbers))
    seconds = (time.perf_counter() - began) / len(configs)
    outcomes = []
    for i, workdir in enumerate(workdirs):
        one = jax.tree.map(lambda x: x[i], found)  # noqa: B023
        finite = bool(one.finite.all())
        outcomes.append(_kept(configs[i], workdir, study, policy, one, seconds) if finite else None)
    return outcomes


def _fits(config) -> bool:
    train = config.train
    in_memory = (train.topology, train.federation) == ("travelling", "memory")
    is_fixed = config.policy.name in policies.UNVERIFYING
    return bool(config.data.features) and in_memory and is_fixed


def _rest(config) -> str:
    """All settings but the plain numbers, as text."""
    settings = json.loads(config.to_json_best_effort())
    settings = {name: value for name, value in settings.items() if name not in IGNORED}
    del settings["seed"]
    settings["train"] = {k: v for k, v in settings["train"].items() if k not in NUMBERS}
    return json.dumps(settings, sort_keys=True)


def _run(config, study, policy) -> Callable[..., Trained]:
    """Warm-up and control, of the samples of the splits, seed, learning rate and decay."""
    train, num_samples = config.train, len(study.names)
    settings = dict(config.model)
    task = tasks.classification(len(study.classes))
    classifier = models.get(settings.pop("name"))(**settings, classes=task.num_classes)
    again = train.restart_schedule
    restart = train.warmup_cycles + again if again >= 0 else None
    clean = ~study.corrupted if train.warmup_on == "clean" else None
    warm = fixed.under_mask(clean, word=study.word)

    def run(data, seed, learning_rate, decay):
        key = jax.random.key(seed)
        schedule = learner.published_schedule(learning_rate, decay, restart=restart)
        lrn = learner.learner(classifier, schedule, task=task)
        course = courses.of_config(train, study.train.centre, jax.random.fold_in(key, 2))
        samples, *held_out = data
        verification = held_out[0]._replace(centre=study.verification.centre)
        fed = course.federation(lrn, samples, verification, course.key)

        def evaluate(model):
            return [lrn.logits(model, split.image) for split in held_out]

        def phase(policy, model, cycles):
            steps = travel.steps(fed, policy, course.draw, evaluate=evaluate)

            def one(model, number):
                start = types.Travel(model, policy.init(num_samples, None))
                after, record = travel.cycle(steps, start, number)
                tried = record.info.kind != types.NO_TRIAL
                finite = jnp.all(jnp.isfinite(record.info.loss) | ~tried)
                visits = jnp.sum(record.stops.ids < num_samples)
                return after.model, (record.evaluation, finite, visits)

            return jax.lax.scan(one, model, jnp.array(cycles, jnp.int32))

        fresh = lrn.init(jax.random.fold_in(key, 1), samples.image[:1])
        model, before = phase(warm, fresh, range(train.warmup_cycles))
        model, after = phase(policy, model, range(train.warmup_cycles, train.cycles))
        logits, finite, visits = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), before, after)
        return Trained(model, dict(zip(("verification", "test"), logits, strict=True)),
                       finite, visits)  # fmt: skip

    return run


def _kept(config, workdir, study, policy, one: Trained, seconds) -> training.Outcome:
    """Writes what is kept of one run and returns its outcome."""
    cycles, warm = config.train.cycles, config.train.warmup_cycles

    def measured(split, cycle):
        label = np.asarray(getattr(study, split).label)
        groups = study.groups[split]
        return metrics.by_group(one.logits[split][cycle], label, groups, study.classes)

    evaluations = [{split: measured(split, c) for split in one.logits} for c in range(cycles)]
    rows = [row for c, found in enumerate(evaluations) for row in logbook.metric_rows(c, found)]
    tables.write(workdir / "metrics.csv", logbook.metric_columns(study.classes), rows)
    checkpoints.save_model(workdir / "checkpoints", "final", one.model)
    state = policy.init(len(study.names), None)
    passes = logbook.FORWARD_EQUIVALENTS["gradient"] * int(one.visits[warm:].sum())
    return training.Outcome(
        model=one.model,
        mask=np.asarray(policy.offer(state, cycles).weight),
        verdicts=jax.device_get(policy.verdicts(state, cycles)),
        metrics=evaluations[-1]["test"]["all"].measured,
        cost={"phases": {"train": {"forward_equivalents": passes, "seconds": seconds}}},
        verified=evaluations[-1]["verification"]["all"].measured,
    )
