"""From a config to the samples of a study: read, check, split, plant simulated harm."""

import contextlib
import importlib.resources
import pathlib
from typing import NamedTuple

import numpy as np

from harmjax import metrics, types
from harmjax.data import checks, ingest, manifest, people, splits, tabular
from harmjax.harms import scenario


class Study(NamedTuple):
    """What a run trains, verifies and tests on, in host memory or mapped from disk."""

    train: types.Samples  # N samples
    verification: types.Samples
    test: types.Samples
    names: tuple[str, ...]  # [N] subject, with the session where there is one
    centres: tuple[str, ...]
    groups: dict  # split -> list of a subgroup's name and its members [M] bool
    simulated: bool  # whether harm was planted
    corrupted: np.ndarray  # [N] bool, planted
    kind: tuple[str, ...]  # [N] which harm, '' where none
    keep: np.ndarray  # [N] bool, a person's word: train on it whatever the policy says
    drop: np.ndarray  # [N] bool, a person's word: never train on it
    text: str  # counts, problems and warnings, as a person reads them
    features: tuple[str, ...] = ()  # columns of tabular data, as the manifest has them
    raw: np.ndarray | None = None  # [N, F] training features in their own units, harm included


def prepare(config, workdir, *, progress: bool = True) -> Study:
    """The samples of a study; writes `manifest.csv` into the workdir.

    Args:
        config: Groups `data` and `scenario`, and `seed`.
        workdir: Folder of the run; the image store goes there too if `data.stream` is on.
        progress: Whether to draw a progress bar.

    Raises:
        ManifestError: No usable data, or problems under `data.strict`; carries the table.
        ValueError: Settings that do not fit together.
    """
    data, workdir = config.data, pathlib.Path(workdir)
    with _manifest(data.manifest) as path:
        listed, problems = manifest.read(path, columns=columns(data), features=tuple(data.features))
    scans = splits.assign(listed, data.fractions, seed=data.split_seed)
    store = workdir / "images" if data.store else None
    cohort, failures = read_scans(scans, data, store, progress=progress)
    problems = (*problems, *failures)
    found = checks.check(cohort.records, problems, listed=listed, strict=data.strict)
    manifest.write(workdir / "manifest.csv", scans, problems)
    train, corrupted, kind = _plant(
        ingest.samples(cohort, "train"), cohort.centres, config.scenario
    )
    study = Study(
        train=train,
        verification=_held_out(cohort, data.verify_on),
        test=_held_out(cohort, "test"),
        names=tuple(_name(r) for r in cohort.records if r.split == "train"),
        centres=cohort.centres,
        groups={
            "verification": _groups(cohort, data.verify_on),
            "test": _groups(cohort, "test"),
        },
        simulated=config.scenario.name != "none",
        corrupted=corrupted,
        kind=tuple(kind),
        **_word(cohort, listed, data),
        text=found.text,
    )
    return _standardised(study, data, workdir) if data.features else study


def _manifest(where: str):
    """The manifest's path as a context; `package:NAME` is a file shipped with harmjax."""
    if not where:
        raise ValueError("data.manifest is empty: name the CSV of your scans, or participants.tsv")
    if where.startswith("package:"):
        files = importlib.resources.files("harmjax") / "files"
        return importlib.resources.as_file(files / where.removeprefix("package:"))
    return contextlib.nullcontext(where)


def columns(data) -> dict:
    """`data.columns` as `manifest.read` takes it: without the words that are not given."""
    return {name: word for name, word in data.columns.items() if word}


def read_scans(scans, data, store, *, progress: bool):
    """(Cohort, problems) of records, read as `config.data` says.

    Args:
        scans: Records with a split.
        data: Group `data` of a config.
        store: File to keep the images in, or None.
        progress: Whether to draw a progress bar.
    """
    if data.features:
        return tabular.load(scans, names=tuple(data.features), missing=dict(data.missing))
    return ingest.load(
        scans,
        spacing=data.spacing,
        intensity=data.intensity,
        percentiles=data.percentiles,
        dtype=data.dtype,
        align=data.align,
        slices=data.slices,
        store=store,
        progress=progress,
    )


def _standardised(study: Study, data, workdir) -> Study:
    """The study with features prepared from the training patients as they are, harm included."""
    prepared = tabular.standardise(study.train.image, tuple(data.features), data.categorical)
    tabular.save(workdir / "features.npz", prepared)

    def ready(samples):
        return samples._replace(image=tabular.apply(prepared, samples.image))

    return study._replace(
        train=ready(study.train),
        verification=ready(study.verification),
        test=ready(study.test),
        features=tuple(data.features),
        raw=study.train.image,
    )


def _held_out(cohort, split) -> types.Samples:
    samples = ingest.samples(cohort, split)
    if not len(samples.label):
        raise ValueError(
            f"no {split} scans: every centre is too small for the shares in data.fractions; raise "
            "the share or give a Split column"
        )
    return samples


def _plant(train, centres, planned):
    if planned.name == "none":
        return train, np.zeros(len(train.label), bool), [""] * len(train.label)
    return scenario.plant(
        train,
        planned.name,
        planned.harm,
        seed=planned.seed,
        count=planned.count,
        centres=planned.centres,
        centre_names=centres,
        min_scans=planned.min_scans,
        max_fraction=planned.max_fraction,
    )


def _word(cohort, listed, data) -> dict:
    """A person's word about the training samples, as masks."""
    train = [r for r in cohort.records if r.split == "train"]
    said = people.verdicts(train, people.read(data.keep, listed), people.read(data.drop, listed))
    return {"keep": said == people.KEEP, "drop": said == people.DROP}


def _groups(cohort, split):
    chosen = [r for r in cohort.records if r.split == split]
    return list(metrics.groups([r.sex for r in chosen], [r.age for r in chosen]))


def _name(record) -> str:
    return f"{record.subject}_ses-{record.session}" if record.session else record.subject
