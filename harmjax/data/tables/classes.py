"""What the words of a label column mean: one of two classes, or of as many as there are."""

import ast
import itertools
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from harmjax.data import records
from harmjax.data.tables import cells

CONTROL = frozenset({"0", "hc", "nc", "cn", "control", "controls", "healthy", "healthy control"})
DISEASE = frozenset({"1", "pd", "patient", "patients", "case", "disease", "parkinson"})
LIMIT = r"(-?(?:\d+(?:[.,]\d+)?|[.,]\d+))"
THRESHOLD = re.compile(rf"\s*([<>]=?|[≥≤])\s*{LIMIT}\s*", re.ASCII)
RANGE = re.compile(rf"\s*{LIMIT}\s*\.\.\s*{LIMIT}\s*", re.ASCII)


class Interval(NamedTuple):
    """The numbers between two ends."""

    low: float
    high: float
    has_low: bool = True  # whether the end is one of them
    has_high: bool = True
    text: str = ""  # as a person wrote it


class Said(NamedTuple):
    """What a person said one class is called."""

    words: frozenset[str] = frozenset()  # see `_word`
    intervals: tuple[Interval, ...] = ()


def names(given=()) -> tuple[str, ...]:
    """The names of the classes in order; those of a control and a patient where none are given.

    Raises:
        records.ManifestError: Fewer than two, one that names nothing, or two that are one name.

    Example:
        >>> names(("HC", "MCI", "AD")), names()
        (('HC', 'MCI', 'AD'), ('control', 'patient'))
    """
    if isinstance(given, str) or len(given) == 1:
        raise records.ManifestError(
            f"data.classes: {given!r} is one class: give two or more, or none for controls and "
            "patients"
        )
    found = tuple(records.tidy(str(name)) for name in given)
    for name in found:
        if not name or name.casefold() in cells.UNKNOWN - {"none"}:
            raise records.ManifestError(f"data.classes: {name!r} names no class: write its name")
        if ";" in name or not name.isprintable():
            raise records.ManifestError(
                f"data.classes: {name!r} holds a semicolon or an unprintable character: rename it"
            )
    for one, two in itertools.combinations(found, 2):
        if _word(one) == _word(two):
            raise records.ManifestError(
                f"data.classes: {one!r} and {two!r} are one name: rename one of them"
            )
    return found or records.CLASSES


def meaning(classes=(), words=(), positive=None, negative=None) -> Callable[[str], int]:
    """A function from a label cell's text to its class; it raises `cells.Defect` for other texts.

    Args:
        classes: Names in order; none for controls and patients.
        words: Of each class a word or several, also as text such as "('AD', 'MCI')", a threshold
            such as '>0', a range such as '1..2' (both ends belong to it), or '' for its own name
            and its number, from 0; () for all of them.
        positive: Of two classes the same for the second, in place of `words`; None for `DISEASE`.
        negative: For the first; None for `CONTROL`, or for whatever is not positive where
            `positive` is a threshold.

    Raises:
        records.ManifestError: Words that two classes share, that are no threshold though they begin
            as one, or that are not as many as the classes.

    Example:
        >>> meaning(positive=">0")("3"), meaning()("Control")
        (1, 0)
        >>> [meaning(("none", "mild", "severe"), ("0", "1..2", ">2"))(cell) for cell in "0134"]
        [0, 1, 2, 2]
    """
    found, pair = names(classes), {"positive": positive, "negative": negative}
    shorthand = [f"data.columns.{name}" for name, value in pair.items() if value is not None]
    if shorthand and (len(found) != 2 or len(words)):
        why = "beside data.words" if len(words) else f"and data.classes has {len(found)}"
        raise records.ManifestError(
            f"{' and '.join(shorthand)}: of two classes, {why}: say it in data.words alone"
        )
    if shorthand or not len(classes) and not len(words):
        return _two(positive, negative)
    if len(words) not in (0, len(found)) or isinstance(words, str) or not len(classes):
        raise records.ManifestError(
            f"data.words: {words!r} for {len(classes)} data.classes: give one entry for each, '' "
            "for a class's own name and number"
        )
    said = [
        Said(frozenset({_word(name), str(k)})) if _is_left_open(word)
        else _said("data.words", word)
        for k, (name, word) in enumerate(itertools.zip_longest(found, words, fillvalue=""))
    ]  # fmt: skip
    for (one, its), (two, others) in itertools.combinations(zip(found, said, strict=True), 2):
        shared = _shared(its, others)
        if shared:
            raise records.ManifestError(
                f"data.words: {shared} means both {one!r} and {two!r}: give each class other words"
            )

    def known(cell):
        fitting = [k for k, one in enumerate(said) if _holds(one, cell)]
        if len(fitting) == 1:
            return fitting[0]
        raise cells.Defect(
            "label",
            f"{cell!r} is no known class, which are {', '.join(found)}: set data.words to your "
            "words",
        )

    return known


def _two(positive, negative):
    """`meaning` of controls and patients."""
    disease = Said(DISEASE) if positive is None else _said("data.columns.positive", positive)
    control = Said(CONTROL) if negative is None else _said("data.columns.negative", negative)
    if disease.intervals and not disease.words and negative is None:
        above = disease.intervals
        return lambda cell: int(_among(above, cells.number("label", cell, "a number to compare")))
    both = sorted(disease.words & control.words)
    if both:
        raise records.ManifestError(
            f"data.columns: {both} means both disease and control; set "
            "data.columns.positive and .negative to different words"
        )

    def known(cell):
        is_disease, is_control = _holds(disease, cell), _holds(control, cell)
        if is_disease != is_control:
            return int(is_disease)
        what = "is both disease and control" if is_disease else "is no known group"
        raise cells.Defect(
            "label", f"{cell!r} {what}: set data.columns.positive and .negative to your words"
        )

    return known


def _is_left_open(word):
    return word is None or isinstance(word, (str, tuple, list)) and not len(word)


def _said(setting, value) -> Said:
    """What a setting says: words, thresholds, ranges."""
    if isinstance(value, str) and re.fullmatch(r"\s*[(\[].*[)\]]\s*", value):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            value = [word.strip(" '\"") for word in value.strip(" ()[]").split(",")]
    several = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    intervals = [_interval(setting, one) for one in several]
    words = [_word(one) for one, found in zip(several, intervals, strict=True) if found is None]
    return Said(frozenset(words), tuple(filter(None, intervals)))


def _interval(setting, value) -> Interval | None:
    """The numbers that a threshold or a range means; None for a word.

    Raises:
        records.ManifestError: What begins as a threshold and is none, or a range of no number.
    """
    text = str(value)
    ends, found = RANGE.fullmatch(text), THRESHOLD.fullmatch(text)
    if ends:
        low, high = map(cells.as_number, ends.groups())
        if low > high:
            raise records.ManifestError(
                f"{setting}: {value!r} is no range: write the smaller number first"
            )
        return Interval(low, high, text=text.strip())
    if found:
        sign, limit, equal = found[1][0], cells.as_number(found[2]), found[1] not in "<>"
        if sign in ">≥":
            return Interval(limit, math.inf, has_low=equal, text=text.strip())
        return Interval(-math.inf, limit, has_high=equal, text=text.strip())
    if re.match(r"\s*[<>=!≥≤≠]", text):
        raise records.ManifestError(
            f"{setting}: {value!r} is no threshold; write it such as '>0' or '<=0.5'"
        )
    return None


def _word(value):
    """A label as it is compared: NFC, without case, '1.0' and '1,0' like '1'."""
    return re.sub(r"[.,]0+$", "", records.tidy(str(value)).casefold())


def _holds(said: Said, cell) -> bool:
    return _word(cell) in said.words or _among(said.intervals, cells.as_number(cell))


def _among(intervals, value) -> bool:
    return any(_inside(one, value) for one in intervals)


def _inside(interval: Interval, value) -> bool:
    above = value >= interval.low if interval.has_low else value > interval.low
    return above and (value <= interval.high if interval.has_high else value < interval.high)


def _shared(one: Said, two: Said) -> str:
    """A word, or two intervals, that two classes share; '' where they share nothing."""
    words = sorted(one.words & two.words)
    for its, other in ((one, two), (two, one)):
        words += [w for w in sorted(its.words) if _among(other.intervals, cells.as_number(w))]
    if words:
        return repr(words[0])
    for a, b in itertools.product(one.intervals, two.intervals):
        low, high = max(a.low, b.low), min(a.high, b.high)
        if low < high or low == high and _inside(a, low) and _inside(b, low):
            return f"what is in both {a.text!r} and {b.text!r}"
    return ""
