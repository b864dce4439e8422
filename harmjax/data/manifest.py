"""Manifests: who was scanned where, with which diagnosis, and where the file lies.

Two layouts are read, told apart by their header: one CSV row per scan (`Subject, Study, Group_bin,
Path`, optional `Session, Sex, Age, Split`), and the `participants.tsv` of a BIDS folder.
"""

import csv
import io
import math
import os
import pathlib

from harmjax.data import bids, cells, records

# Words looked for in the header, first match wins, upper and lower case alike.
CSV_COLUMNS = {
    "subject": ("subject",),
    "session": ("session",),
    "centre": ("study", "centre", "center", "site"),
    "label": ("group_bin", "label", "group"),
    "path": ("path",),
    "sex": ("sex", "gender"),
    "age": ("age",),
    "split": ("split",),
    "left_out": ("left_out",),
}
BIDS_COLUMNS = CSV_COLUMNS | {
    "subject": ("participant_id",),
    "centre": ("site", "centre", "center", "study"),
    "label": ("group", "diagnosis", "group_bin", "label"),
    "path": (),
    "session": (),
}
WRITTEN = ("subject", "session", "centre", "label", "split", "path", "sex", "age", "left_out")


def read(path, *, columns=None, features=(), labelled=True):
    """Returns (records, problems): the rows that can be used, and what is wrong with the others.

    Args:
        path: a CSV or TSV file in UTF-8. Relative scan paths start from its folder.
        columns: header words that differ from the layout's, such as {'centre': 'Hospital'}, for
            subject, session, centre, label, path, sex, age and split; also what the label
            column's values mean: 'positive' and 'negative', each a word or several, or 'positive'
            as a threshold such as '>0'.
        features: feature columns of tabular data, in order; then no path is needed.
        labelled: whether centre and label are needed; without them, for scans to be diagnosed,
            centre is '' and label -1 where the manifest has none.

    Raises:
        records.ManifestError: naming the file and the remedy, where it cannot be read at all: no
            such file, not UTF-8, no rows, a needed column missing or named twice.

    >>> import tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "m.csv"
    >>> _ = file.write_text("Subject,Study,Group_bin,Path\\na,A,1,a.nii\\nb,A,sick,b.nii\\n")
    >>> used, problems = read(file)
    >>> [r.subject for r in used], problems[0].what
    (['a'], "'sick' is no known group: set data.columns.positive and .negative to your words")
    """
    path = pathlib.Path(path).expanduser().absolute()
    header, rows = table(path)
    columns = dict(columns or {})
    meaning = cells.meaning(columns.pop("positive", None), columns.pop("negative", None))
    is_bids = "participant_id" in header and "subject" not in columns
    place = _places(path, header, columns, tuple(features), is_bids, labelled)
    feature_places = [_place(path, header, name, "feature") for name in features]
    found, problems = [], []
    for line, row in rows:
        named = {name: row[at].strip() for name, at in place.items() if at < len(row)}
        try:
            if len(row) != len(header):
                what = (
                    f"{len(row)} cells under {len(header)} column names: add or remove separators"
                )
                raise cells.Defect("row", what)
            record = cells.record(line, named, meaning, labelled)
            if features:
                values = cells.features(row, features, feature_places)
                found.append(record._replace(features=values))
            elif is_bids:
                scans, repeated = bids.scans(path.parent, record)
                found += scans
                problems += repeated
            else:
                found.append(record._replace(path=cells.location(path.parent, named["path"])))
        except cells.Defect as defect:
            problems.append(records.Problem(line, named.get("subject", ""), *defect.args))
    if is_bids and not features:
        problems += bids.unlisted(path.parent, {row[place["subject"]] for _, row in rows if row})
    found, repeated = _unique(found)
    return tuple(found), tuple(sorted(problems + repeated))


def write(path, used, problems=()):
    """Returns the path of the manifest of the samples as used, with those left out and why.

    `read` reads it back: rows with a reason under `left_out` become problems again.

    Args:
        path: the CSV to write, in one step.
        used: records, also those that a problem concerns.
        problems: problems; the ones about a row mark it, or add it where no record has it.
    """
    path = pathlib.Path(path)
    paths = {r.path for r in used}
    reasons = {}
    for p in problems:
        if p.row:
            # A BIDS row has a record per session: a file's defect concerns only its own.
            concerned = (p.row, p.subject, p.place if p.place in paths else "")
            reasons.setdefault(concerned, []).append(f"{p.place}: {p.what}")
    content = io.StringIO()
    rows = csv.writer(content, lineterminator="\n")
    rows.writerow(WRITTEN)
    for r in used:
        concerned = ((r.row, r.subject, ""), (r.row, r.subject, r.path))
        reason = "; ".join(what for key in concerned for what in reasons.pop(key, ()))
        age = "" if math.isnan(r.age) else f"{r.age:g}"
        rows.writerow(
            (r.subject, r.session, r.centre, r.label, r.split, r.path, r.sex, age, reason)
        )
    for (_, subject, _), what in sorted(reasons.items()):
        rows.writerow((subject, "", "", "", "", "", "", "", "; ".join(what)))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(content.getvalue(), encoding="utf-8")
    os.replace(part, path)
    return path


def table(path):
    """Returns (header, [(line, cells), ...]) of a CSV or TSV file; empty lines are skipped.

    Raises:
        records.ManifestError: naming the file and the remedy.
    """
    if not path.is_file():
        raise records.ManifestError(f"{path}: no such file; set data.manifest to your manifest")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise records.ManifestError(f"{path}: {error.strerror}; make the file readable") from None
    except UnicodeDecodeError as error:
        raise records.ManifestError(
            f"{path}: byte {error.start} is not UTF-8; save the file as 'CSV UTF-8'"
        ) from None
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, line = [], 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise records.ManifestError(f"{path}: row {line}: {error}; save it as plain CSV") from None
    if len(rows) < 2:
        raise records.ManifestError(f"{path}: no rows under a header; expected one per scan")
    header = [cell.strip() for cell in rows[0][1]]
    for name in header:
        if name and header.count(name) > 1:
            raise records.ManifestError(f"{path}: column {name!r} appears twice; rename one")
    return header, rows[1:]


def _places(path, header, columns, features, is_bids, labelled):
    layout = BIDS_COLUMNS if is_bids else CSV_COLUMNS
    place = {}
    for name, word in columns.items():
        if name not in layout:
            known = (*layout, "positive", "negative")
            hint = records.suggestion(name, known)
            raise records.ManifestError(f"data.columns.{name}: known are {', '.join(known)}{hint}")
        place[name] = _place(path, header, word, f"data.columns.{name}")
    lowered = [name.casefold() for name in header]
    for name, words in layout.items():
        match = next((lowered.index(word) for word in words if word in lowered), None)
        if match is not None:
            place.setdefault(name, match)
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
    """Returns the records without repetitions, and a problem for each one dropped."""
    kept, problems, rows, files, splits = [], [], {}, {}, {}
    for r in found:
        scan = (r.subject, r.session)
        split = splits.setdefault(r.subject, (r.split, r.row)) if r.split else ("", 0)
        if scan in rows:
            what = f"the same subject and session as row {rows[scan]}: delete one, or name sessions"
            problems.append(records.Problem(r.row, r.subject, "subject", what))
        elif r.path and r.path in files:
            what = f"the same file as row {files[r.path]}: correct one of them"
            problems.append(records.Problem(r.row, r.subject, "path", what))
        elif r.split != split[0]:
            what = (
                f"{r.split!r}, but row {split[1]} has the same subject in {split[0]!r}: choose one"
            )
            problems.append(records.Problem(r.row, r.subject, "split", what))
        else:
            rows[scan] = r.row
            files[r.path] = r.row
            kept.append(r)
    return kept, problems
