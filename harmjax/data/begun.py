"""Which scans a run is made of: drawn when it begins, the same ones whenever it goes on."""

import pathlib
from typing import NamedTuple

import numpy as np

from harmjax import offers
from harmjax.data import checks, provenance, records, splits
from harmjax.data.tables import classes, people

MANIFEST = "manifest.csv"


class Begun(NamedTuple):
    """Which scans are read, before they are read."""

    scans: tuple[records.Record, ...]  # with splits
    problems: tuple[records.Problem, ...]
    notices: tuple[str, ...]
    said: np.ndarray  # int8, a person's word about each scan, see `people.verdicts`
    classes: tuple[str, ...]  # names in order
    made: provenance.Made | None  # what the run began with, None for a new one
    others: frozenset[str] = frozenset()  # subjects that the table has too


def new(listing, data) -> Begun:
    """What a new run is made of.

    Args:
        listing: `manifest.Listing`.
        data: Group `data` of a config.
    """
    scans = splits.assign(listing.records, data.fractions, seed=data.split_seed)
    said, notices = _said(scans, data, _others(listing)), listing.notices
    held = [r for r, word in zip(scans, said, strict=True) if word and r.split != "train"]
    if held:
        names = records.listed(records.names(held))
        notices += (
            f"data.keep or data.drop names {len(held)} held-out scans ({names}): they are measured "
            "on as before, and never trained on",
        )
    return Begun(scans, listing.problems, notices, said, named(data), None)


def recorded(run) -> provenance.Made:
    """What a run is made of, from its workdir.

    Raises:
        ManifestError: It has no manifest, or one of another version.
    """
    path = pathlib.Path(run) / MANIFEST
    made = provenance.read(path)
    if made is None:
        raise records.ManifestError(f"{path} is missing: {run} is not the workdir of a run")
    return made


def again(made, listing, data, workdir) -> Begun:
    """What a run began with, if its data is what it was.

    Args:
        made: What the run is made of.
        listing: `manifest.Listing` of its table now.
        data: Group `data` of its config.
        workdir: Of the run, for the error.

    Raises:
        ManifestError: With the list of what has changed.
    """
    change = changed(made, listing, data)
    refuse(workdir, (*change.problems, *change.absent))
    left_out = []
    for r, why in made.left_out:
        place, _, what = why.partition(": ")
        left_out.append(records.Problem(r.row, r.subject, place, what))
    said = np.array(made.words, np.int8)
    return Begun(
        *(change.records, tuple(left_out), change.notices, said, made.classes, made),
        others=_others(listing),
    )


def with_word(begun: Begun, data, workdir, *, is_over: bool) -> Begun:
    """The same with a person's word as it is now; people may be dropped while a run goes on.

    Args:
        begun: From `again`.
        data: Group `data` of the run's config.
        workdir: Of the run, for the error.
        is_over: Whether nothing will be trained any more.

    Raises:
        ManifestError: Another word has changed, or a run is over that trained on who is dropped.
    """
    left_out = {r.subject for r, _ in begun.made.left_out} if begun.made else set()
    said = _said(begun.scans, data, {*left_out, *begun.others})
    names = np.array(records.names(begun.scans), object)
    fresh = names[(said != begun.said) & (said == offers.DROP)]
    other = names[(said != begun.said) & (said != offers.DROP)]
    if len(other):
        raise records.ManifestError(
            f"{workdir}: data.keep or data.drop said something else of {records.listed(other)} "
            "when the run began; people may only be added to data.drop, or train anew in another "
            "--workdir"
        )
    if is_over:
        refuse_dropped(workdir, fresh)
    grown = (
        f"data.drop has grown by {len(fresh)} ({records.listed(fresh)}): not trained on from here; "
        "complete cycles have seen them",
    )
    return begun._replace(said=said, notices=(*begun.notices, *(grown if len(fresh) else ())))


def refuse_dropped(workdir, names) -> None:
    """Raises ManifestError if a run that is over was trained on people who are dropped since."""
    if len(names):
        raise records.ManifestError(
            f"{workdir}: the run is over and was trained on {records.listed(names)}, whom "
            "data.drop names since; train anew in another workdir"
        )


def named(data) -> tuple[str, ...]:
    """Names of the classes in order, as group `data` of a config has them.

    Raises:
        ManifestError: Names that cannot be meant.
    """
    return classes.names(tuple(data.get("classes", ())))


def changed(made, listing, data) -> provenance.Change:
    """What differs between a run and its table and files now; see `again`."""
    if made.classes != named(data):
        was, now = ("; ".join(names) for names in (made.classes, named(data)))
        what = f"the classes were {was} and are now {now}"
        other = records.Problem(0, "", "data.classes", what)
        return provenance.Change(made.records, (other,), (), ())
    trained = np.array([r.split == "train" for r in made.records], bool)
    others = {*_others(listing), *(r.subject for r, _ in made.left_out)}
    dropped = trained & (_said(made.records, data, others) == offers.DROP)
    return provenance.changed(made, listing, dropped, verify=not data.features)


def refuse(workdir, problems) -> None:
    """Raises ManifestError with a table of what has changed since a run began, if anything has."""
    if problems:
        raise records.ManifestError(
            f"{workdir} is of a run on other data:\n{checks.table(problems)}\n"
            "put back what it was, or train anew in another workdir"
        )


def dropped_since(run, home) -> list[str]:
    """Whom a person dropped in `home` and not yet in `run`, two workdirs on the same data.

    Raises:
        ManifestError: They are on other data; names who differs.
    """
    one, two = (provenance.read(pathlib.Path(folder) / MANIFEST) for folder in (run, home))
    if one is None or two is None:
        return []
    before, now = (dict(zip(map(records.key, m.records), _contents(m), strict=True))
                   for m in (one, two))  # fmt: skip
    other = [r for m in (one, two) for r in m.records
             if before.get(records.key(r)) != now.get(records.key(r))]  # fmt: skip
    if other:
        names = records.listed(dict.fromkeys(records.names(other)))
        raise records.ManifestError(
            f"{run} is of a run on other data than {home}, which it should share: they differ in "
            f"{names}; delete the one that is out of date, or name another workdir"
        )
    pairs = zip(records.names(two.records), one.words, two.words, strict=True)
    return [name for name, was, word in pairs if was != word and word == offers.DROP]


def _contents(made):
    return [
        (r.centre, r.label, made.classes[r.label], r.split, of.digest)
        for r, of in zip(made.records, made.sources, strict=True)
    ]


def check_content(made, cohort, failures, workdir) -> None:
    """Raises ManifestError where scans that a run was made of read otherwise than then."""
    before = {records.key(r): of.digest for r, of in zip(made.records, made.sources, strict=True)}
    other = [
        records.Problem(r.row, r.subject, r.path or "features", "its content changed")
        for r, digest in zip(cohort.records, cohort.digests, strict=True)
        if digest and digest != before[records.key(r)]
    ]
    refuse(workdir, (*failures, *other))


def write(workdir, begun: Begun, cohort, failures) -> None:
    """Writes what the run is made of; what it left out when it began stays left out.

    Args:
        workdir: Of the run.
        begun: From `new`, `again` or `with_word`.
        cohort: `ingest.Cohort` of its scans.
        failures: Problems of those that could not be read.
    """
    word = dict(zip(map(records.key, begun.scans), map(int, begun.said), strict=True))
    before = {}
    if begun.made is not None:
        before = dict(zip(map(records.key, begun.made.records), begun.made.sources, strict=True))
    sources = tuple(
        provenance.source(r.path, digest) if digest else before[records.key(r)]
        for r, digest in zip(cohort.records, cohort.digests, strict=True)
    )
    words = tuple(word[records.key(r)] for r in cohort.records)
    left_out = tuple(_left_out(begun.scans, failures))
    if begun.made is not None:
        left_out = begun.made.left_out
    made = provenance.Made(cohort.records, sources, words, left_out, begun.classes)
    provenance.write(pathlib.Path(workdir) / MANIFEST, made, begun.problems)


def _left_out(scans, failures):
    for p in failures:
        own = [r for r in scans if (r.row, r.subject) == (p.row, p.subject)]
        own = [r for r in own if r.path == p.place] or own
        yield own[0], f"{p.place}: {p.what}"


def _said(scans, data, others) -> np.ndarray:
    """A person's word about each scan: int8, see `people.verdicts`."""
    keep, drop = (
        people.read(data[word], scans, f"data.{word}", others) for word in ("keep", "drop")
    )
    return people.verdicts(scans, keep, drop)


def _others(listing) -> frozenset[str]:
    """All subjects that a table names, whether it can be used or not."""
    found = listing.records
    named = {r.subject for r in found} | {f"{r.centre}/{r.subject}" for r in found}
    return frozenset(named | {p.subject for p in listing.problems if p.subject})
