"""How time and memory grow with samples, centres, cycles and devices.

    python -m benchmarks.scaling
    HARMJAX_COHORT83=/path/to/cohort83/manifest.csv python -m benchmarks.scaling

prints a table and writes `benchmarks/results/scaling.csv`. Every row is a process of its own, and
`peak_mib` the most memory that it held; a process that only imports JAX holds some 250.

`cohort83`: `experiments.train` itself on the 83-centre cohort of `configs/cohort83.py`, two plain
cycles of an SFCN of quarter width, of which the second is timed; left out without the variable.
`samples`, `centres`: a plain cycle of the same model on random 40x48x40 scans, 100 held out,
compiling excluded. `cycles`: the memory held after the first and after the last of ten cycles.
`devices`: 1,000 leave-one-out retrainings of an MLP on the heart data over forced host devices;
more devices than cores can bring nothing. `ratio` is to the first row of the same kind, in seconds.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

from benchmarks import record

CASES = (
    {"kind": "cohort83"},  # first: the most memory of all children so far is its own
    *({"kind": "samples", "samples": n, "centres": 20} for n in (200, 500, 1000, 2000)),
    *({"kind": "centres", "samples": 1000, "centres": n} for n in (10, 100, 500)),
    {"kind": "cycles", "samples": 100, "centres": 20, "cycles": 10},
    *({"kind": "devices", "devices": n, "replicas": 1000} for n in (1, 2, 4)),
)


def main(cases=CASES):
    manifest = os.environ.get("HARMJAX_COHORT83")
    rows = []
    for case in cases:
        if case["kind"] == "cohort83":
            if not manifest:
                print("cohort83 is left out: HARMJAX_COHORT83 names no manifest")
                continue
            found = trained(manifest)
        else:
            found = in_a_process(case)
        first = next((row for row in rows if row["kind"] == case["kind"]), found)
        rows.append(case | found | {"ratio": round(found["seconds"] / first["seconds"], 2)})
        print(*(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    record.write("scaling", rows)


def in_a_process(case) -> dict:
    """What `measure` finds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scaling", json.dumps(case)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(case) -> dict:
    """Seconds and memory of one case, in this process."""
    found = replicas(**case) if case["kind"] == "devices" else plain_cycles(**case)
    return found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


def plain_cycles(kind, samples, centres, cycles=1) -> dict:
    """Seconds of a cycle, the best of several."""
    import jax
    import numpy as np

    from benchmarks import cycles as running
    from harmjax import models, policies
    from harmjax.engine import learner as learners

    sizes = np.diff(np.linspace(0, samples, centres + 1).astype(int))
    train, held_out = running.noise(sizes, 100)
    learner = learners.learner(models.get("sfcn")(width=1 / 4), learners.published_schedule())
    policy = policies.get("none")()
    program = running.program(learner, policy, train, held_out, jax.random.key(1), chunk=8)
    traveller = running.start(learner, policy, program, train.image)
    one_call = jax.tree.map(lambda x: x[: running.STOPS], program.steps.draw(traveller, 0))
    program.steps.close(program.steps.visits(traveller, one_call)[0], 0)
    took, held = [], []
    for number in range(cycles):
        took.append(record.seconds(running.cycle, program, traveller, number)[0])
        held.append(resident())
    found = {"stops": program.num_stops, "seconds": record.rounded(min(took))}
    found["scans_per_second"] = record.rounded(samples / min(took))
    return found | ({"first_mib": held[0], "last_mib": held[-1]} if kind == "cycles" else {})


def resident() -> int:
    """MiB of memory that this process holds now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def replicas(kind, devices, replicas) -> dict:
    """Seconds of a bulk of retrainings, compiling excluded."""
    del kind
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    from benchmarks import counterfactual
    from harmjax.counterfactual import bulk, masks, retraining
    from harmjax.engine import learner as learners
    from harmjax.runs import course as courses

    load, classifier, cycles, _ = counterfactual.TASKS["heart-mlp"]
    train, verification = load()
    learner = learners.learner(classifier, learners.published_schedule(1e-3))
    course = courses.course(train.centre, jax.random.key(1))
    again = retraining.retraining(
        learner, train, {"verification": verification}, course, cycles=range(cycles)
    )
    model = learner.init(jax.random.key(0), jax.numpy.asarray(train.image[:1]))
    number = len(train.label)
    these = masks.leave_one_out(number, [i % number for i in range(replicas)])
    ask = bulk.bulk(again, progress=False, devices=jax.devices())
    ask(model, these)
    return {"seconds": record.rounded(min(record.seconds(ask, model, these)[0] for _ in range(3)))}


def trained(manifest) -> dict:
    """Seconds of the second plain cycle of `experiments.train`, and the memory of the whole run."""
    with tempfile.TemporaryDirectory() as workdir:
        settings = {
            "data.manifest": manifest,
            "data.spacing": 4.0,
            "data.store": False,
            "model.width": 0.25,
            "policy.name": "none",
            "train.warmup_cycles": 0,
            "train.cycles": 2,
            "report": False,
        }
        command = [sys.executable, "-m", "experiments.train", "--config=configs/published.py"]
        command += [f"--workdir={workdir}"]
        command += [f"--config.{key}={value}" for key, value in settings.items()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        cost = json.loads((pathlib.Path(workdir) / "cost.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"seconds": record.rounded(cost["cycles"][-1]["seconds"]), "peak_mib": peak >> 10}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        main()
