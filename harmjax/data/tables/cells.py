"""The cells of one row of a manifest: text to values, or the defect in words."""

import math
import os
import re
from typing import NamedTuple

from harmjax.data import records

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("verification", "val", "valid", "validation", "dev"), "verification"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SEX_WORDS = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"}
UNKNOWN = frozenset({"", "n/a", "na", "nan", "?", "none", "null", "<na>", "#n/a", "#nv", "."})
# A formula's error; a long number as a spreadsheet shows it, which several people may have.
NO_NAME = re.compile(r"#[A-Z0/]+[!?]|\d([.,]\d+)?E\+\d+", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)


class Defect(Exception):
    """A row that cannot be used: (place, what)."""


class Row(NamedTuple):
    """What one row of a manifest says."""

    record: records.Record  # without path and features
    unread: tuple[tuple[str, str], ...]  # (place, cell) of what nobody needs and was not understood


def record(line, row, columns, meaning, labelled=True):
    """Returns the `Row` of one line of a manifest.

    Args:
        line: Line in the manifest.
        row: {column: text}; subject, and if `labelled` centre and label, are needed.
        columns: {column: its name in the header}, for the record's provenance.
        meaning: From the label's text to its class, 0 to K - 1, see `classes.meaning`.
        labelled: Whether a centre and a label are needed; '' and -1 stand for none.

    Raises:
        Defect: Where the row cannot be used.
    """
    if row.get("left_out"):
        raise Defect("left_out", row["left_out"])
    subject = _name("subject", row["subject"])
    centre = _known(row.get("centre", ""))
    if labelled:
        _name("centre", row["centre"])
    age, sex = _age(row.get("age", "")), row.get("sex", "")
    sex = "" if sex.casefold() in UNKNOWN else SEX_WORDS.get(sex.casefold(), sex)
    found = records.Record(
        row=line,
        subject=subject,
        session=_known(row.get("session", "")),
        centre=centre,
        label=_label(row.get("label", ""), meaning, labelled),
        split=_split(row.get("split", "")) if labelled else "",
        sex=sex,
        age=math.nan if age is None else age,
        centre_from=f"{columns['centre']}={row['centre']}" if "centre" in columns else "",
        label_from=f"{columns['label']}={row['label']}" if "label" in columns else "",
    )
    return Row(found, (("age", row["age"]),) if age is None else ())


def _label(cell, meaning, labelled):
    if not labelled:
        return -1
    try:
        return meaning(cell)
    except Defect:
        if cell.casefold() not in UNKNOWN - {"none"}:
            raise
    raise Defect("label", "empty: fill in the diagnosis, or delete the row")


def _split(cell):
    word = cell.casefold()
    if word in UNKNOWN:
        return ""
    if word not in SPLIT_WORDS:
        raise Defect("split", f"{word!r}: expected train, verification or test")
    return SPLIT_WORDS[word]


def _age(cell):
    """Returns years, NaN for an empty cell, or None where the cell is no age."""
    if cell.casefold() in UNKNOWN:
        return math.nan
    years = as_number(cell.rstrip("+"))
    return years if 0 <= years <= 130 else None


def _known(cell):
    """A name in one spelling, '' where the cell says that it is unknown."""
    name = records.tidy(cell)
    return "" if name.casefold() in UNKNOWN else name


def _name(place, cell):
    name = records.tidy(cell)
    if not name:
        raise Defect(place, f"empty: name the {place}, or delete the row")
    if not (_known(cell) and any(map(str.isalnum, name))) or NO_NAME.fullmatch(name):
        raise Defect(place, f"{cell!r} names no {place}: write its name, or delete the row")
    if ";" in name or not name.isprintable():
        raise Defect(place, f"{cell!r} holds a semicolon or an unprintable character: rename it")
    return name


def number(place, cell, expected):
    """Returns the finite number a cell holds, with a point or a comma; raises Defect otherwise."""
    value = as_number(cell)
    if not math.isfinite(value):
        raise Defect(place, f"{cell!r} is not a number: expected {expected}")
    return value


def as_number(cell):
    """Returns a number as tables write it, with a decimal point or comma; NaN for anything else."""
    text = cell.strip()
    return float(text.replace(",", ".")) if NUMBER.fullmatch(text) else math.nan


def has_decimal_commas(rows, places):
    """Returns whether some cell of the columns holds a comma that can only be a decimal one.

    Args:
        rows: Of cells.
        places: Of the columns.
    """
    some = (row[at].strip() for row in rows for at in places if at < len(row))
    return any("," in c and NUMBER.fullmatch(c) and not THOUSANDS.fullmatch(c) for c in some)


def features(row, names, places, decimal_commas=True):
    """Returns the feature values of a row's cells, in the order of `names`; NaN where missing.

    Without `decimal_commas`, '1,234' is a defect: it may be a thousand or one and a bit.
    """
    values = []
    for name, at in zip(names, places, strict=True):
        cell = row[at].strip()
        if not decimal_commas and THOUSANDS.fullmatch(cell):
            what = (
                f"{cell!r} may be {cell.replace(',', '.')} or {cell.replace(',', '')}: write that"
            )
            raise Defect(name, what)
        known = cell.casefold() not in UNKNOWN
        values.append(number(name, cell, "a number, or empty if unknown") if known else math.nan)
    return tuple(values)


def location(folder, cell):
    """Returns the absolute path a cell names, starting from the manifest's folder.

    '..' stays in it, because after a linked folder it means what the operating system makes of it.
    """
    if cell.casefold() in UNKNOWN - {"."}:
        raise Defect("path", "empty: name the scan's file, or delete the row")
    if "\0" in cell:
        raise Defect("path", f"{cell!r} is no file name: correct it")
    return str(folder / os.path.expanduser(cell))
