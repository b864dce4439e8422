"""A cohort on disk: NIfTI files in BIDS layout, written as they are made, resumable."""

import concurrent.futures
import json
import os
import pathlib

from harmjax import tables, workdirs
from harmjax.cohort import generator, plan
from harmjax.data.scans import nifti

README = """Semi-synthetic multi-centre T1-weighted cohort

These scans are simulated. No scan shows a patient, and no result on them says anything about a
disease or a hospital. Each is one of four real skull-stripped brains in MNI space, deformed at
random, aged, given a disease effect of chosen size, and passed through a simulated scanner.

Anatomies: MNI152 2009a symmetric and Colin27, Copyright (C) 1993-2009 Louis Collins, McConnell
Brain Imaging Centre, Montreal Neurological Institute, McGill University (see NOTICE of harmjax);
AOMIC PIOP1 sub-0017 and sub-0042, OpenNeuro ds002785, CC0.

The disease effect is exaggerated on purpose (1 would be realistic), so that methods can be compared
on cohorts of this size. All settings are in dataset_description.json.
"""

LEVELS = {
    "control": "no disease effect",
    "patient": "disease effect",
    "nigrostriatal": "putamen, caudate and midbrain are smaller, the nigra is darker",
    "hippocampal": "hippocampi are smaller, ventricles larger",
}
COLUMNS = ("participant_id", "site", "group", "sex", "age", "split")
MANIFEST = ("Subject", "Study", "Group_bin", "Path", "Session", "Sex", "Age", "Split")


def write(
    folder,
    *,
    centres="83",
    spacing=4.0,
    effect=3.0,
    seed=0,
    min_verification=0,
    min_test=0,
    age_gap=0.0,
    diseases=1,
    progress=None,
):
    """Returns (rows, number of scans made now) of a cohort that is complete on disk.

    Scans already there are kept, so a killed run goes on where it stopped and ends with the same
    bytes. `manifest.csv` comes last: where it lies, the cohort is complete.

    Args:
        folder: Where the BIDS dataset goes; made if missing.
        centres: '83', a smaller number of representative centres, or the path of a CSV.
        spacing: Voxel side in mm, 1 to 4; 4 gives 40 x 48 x 40 voxels.
        effect: Size of the disease effect; 0 none, 1 realistic, 3 learnable from 600 scans.
        seed: An int; scans of one seed, spacing and effect agree between cohorts sharing a centre.
        min_verification: Fewest verification scans per class.
        min_test: Fewest test scans per class.
        age_gap: Years by which patients are older.
        diseases: 1, or 2, which makes three classes, see `plan.CLASSES`.
        progress: Called with (scans done, scans in all); None to stay silent.

    Raises:
        ValueError: For a setting out of range, or a folder that holds another cohort.

    Example:
        >>> import tempfile
        >>> sizes = pathlib.Path(tempfile.mkdtemp()) / "sizes.csv"
        >>> _ = sizes.write_text("centre,train_hc,train_pd,test_hc,test_pd\\nA,1,1,0,0\\n")
        >>> rows, made = write(sizes.parent / "cohort", centres=sizes)
        >>> made, (sizes.parent / "cohort" / "sub-0002" / "anat" / "sub-0002_T1w.nii.gz").exists()
        (2, True)
    """
    folder = pathlib.Path(folder)
    table = plan.centres(centres, seed=seed)
    rows = plan.rows(
        table,
        seed=seed,
        min_verification=min_verification,
        min_test=min_test,
        age_gap=age_gap,
        diseases=diseases,
    )
    classes = plan.CLASSES[diseases]
    settings = {
        "centres": {centre.name: [*centre.train, *centre.test] for centre in table},
        "spacing": float(spacing),
        "effect": float(effect),
        "seed": int(seed),
        "min_verification": int(min_verification),
        "min_test": int(min_test),
        "age_gap": float(age_gap),
    }
    if diseases != 1:  # cohorts of one are what they were before there were two
        settings["diseases"] = int(diseases)
    # Sixteen scans at 4 mm, one at 1 mm: a few hundred MB at most.
    batch_size = max(1, round(spacing**3 / 4))
    generate = generator.generator(spacing, effect, seed, batch_size, diseases)
    _describe(folder, settings, classes)
    missing = [row for row in rows if not (folder / scan_path(row)).exists()]

    def tell(done):
        if progress:
            progress(len(rows) - len(missing) + done, len(rows))

    _scans(folder, missing, generate, spacing, batch_size, tell)
    people = _participants(rows, classes)
    tables.write(folder / "participants.tsv", COLUMNS, people, delimiter="\t")
    tables.write(folder / "manifest.csv", MANIFEST, _manifest(rows, classes))
    return rows, len(missing)


def scan_path(row):
    """Returns a row's file, relative to the dataset.

    Example:
        >>> scan_path(plan.rows([plan.Centre("A", (1, 0), (0, 0))])[0])
        'sub-0001/anat/sub-0001_T1w.nii.gz'
    """
    return f"{row.subject}/anat/{row.subject}_T1w.nii.gz"


def _scans(folder, rows, generate, spacing, batch_size, tell):
    _, affine = nifti.grid(spacing)

    def make(batch):
        for row, scan in zip(batch, generate(batch), strict=True):
            nifti.write(folder / scan_path(row), scan, affine)
        return len(batch)

    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    done = 0
    tell(done)
    # The first batch alone: otherwise every worker would compile. Each program runs on one core.
    for some in (batches[:1], batches[1:]):
        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            work = [pool.submit(make, batch) for batch in some]
            try:
                for finished in concurrent.futures.as_completed(work):
                    done += finished.result()
                    tell(done)
            finally:
                pool.shutdown(cancel_futures=True)


def _describe(folder, settings, classes):
    """Writes what the dataset is, or refuses a folder that holds another one."""
    path = folder / "dataset_description.json"
    if path.exists():
        known = json.loads(path.read_text()).get("GeneratedBy", [{}])[0].get("Settings", {})
        names = dict.fromkeys((*settings, *known))
        other = [name for name in names if settings.get(name) != known.get(name)]
        if other:
            raise ValueError(
                f"{folder}: holds a cohort with another {other[0]}"
                + (f" ({known.get(other[0])})" if other[0] != "centres" else "")
                + "; choose another folder or delete this one"
            )
    description = {
        "Name": "Semi-synthetic multi-centre T1w cohort",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "License": "see README",
        "GeneratedBy": [{"Name": "harmjax", "Settings": settings}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    workdirs.write(path, json.dumps(description, indent=2) + "\n")
    workdirs.write(folder / "README", README)
    workdirs.write(folder / "participants.json", json.dumps(_about(classes), indent=2) + "\n")
    workdirs.write(folder / ".bidsignore", "manifest.csv\n")


def _about(classes):
    """What the columns of participants.tsv hold."""
    told = (
        {"Description": "one simulated person, one scan each"},
        {"Description": "simulated centre, named as in the table of centre sizes"},
        {"Levels": {name: LEVELS[name] for name in classes}},
        {"Levels": {"F": "female", "M": "male"}},
        {"Units": "years"},
        {"Levels": {name: f"{name} scans" for name in plan.SPLITS}},
    )
    return dict(zip(COLUMNS, told, strict=True))


def _participants(rows, classes):
    """The rows of participants.tsv."""
    return [
        (row.subject, row.centre, classes[row.label], row.sex, f"{row.age}", row.split)
        for row in rows
    ]


def _manifest(rows, classes):
    """The rows of manifest.csv."""
    label = (0, 1) if len(classes) == 2 else classes
    return [
        (r.subject, r.centre, label[r.label], scan_path(r), "", r.sex, f"{r.age}", r.split)
        for r in rows
    ]
