"""From a config to the samples of a study: read, check, split, plant simulated harm.

A run writes down what it is made of (`data.provenance`). Preparing it again, to resume or to
evaluate it, goes by that and refuses data that has changed.
"""

import contextlib
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import harms, metrics, offers, policies, shipped, types
from harmjax.data import begun, checks, ingest, provenance, records, tabular
from harmjax.data.tables import manifest
from harmjax.harms import plan, scenario

FEATURES = "features.npz"


class Study(NamedTuple):
    """What a run trains, verifies and tests on, in host memory or mapped from disk."""

    train: types.Samples  # N samples
    verification: types.Samples
    test: types.Samples
    names: tuple[str, ...]  # [N] see `records.names`
    centres: tuple[str, ...]
    groups: dict  # split -> list of a subgroup's name and its members [M] bool
    simulated: bool  # whether harm was planted
    corrupted: np.ndarray  # [N] bool, planted
    kind: tuple[str, ...]  # [N] which harm, '' where none
    word: np.ndarray  # [N] int8, a person's, see `offers`
    text: str  # counts, problems and warnings, as a person reads them
    features: tuple[str, ...] = ()  # columns of tabular data, as the manifest has them
    raw: types.AnyArray | None = None  # [N, F] training features in their own units, harm included
    problems: tuple[records.Problem, ...] = ()  # what was left out
    classes: tuple[str, ...] = types.BINARY  # [K] names, of label 0 to K - 1
    held_out_word: np.ndarray | None = None  # [M] int8, of the verification scans; None: no word

    @property
    def drop(self) -> np.ndarray:
        """[N] bool, whom a person never wants to be trained on."""
        return self.word == offers.DROP


class HeldOut(NamedTuple):
    """One held-out split of a finished run."""

    samples: types.Samples
    groups: list  # pairs of a subgroup's name and its members [M] bool
    text: str  # what a person should know
    classes: tuple[str, ...] = types.BINARY  # [K] names


def prepare(config, workdir, *, progress: bool = True) -> Study:
    """The samples of a study; writes `manifest.csv` into the workdir.

    Where the workdir has a manifest already, its scans, splits and order are taken, and the data
    must be what they were; people added to the table since are ignored, and the list of dropped
    people may have grown.

    Args:
        config: Groups `data` and `scenario`, and `seed`.
        workdir: Folder of the run; the image store goes there too if `data.store` is on.
        progress: Whether to draw a progress bar.

    Raises:
        ManifestError: No usable data, problems under `data.strict`, or a run on other data;
            carries the table.
        ValueError: Settings that do not fit together.
    """
    data, workdir = config.data, pathlib.Path(workdir)
    listing = listed(data)
    made = provenance.read(workdir / begun.MANIFEST)
    if made is None:
        start = begun.new(listing, data)
    else:
        start = begun.again(made, listing, data, workdir)
        start = begun.with_word(start, data, workdir, is_over=_is_over(config, workdir))
    store = workdir / "images" if data.store else None
    cohort, failures = read_scans(start.scans, data, store, progress=progress)
    if made is not None:
        begun.check_content(made, cohort, failures, workdir)
    found = checks.check(
        cohort.records,
        (*start.problems, *failures),
        listed=start.scans if made is not None else listing.records,
        strict=data.strict and made is None,
        notices=cohort.notices,
        classes=start.classes,
        heading="\n".join(start.notices),
    )
    with _explained(found.text):
        study = _study(config, cohort, start, found)
        begun.write(workdir, start, cohort, failures)
        return _standardised(study, data, workdir, is_new=made is None) if data.features else study


def held_out(config, run, split: str, *, progress: bool = True) -> HeldOut:
    """One split of a finished run, read again; refuses data that has changed.

    Args:
        config: Of the run.
        run: Its workdir, which is only read.
        split: 'test' or 'verification'.
        progress: Whether to draw a progress bar.

    Raises:
        ManifestError: The run's data has changed or is gone; carries the list.
    """
    made = begun.recorded(run)
    start = begun.again(made, listed(config.data), config.data, run)
    cohort, failures = read_scans(
        [r for r in start.scans if r.split == split], config.data, None, progress=progress
    )
    begun.check_content(made, cohort, failures, run)
    samples = _held_out(cohort, split)
    if config.data.features:
        prepared = tabular.restore(pathlib.Path(run) / FEATURES)
        samples = samples._replace(image=tabular.apply(prepared, samples.image))
    text = "\n".join(start.notices)
    return HeldOut(samples, _groups(cohort, split), text, made.classes)


def unchanged(config, run) -> tuple[provenance.Made, tuple[str, ...]]:
    """What a run is made of, and what a person should know; its data need not be at hand.

    Args:
        config: Of the run.
        run: Its workdir.

    Raises:
        ManifestError: The run's data has changed; carries the list.
    """
    made = begun.recorded(run)
    try:
        change = begun.changed(made, listed(config.data), config.data)
    except records.ManifestError as error:
        return made, (f"the run's own data is not compared: {error}",)
    begun.refuse(run, change.problems)
    gone = (f"{len(change.absent)} of the run's own scans are not at hand",)
    return made, (*change.notices, *(gone if change.absent else ()))


def rowless(
    centres, centre, held_out_centre, *, shape, dtype="float32", classes=types.BINARY, names=None
) -> Study:
    """A study that holds no scan and no label: what a server knows of centres that keep their own.

    Args:
        centres: Names of the centres.
        centre: [N] int, who holds each training sample, those of one centre in a row.
        held_out_centre: [M] int, the same of the verification scans.
        shape: Of one image.
        dtype: Of images.
        classes: [K] names.
        names: [N] str; by default 'CENTRE/0007'.
    """

    def samples(centre):
        centre = np.asarray(centre, np.int32)
        image = jax.ShapeDtypeStruct((len(centre), *shape), np.dtype(dtype))
        unknown = np.full(len(centre), -1, np.int32)
        identity = np.zeros(len(centre), np.uint32)
        return types.Samples(image, unknown, centre, identity)  # type: ignore[arg-type]  # no rows

    train, held_out = samples(centre), samples(held_out_centre)
    number = len(train.centre)
    if names is None:
        place = [int(np.sum(train.centre[:i] == c)) for i, c in enumerate(train.centre)]
        names = [f"{centres[c]}/{i:04d}" for c, i in zip(train.centre, place, strict=True)]
    return Study(
        train=train,
        verification=held_out,
        test=held_out,
        names=tuple(names),
        centres=tuple(centres),
        groups={},
        simulated=False,
        corrupted=np.zeros(number, bool),
        kind=("",) * number,
        word=np.zeros(number, np.int8),
        text="",
        classes=tuple(classes),
    )


def one_image(samples: types.Samples):
    """[1, *S] one image, for the shapes; zeros where there is none at hand."""
    if isinstance(samples.image, jax.ShapeDtypeStruct):
        return jnp.zeros((1, *samples.image.shape[1:]), samples.image.dtype)
    return jnp.asarray(samples.image[:1])


def is_retrained(config) -> bool:
    """Whether the delivered model is trained anew on the final mask."""
    return config.train.deliver == "retrain" and config.policy.name not in policies.UNVERIFYING


def _is_over(config, workdir) -> bool:
    """Whether a run has its model and would not train it anew."""
    return (workdir / "checkpoints" / "final").is_dir() and not is_retrained(config)


def listed(data) -> manifest.Listing:
    """What the manifest of group `data` says now.

    Raises:
        ManifestError: It cannot be read at all.
    """
    if not data.manifest:
        raise ValueError("data.manifest is empty: name the CSV of your scans, or participants.tsv")
    return manifest.read(
        shipped.path(data.manifest),
        columns=columns(data),
        features=tuple(data.features),
        entities=dict(data.entities),
        named=tuple(data.get("classes", ())),
        words=tuple(data.get("words", ())),
        without=tuple(data.get("without", ())),
    )


@contextlib.contextmanager
def _explained(text):
    """Puts the table of problems before an error about what is left."""
    try:
        yield
    except ValueError as error:
        raise records.ManifestError(f"{text}\n\n{error}") from error


def _study(config, cohort, start, found) -> Study:
    train, corrupted, kind = _plant(
        ingest.samples(cohort, "train"), cohort.centres, config.scenario, len(start.classes)
    )
    word = dict(zip(map(records.key, start.scans), start.said, strict=True))
    names = zip(cohort.records, records.names(cohort.records), strict=True)
    data = config.data

    def said(split):
        return np.array([word[records.key(r)] for r in cohort.records if r.split == split], np.int8)

    return Study(
        train=train,
        verification=_held_out(cohort, data.verify_on),
        test=_held_out(cohort, "test"),
        names=tuple(name for r, name in names if r.split == "train"),
        centres=cohort.centres,
        groups={
            "verification": _groups(cohort, data.verify_on),
            "test": _groups(cohort, "test"),
        },
        simulated=config.scenario.name != "none",
        corrupted=corrupted,
        kind=tuple(kind),
        word=said("train"),
        held_out_word=said(data.verify_on),
        text=found.text,
        problems=found.problems,
        classes=start.classes,
    )


def columns(data) -> dict:
    """`data.columns` as `manifest.read` takes it: without the words that are not given."""
    return {name: word for name, word in data.columns.items() if word}


def read_scans(scans, data, store, *, unique: bool = True, progress: bool):
    """(Cohort, problems) of records, read as `config.data` says.

    Args:
        scans: Records with a split.
        data: Group `data` of a config.
        store: File to keep the images in, or None.
        unique: Whether an image that several people have is left out of all of them.
        progress: Whether to draw a progress bar.
    """
    if data.features:
        return tabular.load(scans, names=tuple(data.features), missing=dict(data.missing))
    how = ingest.Reading(*(data[name] for name in ingest.Reading._fields))
    return ingest.load(scans, how, store=store, unique=unique, progress=progress)


def _standardised(study: Study, data, workdir, is_new: bool) -> Study:
    """The study with features prepared from the training patients as they are, harm included."""
    path = workdir / FEATURES
    if path.exists() and not is_new:
        prepared = tabular.restore(path)
    elif np.isnan(study.train.image).all(axis=1).any():
        raise ValueError(
            f"{path} is missing, and people are gone whom it was made with: put it back, or train "
            "anew in another workdir"
        )
    else:
        prepared = tabular.standardise(study.train.image, tuple(data.features), data.categorical)
        tabular.save(path, prepared)

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


def _plant(train, centres, planned, num_classes):
    if planned.name == "none":
        return train, np.zeros(len(train.label), bool), [""] * len(train.label)
    return scenario.plant(
        train,
        plan.Choice(*(planned[name] for name in plan.Choice._fields)),
        planned.harm,
        seed=planned.seed,
        centre_names=centres,
        classes=num_classes,
        settings={n: dict(planned.get(n, {})) for n in planned.harm if n in harms.names()},
    )


def _groups(cohort, split):
    chosen = [r for r in cohort.records if r.split == split]
    return list(metrics.groups([r.sex for r in chosen], [r.age for r in chosen]))
