"""The cells of one row of a manifest: text to values, or the defect in words."""

import math
import operator
import os
import re

from harmjax.data import records

CONTROL = frozenset({"0", "hc", "nc", "cn", "control", "controls", "healthy", "healthy control"})
DISEASE = frozenset({"1", "pd", "patient", "patients", "case", "disease", "parkinson"})
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("verification", "val", "valid", "validation", "dev"), "verification"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SEX_WORDS = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"}
UNKNOWN = frozenset({"", "n/a", "na", "nan", "?", "none", "null"})
THRESHOLD = re.compile(r"\s*([<>]=?)\s*(-?\d+(?:\.\d+)?)\s*")
COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


class Defect(Exception):
    """A row that cannot be used: (place, what)."""


def meaning(positive, negative):
    """Returns a function from the text of a label cell to 0 or 1, raising Defect for others.

    Args:
        positive: word or words for disease, a threshold such as '>0', or None for `DISEASE`.
        negative: word or words for controls, or None for `CONTROL`; unused with a threshold.

    Raises:
        records.ManifestError: where one word means both.

    >>> meaning(">0", None)("3"), meaning(None, None)("Control")
    (1, 0)
    """
    threshold = THRESHOLD.fullmatch(str(positive))
    if threshold:
        compare, limit = COMPARISONS[threshold[1]], float(threshold[2])
        return lambda cell: int(compare(number("label", cell, "a number to compare"), limit))
    disease = DISEASE if positive is None else _words(positive)
    control = CONTROL if negative is None else _words(negative)
    if disease & control:
        raise records.ManifestError(
            f"data.columns: {sorted(disease & control)} means both disease and control; set "
            "data.columns.positive and .negative to different words"
        )

    def known(cell):
        (word,) = _words(cell)
        if word in disease or word in control:
            return int(word in disease)
        raise Defect(
            "label",
            f"{cell!r} is no known group: set data.columns.positive and .negative to your words",
        )

    return known


def _words(value):
    several = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    return frozenset(re.sub(r"\.0+$", "", str(word).strip().casefold()) for word in several)


def record(line, row, meaning, labelled=True):
    """Returns the `records.Record` of one row, without path and features.

    Args:
        line: line in the manifest.
        row: {column: text}; subject, and if `labelled` centre and label, are needed.
        meaning: from the label's text to 0 or 1.
        labelled: whether a centre and a label are needed; '' and -1 stand for none.

    Raises:
        Defect: where the row cannot be used.
    """
    if row.get("left_out"):
        raise Defect("left_out", row["left_out"])
    subject = _name("subject", row["subject"])
    centre = _name("centre", row["centre"]) if labelled else row.get("centre", "")
    label = row.get("label", "")
    if label.casefold() in UNKNOWN - {"none"}:
        if labelled:
            raise Defect("label", "empty: fill in the diagnosis, or delete the row")
        label = ""
    split = row.get("split", "").casefold()
    split = "" if split in UNKNOWN else split
    if split and split not in SPLIT_WORDS:
        raise Defect("split", f"{split!r}: expected train, verification or test")
    sex = row.get("sex", "")
    sex = "" if sex.casefold() in UNKNOWN else SEX_WORDS.get(sex.casefold(), sex)
    age = row.get("age", "")
    if age.casefold() in UNKNOWN:
        age = math.nan
    else:
        age = number("age", age.rstrip("+").replace(",", "."), "years, or empty if unknown")
        if not 0 <= age <= 130:
            raise Defect("age", f"{age:g}: expected years, or empty if unknown")
    session = row.get("session", "")
    return records.Record(
        row=line,
        subject=subject,
        session="" if session.casefold() == "n/a" else session,
        centre=centre,
        label=meaning(label) if label else -1,
        split=SPLIT_WORDS.get(split, ""),
        sex=sex,
        age=age,
    )


def _name(place, cell):
    if cell.casefold() in ("", "n/a"):
        raise Defect(place, f"empty: name the {place}, or delete the row")
    if ";" in cell or not cell.isprintable():
        raise Defect(place, f"{cell!r} holds a semicolon or an unprintable character: rename it")
    return cell


def number(place, cell, expected):
    """Returns the finite number a cell holds; raises Defect otherwise."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Defect(place, f"{cell!r} is not a number: expected {expected}")
    return value


def features(row, names, places):
    """Returns the feature values of a row's cells, in the order of `names`; NaN where missing."""
    values = []
    for name, at in zip(names, places, strict=True):
        cell = row[at].strip()
        known = cell.casefold() not in UNKNOWN
        values.append(number(name, cell, "a number, or empty if unknown") if known else math.nan)
    return tuple(values)


def location(folder, cell):
    """Returns the absolute path a cell names, starting from the manifest's folder."""
    if cell.casefold() in ("", "n/a"):
        raise Defect("path", "empty: name the scan's file, or delete the row")
    if "\0" in cell:
        raise Defect("path", f"{cell!r} is no file name: correct it")
    return os.path.normpath(folder / os.path.expanduser(cell))
