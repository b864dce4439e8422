"""Tables as text: CSV and TSV files in UTF-8, with the lines that their rows stand on."""

import csv
import io
import re

from harmjax.data import records

# What spreadsheet programs write before the header, and read again.
SEPARATOR = re.compile(r'"?sep=([;,\t])"?[;,\t]*(?=[\r\n])')


def read(path, setting="data.manifest", fewest=1):
    """Returns (header, [(line, cells), ...]) of a CSV or TSV file; empty lines are skipped.

    Args:
        path: A `pathlib.Path`.
        setting: What names the file, for the error.
        fewest: Rows that it must have.

    Raises:
        records.ManifestError: Naming the file and the remedy.
    """
    if path.is_dir():
        inside = path / "participants.tsv"
        hint = f"set {setting} to {inside}" if inside.is_file() else "name the table in it"
        raise records.ManifestError(f"{path}: a folder, not a table; {hint}")
    if not path.is_file():
        raise records.ManifestError(f"{path}: no such file; set {setting} to your table")
    try:
        text = path.read_bytes().decode().lstrip("\ufeff")
    except OSError as error:
        raise records.ManifestError(f"{path}: {error.strerror}; make the file readable") from None
    except UnicodeDecodeError as error:
        raise records.ManifestError(
            f"{path}: byte {error.start} is not UTF-8; save the file as 'CSV UTF-8'"
        ) from None
    told = SEPARATOR.match(text)
    delimiter = told[1] if told else _delimiter(text)
    # Strict, since a quotation mark that nothing closes would take all rows after it into its cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, line = [], 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        what, remedy = str(error), "save it as plain CSV"
        if what == "unexpected end of data":
            what, remedy = "a quotation mark that nothing closes", "close it or take it out"
        raise records.ManifestError(f"{path}: row {line}: {what}; {remedy}") from None
    rows = rows[1:] if told else rows
    if len(rows) < 1 + fewest:
        raise records.ManifestError(f"{path}: no rows under a header; expected one per scan")
    header = [cell.strip() for cell in rows[0][1]]
    for name in header:
        if name and header.count(name) > 1:
            raise records.ManifestError(f"{path}: column {name!r} appears twice; rename one")
    for line, row in rows[1:]:
        if any(_holds_rows(cell, delimiter, len(header)) for cell in row):
            raise records.ManifestError(
                f"{path}: row {line}: between two quotation marks lie whole rows; take the marks "
                "out, or the line breaks within that cell"
            )
    return header, rows[1:]


def _delimiter(text):
    """The separator that the header has most of, quoted cells apart."""
    bare = re.sub(r'"[^"]*"', "", text[:100_000]).lstrip("\r\n ")
    return max("\t;,", key=re.split("[\r\n]", bare, maxsplit=1)[0].count)


def _holds_rows(cell, delimiter, width):
    breaks = len(re.findall("\r\n|\r|\n", cell))
    return breaks > 0 and cell.count(delimiter) >= breaks * (width - 1)


def column(path, header, words, what, setting="", exact=()):
    """Returns the position of the one column that `words` may mean, or None where there is none.

    Args:
        path: Of the table, for the error.
        header: Its column names.
        words: What the column may be called, upper and lower case alike.
        what: What is looked for, for the error.
        setting: That decides where several columns could be meant, '' where none does.
        exact: Column names that win over the others, as they stand.

    Raises:
        records.ManifestError: Naming all columns that could be meant, and the setting.

    Example:
        >>> column("m.csv", ["ID", "Site"], ("site", "centre"), "the centre")
        1
    """
    found = [name for name in exact if name in header][:1]
    found = found or [name for name in header if name.casefold() in words]
    # What programs make of a column that a table has twice.
    found += [name for name in header if _unnumbered(name) in found]
    if len(found) > 1:
        names = " and ".join(map(repr, found))
        remedy = f"name one in {setting}" if setting else "rename all but one"
        raise records.ManifestError(f"{path}: {names} could all be {what}; {remedy}")
    return header.index(found[0]) if found else None


def _unnumbered(name):
    """'Group' of 'Group.1', as pandas and R call a second column 'Group'; '' of other names."""
    return name.rpartition(".")[0] if re.search(r"\.\d+$", name) else ""
