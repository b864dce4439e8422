"""Tables as text: CSV and TSV files in UTF-8, with the lines that their rows stand on."""

import csv
import io

from harmjax.data import records


def read(path, setting="data.manifest"):
    """Returns (header, [(line, cells), ...]) of a CSV or TSV file; empty lines are skipped.

    Args:
        path: a `pathlib.Path`.
        setting: what names the file, for the error.

    Raises:
        records.ManifestError: naming the file and the remedy.
    """
    if path.is_dir():
        inside = path / "participants.tsv"
        hint = f"set {setting} to {inside}" if inside.is_file() else "name the table in it"
        raise records.ManifestError(f"{path}: a folder, not a table; {hint}")
    if not path.is_file():
        raise records.ManifestError(f"{path}: no such file; set {setting} to your table")
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


def column(path, header, words, what, setting="", exact=()):
    """Returns the position of the one column that `words` may mean, or None where there is none.

    Args:
        path: of the table, for the error.
        header: its column names.
        words: what the column may be called, upper and lower case alike.
        what: what is looked for, for the error.
        setting: that decides where several columns could be meant, '' where none does.
        exact: column names that win over the others, as they stand.

    Raises:
        records.ManifestError: naming all columns that could be meant, and the setting.

    >>> column("m.csv", ["ID", "Site"], ("site", "centre"), "the centre")
    1
    """
    for name in exact:
        if name in header:
            return header.index(name)
    found = [i for i, name in enumerate(header) if name.casefold() in words]
    if len(found) > 1:
        names = " and ".join(repr(header[i]) for i in found)
        remedy = f"name one in {setting}" if setting else "rename all but one"
        raise records.ManifestError(f"{path}: {names} could all be {what}; {remedy}")
    return found[0] if found else None
