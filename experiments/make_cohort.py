"""Writes a semi-synthetic multi-centre T1 cohort as NIfTI files in BIDS layout.

    harmjax make_cohort --config=cohort83 --workdir=cohort83
    harmjax make_cohort --config=cohort83 --workdir=small \\
        --config.cohort.centres=20 --config.cohort.min_test=50 --config.cohort.min_verification=50

The dataset is the workdir itself: sub-*/anat/*_T1w.nii.gz, participants.tsv and, once complete,
manifest.csv. Running again on the same workdir makes what is still missing.
"""

import collections
import time

from harmjax import tables

from . import command


def main(config, workdir):
    # Imported late: --help answers without waiting for JAX.
    import tqdm

    from harmjax.cohort import dataset, plan

    start = time.perf_counter()
    with tqdm.tqdm(unit="scan", desc="cohort") as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        try:
            rows, made = dataset.write(workdir, progress=progress, **config.cohort.to_dict())
        except (ValueError, OSError):
            bar.leave = False
            raise
    classes = plan.CLASSES[config.cohort.diseases]
    print(summary(rows, made, time.perf_counter() - start, classes))
    print(f"manifest: {workdir}/manifest.csv")


def summary(rows, made, seconds, classes):
    """Returns a table of scans per split and class, and how fast they were made."""
    called = ("controls", "patients") if len(classes) == 2 else classes
    lines = []
    for split in (*dict.fromkeys(row.split for row in rows), "all"):
        chosen = [row for row in rows if split in (row.split, "all")]
        counts = collections.Counter(row.label for row in chosen)
        cells = (counts[label] for label in range(len(called)))
        lines.append((split, *cells, len(chosen), len({row.centre for row in chosen})))
    rate = f"{made / seconds:.0f} scans/s" if made else "all were there"
    table = tables.aligned(("split", *called, "scans", "centres"), lines)
    return f"{table}\n{made} scans made in {seconds:.1f} s ({rate})"


if __name__ == "__main__":
    # Scans are the same whoever makes them, and a folder of another cohort is refused untouched.
    command.run(main, hold=False)
