"""How fast scans are made, read and streamed.

    python -m benchmarks.data

prints a table and writes `benchmarks/results/data.csv`. Compiling is excluded and files are in the
page cache. `ratio` is to the reference in the same row, from the same turns:

- `generate`: semi-synthetic scans in memory; 2 mm against 4 mm.
- `write`: a cohort as NIfTI files in BIDS layout, its program loaded from the compilation cache,
  against making the same scans alone.
- `ingest`: NIfTI files onto the model's grid, in threads, against reading the same files one after
  another with nibabel without resampling. `1 mm .nii.gz` files have 160x192x160 voxels, and are
  read onto the 4 mm grid.
- `fetch`: batches of five from a file, read ahead, against the same from memory.
- `train`: a plain cycle of an SFCN of quarter width whose scans stay in a file (the federation
  `stream`), against one whose scans are in memory.
"""

import itertools
import pathlib
import sys
import tempfile

import jax
import nibabel
import numpy as np

from benchmarks import cycles, record
from harmjax import models, policies
from harmjax.cohort import dataset, generator, plan
from harmjax.data import ingest, records, stream
from harmjax.data.scans import nifti
from harmjax.data.tables import manifest
from harmjax.engine import learner as learners


def main(turns: int = 3, centres: str = "5", large: int = 6, samples: int = 100):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = [
            *made(turns, plan.rows(plan.centres(centres))),
            *written(turns, centres, folder),
            *ingested(turns, folder, large),
            *streamed(turns, folder, samples),
        ]
    record.write("data", rows)


def compared(what, scans, functions, turns):
    """A row for each function; the first is the reference of all."""
    took = record.in_turns(functions, turns)
    reference = next(iter(took))
    rates = {name: scans[name] / wall for name, (wall, _) in took.items()}
    return [
        {
            "what": what,
            "how": name,
            "scans": scans[name],
            "scans_per_second": record.rounded(rate),
            "reference": reference,
            "ratio": round(rate / rates[reference], 2),
        }
        for name, rate in rates.items()
    ]


def made(turns, rows):
    """Scans a second of the generator at 4 and 2 mm."""
    some = {"4 mm": rows[:32], "2 mm": rows[:4]}
    make = {
        name: generator.generator(spacing=float(name[0]), batch_size=len(chosen))
        for name, chosen in some.items()
    }
    functions = {name: lambda name=name: make[name](some[name]) for name in some}
    return compared(
        "generate", {name: len(chosen) for name, chosen in some.items()}, functions, turns
    )


def written(turns, centres, folder):
    """Scans a second with files, against those without."""
    rows = plan.rows(plan.centres(centres))
    make, places = generator.generator(), cohorts(folder)
    functions = {
        "in memory": lambda: make(rows),
        "files": lambda: dataset.write(next(places), centres=centres),
    }
    return compared("write", dict.fromkeys(functions, len(rows)), functions, turns)


def cohorts(folder):
    """Folders for one cohort after another."""
    return (folder / f"cohort{number}" for number in itertools.count())


def ingested(turns, folder, large):
    """Scans a second of `ingest.load`, against nibabel one after another."""
    small = manifest.read(next(cohorts(folder)) / "manifest.csv").records
    return [
        *read("4 mm .nii.gz", small, turns),
        *read("1 mm .nii.gz", fine(folder, large), turns),
    ]


def read(kind, scans, turns):
    names = f"nibabel, {kind}", f"harmjax, {kind}"

    def plainly():
        for r in scans:
            np.asarray(nibabel.load(r.path).dataobj)

    how = ingest.Reading()
    ours = lambda: ingest.load(scans, how, progress=False)  # noqa: E731
    functions = dict(zip(names, (plainly, ours), strict=True))
    return compared("ingest", dict.fromkeys(names, len(scans)), functions, turns)


def fine(folder, number):
    """Records of files of random voxels at 1 mm, about half of them compressible."""
    shape, affine = nifti.grid(1)
    rng = np.random.default_rng(0)
    scans = []
    for i in range(number):
        coarse = rng.integers(0, 240, [side // 4 for side in shape], np.uint8)
        voxels = coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2) + rng.integers(
            0, 16, shape, np.uint8
        )
        path = nifti.write(str(folder / f"fine{i}.nii.gz"), voxels, affine)
        scans.append(records.Record(i, f"s{i}", "", "A", i % 2, "train", str(path)))
    return scans


def streamed(turns, folder, samples):
    """Batches, and cycles of training, from a file against memory."""
    train, held_out = cycles.noise([samples // 10] * 10, 40)
    mapped = np.memmap(folder / "images", np.uint8, "w+", shape=train.image.shape)
    mapped[:] = train.image
    mapped.flush()
    on_disk = np.memmap(folder / "images", np.uint8, "r", shape=train.image.shape)
    batches = np.random.default_rng(0).permutation(samples).reshape(-1, 5)

    def fetched(images):
        return lambda: [jax.device_put(x) for x in stream.batches(lambda ids: images[ids], batches)]

    names = "from memory", "from a file"
    functions = dict(zip(names, map(fetched, (train.image, on_disk)), strict=True))
    learner = learners.learner(models.get("sfcn")(width=1 / 4), learners.published_schedule())

    def trained(federation, image):
        policy, some = policies.get("none")(), train._replace(image=image)
        program = cycles.program(
            learner, policy, some, held_out, jax.random.key(0), federation=federation, chunk=8
        )
        traveller = cycles.start(learner, policy, program, train.image)
        return lambda: cycles.cycle(program, traveller, 0)

    cycle = {"memory": trained("memory", train.image), "stream": trained("stream", on_disk)}
    return [
        *compared("fetch", dict.fromkeys(names, samples), functions, turns),
        *compared("train", dict.fromkeys(cycle, samples), cycle, turns),
    ]


if __name__ == "__main__":
    sys.exit(main())
