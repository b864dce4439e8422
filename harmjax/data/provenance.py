"""What a run is made of: its own `manifest.csv`, and what has changed since it was written.

Masks, decisions and splits are held by position, so a run goes on, and is evaluated, on exactly the
scans that it began with. The manifest says whose they are and what was read.
"""

import hashlib
import math
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from harmjax import tables
from harmjax.data import records
from harmjax.data.scans import nifti
from harmjax.data.tables import sheet

WRITTEN = (
    *("subject", "session", "centre", "label", "split", "path", "sex", "age", "left_out"),
    *("row", "scope", "centre_from", "label_from", "word", "size", "modified", "digest"),
    "features",
)
CLASS = "class"  # one more column where the classes have names of their own
WORDS = {1: "keep", 0: "", -1: "drop"}


class Source(NamedTuple):
    """What was read for one record."""

    digest: str = ""  # of the content, see `nifti.digest` and `of_features`
    size: int = -1  # bytes of its files, -1 where there are none
    modified: int = -1  # the latest of them, ns since the epoch


class Made(NamedTuple):
    """What a run is made of; its used scans in the order of its cohort."""

    records: tuple[records.Record, ...]  # used, with splits
    sources: tuple[Source, ...]  # of the same
    words: tuple[int, ...]  # of the same: a person's word, see `people.verdicts`
    left_out: tuple[tuple[records.Record, str], ...]  # and why; label -1 where it is not known
    classes: tuple[str, ...] = records.CLASSES  # their names in order


class Change(NamedTuple):
    """What differs between a run and its data now."""

    records: tuple[records.Record, ...]  # of the run, with the paths of today
    problems: tuple[records.Problem, ...]  # what must not differ
    absent: tuple[records.Problem, ...]  # files or rows that are not there
    notices: tuple[str, ...]  # what is ignored


def source(path, digest: str) -> Source:
    """Returns the `Source` of a scan whose content was just read; path '' is no file."""
    try:
        stats = [os.stat(file) for file in nifti.files(path)] if path else []
    except OSError:
        stats = []
    if not stats:
        return Source(digest)
    return Source(digest, sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats))


def of_features(values) -> str:
    """Returns the digest of a row of features, NaN where missing.

    Example:
        >>> of_features((1.0, float("nan"))) == of_features((1.0, math.nan))
        True
    """
    text = ";".join(repr(float(v)) for v in values)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write(path, made: Made, problems=()):
    """Returns the path of a run's manifest: the samples as used, and those left out and why.

    Args:
        path: The CSV to write, in one step.
        made: What is used.
        problems: What was left out: one about a record of `made.left_out` is in it already.
    """
    path = pathlib.Path(path)
    rows = []
    is_named = made.classes != records.CLASSES

    def add(r, of, word, why):
        named = [made.classes[r.label] if r.label >= 0 else ""] if is_named else ()
        rows.append((*_cells(r, of, word, why), *named))

    for r, of, word in zip(made.records, made.sources, made.words, strict=True):
        add(r, of, WORDS[word], "")
    for r, why in made.left_out:
        add(r, Source(), "", why)
    told = {(r.row, r.subject) for r, _ in made.left_out}
    for p in problems:
        if p.subject and (p.row, p.subject) not in told:
            unknown = records.Record(p.row, p.subject, "", "", -1)
            add(unknown, Source(), "", f"{p.place}: {p.what}")
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write(path, (*WRITTEN, *([CLASS] if is_named else ())), rows)
    return path


def _cells(r, of, word, why):
    return (
        *(r.subject, r.session, r.centre, "" if r.label < 0 else r.label, r.split, r.path, r.sex),
        *("" if math.isnan(r.age) else f"{r.age:.15g}", why, r.row, r.scope),
        *(r.centre_from, r.label_from, word, *("" if v == -1 else v for v in of[1:]), of.digest),
        ";".join(map(repr, r.features)),
    )


def read(path) -> Made | None:
    """Returns what a run is made of, or None where there is no manifest yet.

    Raises:
        records.ManifestError: A manifest that this version did not write, or a damaged one.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return None
    header, rows = sheet.read(path)
    if tuple(header) not in (WRITTEN, (*WRITTEN, CLASS)):
        raise records.ManifestError(
            f"{path}: written by another version of harmjax, which did not record what was read; "
            "train anew in another workdir"
        )
    used, left = [], []
    classes: dict[int, str] = {}
    for line, row in rows:
        try:
            cell = dict(zip(header, row, strict=True))
            if cell["left_out"]:
                left.append((_record(cell), cell["left_out"]))
            else:
                used.append(_used(cell))
                label = used[-1][0].label
                if classes.setdefault(label, cell.get(CLASS, "")) != cell.get(CLASS, ""):
                    raise ValueError(f"label {label} is {cell[CLASS]!r} and {classes[label]!r}")
        except (ValueError, KeyError) as error:
            raise records.ManifestError(
                f"{path}: row {line}: edited since the run wrote it, or damaged ({error}): restore "
                "it as it was, or train anew in another workdir"
            ) from None
    made, sources, words = zip(*used, strict=True) if used else ((), (), ())
    if CLASS not in header:
        return Made(made, sources, words, tuple(left))
    return Made(made, sources, words, tuple(left), tuple(classes[k] for k in sorted(classes)))


def _used(cell):
    """(record, source, word) of a row that is used."""
    words = {word: number for number, word in WORDS.items()}
    is_label = cell["label"].isdecimal() if CLASS in cell else cell["label"] in ("0", "1")
    known = {"label": is_label, "split": cell["split"] in records.SPLITS}
    for name, is_known in (known | {"word": cell["word"] in words}).items():
        if not is_known:
            raise ValueError(f"{name} is {cell[name]!r}")
    source = Source(cell["digest"], *(int(cell[name] or -1) for name in ("size", "modified")))
    return _record(cell), source, words[cell["word"]]


def _record(cell):
    values = {name: cell[name] for name in records.Record._fields if name in cell}
    values |= {
        "row": int(cell["row"]),
        "label": int(cell["label"] or -1),
        "age": float(cell["age"] or math.nan),
        "features": tuple(map(float, cell["features"].split(";"))) if cell["features"] else (),
    }
    return records.Record(**values)


def changed(made: Made, listing, gone: Sequence[bool], verify: bool = True) -> Change:
    """Returns what differs between a run and its table and files now.

    A file counts as the same if its size and time are; otherwise its content decides.

    Args:
        made: What the run is made of.
        listing: `manifest.Listing` of the table now.
        gone: Of each used record, whether a person has dropped it: then row and file may be gone.
        verify: Whether files are looked at.
    """
    names = records.names(made.records)
    now = {records.key(r): r for r in listing.records}
    today, others = [], []
    problems: list[records.Problem] = []
    absent: list[records.Problem] = []
    for r, of, name, dropped in zip(made.records, made.sources, names, gone, strict=True):
        row = now.get(records.key(r))
        if row is None and not dropped:
            is_absent, problem = _missing(r, name, listing)
            (absent if is_absent else problems).append(problem)
        fields = _fields(r, row) if row is not None else ()
        problems += [records.Problem(r.row, name, *field) for field in fields]
        others += [name] if row is not None and _details(r) != _details(row) else []
        path = row.path if row is not None else r.path
        if path and verify:
            found = source(path, of.digest)
            if found.size < 0:
                if dropped:
                    path = ""
                else:
                    absent.append(records.Problem(r.row, name, path, "the file is gone"))
            elif found != of and _content(path) != of.digest:
                problems.append(records.Problem(r.row, name, path, "the file's content changed"))
        today.append(r._replace(path=path, features=() if dropped and row is None else r.features))
    return Change(
        tuple(today), tuple(problems), tuple(absent), tuple(_ignored(made, listing, others))
    )


def _content(path):
    try:
        return nifti.digest(path)
    except ValueError:
        return ""


def _missing(r, name, listing):
    """(whether it is absent, the problem) of a record that the table does not hold as it was."""
    why = [p for p in listing.problems if p.subject == r.subject and p.row in (0, r.row)]
    moved = [
        n for n in listing.records if (n.subject, n.session) == (r.subject, r.session) and r.scope
    ]
    if why:
        return False, records.Problem(why[0].row, name, why[0].place, why[0].what)
    if len(moved) == 1:
        what = f"the centre was {r.centre_from!r} and is now {moved[0].centre_from!r}"
        return False, records.Problem(moved[0].row, name, "centre", what)
    return True, records.Problem(r.row, name, "row", "no longer in the table")


def _fields(r, row):
    """(place, what) of everything that must not differ."""
    if row.label != r.label:
        yield "label", f"was {r.label} ({r.label_from}) and is now {row.label} ({row.label_from})"
    if row.centre != r.centre:
        yield "centre", f"was {r.centre!r} and is now {row.centre!r}"
    if row.split not in ("", r.split):
        yield "split", f"was {r.split!r} and is now {row.split!r}"
    if list(map(repr, row.features)) != list(map(repr, r.features)):
        yield "features", f"were {_numbers(r.features)} and are now {_numbers(row.features)}"


def _numbers(values):
    return ", ".join(f"{value:g}" for value in values)


def _details(r):
    return r.sex, repr(r.age)


def _ignored(made, listing, others):
    if others:
        yield f"sex or age changed for {records.listed(others)}: the run keeps what it began with"
    known = {records.key(r) for r in made.records}
    known |= {records.key(r) for r, _ in made.left_out}
    unknown = {r.subject for r, _ in made.left_out if not r.centre}
    fresh = [r for r in listing.records if records.key(r) not in known and r.subject not in unknown]
    if fresh:
        names = records.listed(records.names(fresh))
        yield (
            f"{len(fresh)} scans were added to the table after the run began and are ignored "
            f"({names}); train anew in another workdir to include them"
        )
