"""Manifests: who was scanned where, with which diagnosis, and where the file lies.

Two layouts are read, told apart by their header: one CSV row per scan (`Subject, Study, Group_bin,
Path`, optional `Session, Sex, Age, Split`), and the `participants.tsv` of a BIDS folder, with a row
per person or per person and session.
"""

import collections
import os
import pathlib
import re
import unicodedata
from typing import NamedTuple

from harmjax import plugins
from harmjax.data import records
from harmjax.data.tables import bids, cells, classes, sheet

# Words looked for in the header, upper and lower case alike; two that fit are an error.
CSV_COLUMNS = {
    "subject": ("subject",),
    "session": ("session", "session_id"),
    "centre": ("study", "centre", "center", "site"),
    "label": ("group_bin", "label", "group", "diagnosis"),
    "path": ("path",),
    "sex": ("sex", "gender"),
    "age": ("age",),
    "split": ("split",),
    "left_out": ("left_out",),
}
BIDS_COLUMNS = CSV_COLUMNS | {"subject": ("participant_id",), "path": ()}
# The published manifest's header, to the letter, wins over other words.
EXACT = {
    **{"subject": "Subject", "centre": "Study", "label": "Group_bin", "path": "Path"},
    **{"session": "Session", "sex": "Sex", "age": "Age", "split": "Split"},
}
OPTIONAL = ("session", "sex", "age", "split", "left_out")
UNASKED = ("label", "sex", "age", "split")  # of scans to be diagnosed
NO_COLUMN = "none"  # what a setting says of a column that shall not be read


class Listing(NamedTuple):
    """What a manifest says."""

    records: tuple[records.Record, ...]  # rows, or sessions of rows, that can be used
    problems: tuple[records.Problem, ...]  # what is wrong with the others
    notices: tuple[str, ...]  # how it was read: columns, labels, and what a person should know


def read(
    path,
    *,
    columns=None,
    features=(),
    labelled=True,
    entities=None,
    named=(),
    words=(),
    without=(),
):
    """Returns the `Listing` of a manifest.

    Nothing ambiguous is resolved by order: rows that contradict each other are all left out.

    Args:
        path: A CSV or TSV file in UTF-8. Relative scan paths start from its folder.
        columns: Header words that differ from the layout's, such as {'centre': 'Hospital'}, for
            subject, session, centre, label, path, sex, age and split, 'none' for a column that
            shall not be read; also what the label column's values mean where there are two classes:
            'positive' and 'negative', see `classes.meaning`.
        features: Feature columns of tabular data, in order; then no path is needed.
        labelled: Whether centre and label are needed; without them, for scans to be diagnosed,
            centre is '' where the manifest has none or several, and nothing else is asked for.
        entities: Of BIDS file names, see `bids.scans`.
        named: Names of the classes, see `classes.names`.
        words: What the label column's values mean, see `classes.meaning`.
        without: Centres whose rows are left out, however sound they are.

    Raises:
        records.ManifestError: Naming the file and the remedy, where it cannot be read at all: no
            such file, not UTF-8, no rows, a needed column missing, or two that could be meant; or
            classes and words that do not fit together, or an unknown centre in `without`.

    Example:
        >>> import tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "m.csv"
        >>> _ = file.write_text("Subject,Study,Group_bin,Path\\na,A,1,a.nii\\nb,A,sick,b.nii\\n")
        >>> found = read(file)
        >>> [r.subject for r in found.records], found.problems[0].what
        (['a'], "'sick' is no known group: set data.columns.positive and .negative to your words")
    """
    path = pathlib.Path(path).expanduser().absolute()
    if records.shown(path) != str(path):
        raise records.ManifestError(f"{records.shown(path)}: a name that is not UTF-8; rename it")
    header, rows = sheet.read(path)
    columns = dict(columns or {})
    pair = columns.pop("positive", None), columns.pop("negative", None)
    meaning = classes.meaning(named, words, *pair)
    is_bids = _is_bids(path, header, columns, features)
    place = _places(path, header, columns, tuple(features), is_bids, labelled)
    feature_places = [_place(path, header, name, "feature") for name in features]
    commas = cells.has_decimal_commas((row for _, row in rows), feature_places)
    chosen = {name: header[at] for name, at in place.items()}
    found, problems, unread, centres = [], [], [], {}
    for line, row in rows:
        cell = {name: row[at].strip() for name, at in place.items() if at < len(row)}
        centres[line] = records.tidy(cell.get("centre", ""))
        try:
            if len(row) != len(header):
                what = (
                    f"{len(row)} cells under {len(header)} column names: add or remove separators"
                )
                raise cells.Defect("row", what)
            one = cells.record(line, cell, chosen, meaning, labelled)
            record = one.record
            if features:
                values = cells.features(row, features, feature_places, commas)
                record = record._replace(features=values)
            elif not is_bids:
                record = record._replace(path=cells.location(path.parent, cell["path"]))
            elif {"/", os.sep} & set(record.subject):
                raise cells.Defect("subject", f"{record.subject!r} holds a slash: rename it")
            # A manifest's centres number their own people; the ids of a BIDS table are global.
            found.append(record if is_bids else record._replace(scope=record.centre))
            unread += [(line, *what) for what in one.unread]
        except cells.Defect as defect:
            problems.append(records.Problem(line, cell.get("subject", ""), *defect.args))
    if is_bids and not features:
        label = (chosen.get("label"), meaning) if labelled else None
        found, unclear = bids.scans(path.parent, found, entities, label=label)
        problems += unclear
        at = place["subject"]
        problems += bids.unlisted(path.parent, {row[at] for _, row in rows if at < len(row)})
    found, contradicted = _unique(found)
    # Last, so that a row contradicts another one whether or not its centre is left out.
    out = _left_out(path, centres, without)
    found = [r for r in found if r.row not in out]
    problems = [p for p in sorted(problems + contradicted) if p.row not in out]
    unread = [one for one in unread if one[0] not in out]
    notices = [*_chosen(chosen, found, classes.names(named) if labelled else ())]
    notices += [*_without(centres, out), *_unread(unread), *_names(found)]
    return Listing(tuple(found), tuple(problems), tuple(notices))


def _left_out(path, centres, without):
    """Returns the lines of the centres that a person leaves out; `centres` is {line: name}."""
    known = set(centres.values())
    for name in map(records.tidy, without):
        if name not in known:
            hint = records.suggestion(name, known)
            raise records.ManifestError(
                f"data.without: no centre {name!r} in {path}{hint}; known are "
                f"{records.listed(sorted(known), 12)}"
            )
    return {line for line, name in centres.items() if name in set(map(records.tidy, without))}


def _without(centres, out):
    counts = collections.Counter(centres[line] for line in out)
    if counts:
        told = records.listed((f"{name!r} ({n} rows)" for name, n in sorted(counts.items())), 12)
        yield f"data.without leaves out {told}"


def _is_bids(path, header, columns, features):
    lowered = [name.casefold() for name in header]
    if "participant_id" not in lowered or "subject" in columns:
        return False
    for words in () if features else (CSV_COLUMNS["path"], CSV_COLUMNS["subject"]):
        for word in set(words) & set(lowered):
            raise records.ManifestError(
                f"{path}: 'participant_id' is of a BIDS table, {header[lowered.index(word)]!r} of "
                "a list of files; set data.columns.subject to the column of the subjects to read "
                "the files that are listed, or take the other column out"
            )
    return True


def _places(path, header, columns, features, is_bids, labelled):
    layout = BIDS_COLUMNS if is_bids else CSV_COLUMNS
    place = {}
    for name, word in columns.items():
        if name not in layout:
            known = (*layout, "positive", "negative")
            raise records.ManifestError(f"data.columns.{name}{plugins.choices(name, known)}")
        spared = name in OPTIONAL and word == NO_COLUMN
        spared = spared or not labelled and name not in ("subject", "path")
        if word in header or not spared:
            place[name] = _place(path, header, word, f"data.columns.{name}")
    for name, words in layout.items():
        if name not in columns and (labelled or name not in UNASKED):
            exact = (EXACT[name],) if name in EXACT and words else ()
            setting = f"data.columns.{name}"
            try:
                match = sheet.column(path, header, words, f"the {name}", setting, exact)
            except records.ManifestError:
                if labelled or name != "centre":
                    raise
                match = None
            place |= {} if match is None else {name: match}
    needed = ["subject", "centre", "label"] if labelled else ["subject"]
    needed += [] if is_bids or features else ["path"]
    for name in needed:
        if name not in place:
            words = layout[name]
            hint = next(filter(None, (records.suggestion(word, header) for word in words)), "")
            expected = " or ".join(map(repr, words))
            raise records.ManifestError(
                f"{path}: no column for the {name}, expected {expected}{hint}; "
                f"rename it or set data.columns.{name}; found: {', '.join(header)}"
            )
    return place


def _place(path, header, word, what):
    if word in header:
        return header.index(word)
    hint = records.suggestion(word, header)
    raise records.ManifestError(
        f"{path}: {what}: no column {word!r}{hint}; found: {', '.join(header)}"
    )


def _unique(found):
    """Returns the records that nothing contradicts, and a problem for each other one.

    Of rows that say the same, the first is kept.
    """
    problems: dict[tuple, records.Problem] = {}

    def against(r, other, place, what):
        problems.setdefault(records.key(r) + (r.row,), _problem(r, other, place, what))

    indices: list[dict] = [collections.defaultdict(list) for _ in range(3)]
    by_key, by_file, by_person = indices
    for r in found:
        same = by_key[records.key(r)]
        if same and _same(same[0], r):
            against(r, same[0], "subject", "says the same as row {}: delete one")
            continue
        same.append(r)
    for several in by_key.values():
        for r in several:
            by_person[records.person(r)].append(r)
            if r.path:
                by_file[os.path.realpath(r.path)].append(r)
    for place, groups, what in (
        ("subject", by_key, "the same subject and session as row {}: delete one, or name sessions"),
        ("path", by_file, "the same file as row {}: correct one of them"),
    ):
        for several in groups.values():
            for r in several if len(several) > 1 else ():
                other = next(o for o in several if o is not r)
                against(r, other, place, what)
    for several in by_person.values():
        splits = {r.split for r in several if r.split}
        for r in several if len(splits) > 1 else ():
            other = next(o for o in several if o.split not in ("", r.split))
            what = f"{r.split!r}, but row {{}} has the same person in {other.split!r}: choose one"
            against(r, other, "split", what)
    kept = [r for r in found if records.key(r) + (r.row,) not in problems]
    return kept, list(problems.values())


def _problem(r, other, place, what):
    return records.Problem(r.row, r.subject, place, what.format(other.row))


def _same(one, other):
    """Whether two rows say the same, in whatever spelling."""

    def said(r):
        file = os.path.realpath(r.path) if r.path else ""
        # Unknown numbers are NaN, which equals nothing; their text does.
        return repr(r._replace(row=0, path=file, centre_from="", label_from=""))

    return said(one) == said(other)


def _chosen(chosen, found, named):
    """How columns and labels were read, in words."""
    columns = [f"{name} = {word!r}" for name, word in chosen.items() if name != "left_out"]
    yield f"columns: {', '.join(columns)}"
    counts = collections.Counter((r.label_from.partition("=")[2], r.label) for r in found)
    if named and counts:
        read = [f"{word!r} {named[label]} ({n})" for (word, label), n in sorted(counts.items())]
        yield f"labels: {records.listed(read, 12)}"


def _unread(cells):
    for place in sorted({place for _, place, _ in cells}):
        some = [f"{cell!r} (row {line})" for line, other, cell in cells if other == place]
        yield f"{len(some)} cells of {place} are taken as unknown: {records.listed(some)}"


def _spellings(what, named):
    """Names that may be one: equal within their scope but for spelling; (name, scope) pairs."""
    alike = collections.defaultdict(set)
    for name, scope in named:
        alike[scope, _plain(name)].add(name)
    several = sorted({tuple(sorted(names)) for names in alike.values() if len(names) > 1})
    if several:
        told = records.listed((" and ".join(map(repr, names)) for names in several), 12)
        yield f"the {what} {told} are taken as different; correct them if they are one"


def _plain(name):
    """What two spellings of a name share: no case, accents, signs, 'sub-', lost zeros or '.0'."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    plain = re.sub(r"^(sub|ses)-|\.0+$", "", plain)
    parts = (part.lstrip("0") or "0" for part in re.findall(r"\d+|[^\W\d_]+", plain))
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(parts))


def _names(found):
    """What is suspicious about the names of centres and subjects."""
    yield from _spellings("centres", ((r.centre, ()) for r in found))
    yield from _spellings("subjects", ((r.subject, r.scope) for r in found))
    yield from _spellings("sessions", ((r.session, records.person(r)) for r in found))
    scopes = collections.defaultdict(set)
    for r in found:
        scopes[r.subject].add(r.scope)
    repeated = sorted(subject for subject, several in scopes.items() if len(several) > 1)
    if repeated:
        yield (
            f"{len(repeated)} subject ids occur at several centres ({records.listed(repeated)}): "
            "they are taken as different people and called centre/subject"
        )
