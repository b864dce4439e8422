"""What quality control costs: scoring over a training step, a policy's cycle over a plain one.

    python -m benchmarks.quality_control

prints two tables and writes `benchmarks/results/quality_control.csv`. SFCN at 40x48x40, batch 5.

`scoring`: every sample of a batch scored by alignment, by `jvp` and by `difference`. `share` is the
cost over that of a training step; all take turns, medians.

`cycle`: a cycle of each policy on a semi-synthetic cohort of 10 centres, after two plain cycles.
Policies take turns, a cycle each; the median, and its `share` of a plain cycle. What verification
costs depends on the number of verification scans and on what it rejects.

`cpu_share` is the same by the seconds of all cores, which other jobs on the machine change less.
"""

import sys

import jax
import jax.numpy as jnp

from benchmarks import cycles, record
from harmjax import models, policies, types
from harmjax.engine import learner as learners
from harmjax.scorers import alignment

POLICIES = ("none", "verify_revisit", "screen")
WIDTHS = (1 / 4, 1)
BATCH, GRID = 5, (40, 48, 40)


def main(turns: int = 7, widths=WIDTHS, centres: str = "10"):
    rows = [row for width in widths for row in scoring(width, turns)]
    record.write("quality_control", rows + cycle_rows(centres, 3))


def scoring(width, turns, steps=None, grid=GRID, dtype="float32"):
    """Rows of the first table."""
    classifier = models.get("sfcn")(width=width, dtype=dtype)
    learner = learners.learner(classifier, learners.published_schedule())
    image = jax.random.bits(jax.random.key(0), (BATCH, *grid), "uint8")
    label = fold = jnp.arange(BATCH, dtype=jnp.int32) % 2
    model = jax.jit(learner.init)(jax.random.key(1), image[:1])
    direction = jax.tree.map(lambda p: 0.01 * jnp.ones_like(p), model.params)
    everyone = jnp.ones(BATCH, bool)

    def step(model, batch):
        return learner.learn(model, batch, jnp.ones(BATCH), everyone, 0)

    def alone(kind):
        def score(model, batch):
            found = alignment.losses_along(learner, model, batch, direction, kind)
            # The next pass waits for this one, as it would in training.
            params = jax.tree.map(lambda p: p + 0 * found.sum(), model.params)
            return model._replace(params=params), found

        return score

    steps = steps or (20 if width < 1 else 3)
    keys = jax.random.split(jax.random.key(2), (steps, BATCH))

    def repeated(body):
        def scanned(image, model):
            def one(model, keys):
                return body(model, types.Batch(image, label, keys, fold))

            return jax.lax.scan(one, model, keys)

        compiled = jax.jit(scanned)
        return lambda: compiled(image, model)

    ways = {"step": step} | {kind: alone(kind) for kind in alignment.DERIVATIVES}
    took = record.in_turns({name: repeated(body) for name, body in ways.items()}, turns)
    plain = took["step"]

    def row(name):
        wall, cores = took[name]
        what = "training step" if name == "step" else f"alignment, {name}"
        return line("scoring", what, width, wall / steps, wall / plain[0], cores / plain[1])

    return [row(name) for name in ways]


def line(table, what, width, seconds, share, cpu_share):
    """One row of either table."""
    return {
        "table": table,
        "what": what,
        "width": width,
        "seconds": record.rounded(seconds),
        "share": round(share, 2),
        "cpu_share": round(cpu_share, 2),
    }


def cycle_rows(centres, turns):
    """Rows of the second table: none's first."""
    train, held_out = cycles.brains(centres)
    learner = learners.learner(models.get("sfcn")(width=1 / 4), learners.published_schedule(1e-3))
    known = [name for name in POLICIES if name in policies.names()]
    runs, warm = {}, None
    for name in known:
        policy = policies.get(name)()
        program = cycles.program(
            learner, policy, train, held_out, jax.random.key(3), batch_size=BATCH, chunk=8
        )
        traveller = cycles.start(learner, policy, program, train.image)
        if warm is None:
            for number in range(2):
                traveller = cycles.cycle(program, traveller, number)
            warm = traveller.model
        runs[name] = program, cycles.cycle(program, traveller._replace(model=warm), 2)
    took = {name: [] for name in known}
    for number in range(3, 3 + turns):
        for name, (program, traveller) in runs.items():

            def run(program=program, traveller=traveller, number=number):
                return cycles.cycle(program, traveller, number)

            took[name].append(record.seconds(run))
    took = {name: record.medians(each) for name, each in took.items()}
    plain = took["none"]
    scans = {"train_scans": len(train.label), "verification_scans": len(held_out.label)}
    return [
        line("cycle", name, 1 / 4, wall, wall / plain[0], cores / plain[1]) | scans
        for name, (wall, cores) in took.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
