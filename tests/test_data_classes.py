"""Which words mean which class: two, or as many as there are."""

import math

import hypothesis
import pytest
from hypothesis import strategies

from harmjax.data import records
from harmjax.data.tables import cells, classes

AD = ("HC", "MCI", "AD")


def read(meaning, *texts):
    """What each text means; 'no' where it means nothing."""

    def one(text):
        try:
            return meaning(text)
        except cells.Defect as defect:
            assert defect.args[0] == "label"
            return "no"

    return [one(text) for text in texts]


def test_a_class_is_called_by_its_name_or_its_number():
    found = classes.meaning(AD)
    assert read(found, "hc", " MCI ", "Ad", "0", "1.0", "2,0") == [0, 1, 2, 0, 1, 2]
    assert read(found, "3", "-1", "", "patient", "HC/AD", "control") == ["no"] * 6
    with pytest.raises(
        cells.Defect, match="label.*'sick' is no known class, which are HC, MCI, AD"
    ):
        found("sick")


def test_words_thresholds_and_ranges():
    words = (("no", 0), "1..2", "('severe', '>2')")
    found = classes.meaning(("absent", "mild", "severe"), words)
    assert read(found, "NO", "0", "1", "1.5", "2", "2.01", "4", "Severe") == [
        0,
        0,
        1,
        1,
        1,
        2,
        2,
        2,
    ]
    assert read(found, "absent", "mild", "-1", "0.5") == ["no"] * 4  # words replace the name
    assert read(classes.meaning(AD, ("", "('emci', 'lmci')", "")), "0", "LMCI", "1", "2") == [
        *(0, 1, "no", 2),
    ]
    assert read(classes.meaning(("a", "b"), ("≤-1,5", ">=-1")), "-1.5", "-1.2", "-1") == [
        0,
        "no",
        1,
    ]


CELLS = strategies.one_of(
    strategies.integers(-9, 9).map(str),
    strategies.floats(-9, 9).map(lambda x: f"{x:.3f}"),
    strategies.text("0123456789.,-+eE<> acd", max_size=5),
)


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(
    cuts=strategies.lists(strategies.integers(-5, 5), min_size=1, max_size=5, unique=True),
    closed=strategies.booleans(),
    cell=CELLS,
)
def test_intervals_that_share_no_number_are_read_as_written(cuts, closed, cell):
    """Thresholds and ranges between sorted cuts; the oracle compares with each cut."""
    cuts = sorted(cuts)
    words = [f"<={cuts[0]}", *(f"{a + 0.5:.1f}..{b}" for a, b in zip(cuts, cuts[1:], strict=False))]
    words.append(f">{cuts[-1]}" if closed else f">={cuts[-1] + 0.5:.1f}")
    (found,) = read(classes.meaning([f"c{k}" for k in range(len(words))], words), cell)
    value = cells.as_number(cell)
    wanted = "no"
    if value <= cuts[0]:
        wanted = 0
    elif value > cuts[-1] if closed else value >= cuts[-1] + 0.5:
        wanted = len(cuts)
    for k, (a, b) in enumerate(zip(cuts, cuts[1:], strict=False), start=1):
        wanted = k if a + 0.5 <= value <= b else wanted
    assert found == wanted


ENTRIES = strategies.one_of(
    strategies.sampled_from(("0", "1", "2", "2.0", "x", "X ", "y", "10")),
    strategies.tuples(strategies.sampled_from("<>≤≥"), strategies.integers(-1, 3)).map(
        lambda pair: f"{pair[0]}{pair[1]}"
    ),
    strategies.lists(strategies.integers(-1, 3), min_size=2, max_size=2).map(
        lambda ends: "{}..{}".format(*sorted(ends))
    ),
)
PROBES = ("x", "y", *(f"{i / 4}" for i in range(-20, 60)))


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(strategies.lists(strategies.lists(ENTRIES, min_size=1, max_size=2), min_size=2,
                                   max_size=4))  # fmt: skip
def test_words_are_refused_if_and_only_if_two_classes_share_one(words):
    """By trying many cells: a class beside one that has none of them says what it has."""
    alone = [
        {p for p in PROBES if read(classes.meaning(("a", "b"), (one, "nothing")), p) == [0]}
        for one in map(tuple, words)
    ]
    shares = any(a & b for i, a in enumerate(alone) for b in alone[:i])
    named = [f"c{k}" for k in range(len(words))]
    if shares:
        with pytest.raises(records.ManifestError, match="data.words: .* means both 'c.' and 'c.'"):
            classes.meaning(named, list(map(tuple, words)))
    else:
        found = classes.meaning(named, list(map(tuple, words)))
        for probe in PROBES:
            own = [k for k, has in enumerate(alone) if probe in has]
            assert read(found, probe) == (own or ["no"])


@pytest.mark.parametrize(
    "names, words, pair, message",
    [
        (("A", "B", "C"), ("x", "y", "X"), {}, "data.words: 'x' means both 'A' and 'C'"),
        (("A", "B", "C"), ("0", "1..2", ">=2"), {}, "what is in both '1..2' and '>=2' means both"),
        (("A", "B"), ("2", "1..2"), {}, "'2' means both 'A' and 'B'"),
        (("1", "2", "3"), (), {}, "'1' means both '1' and '2'"),
        (("A", "B", "C"), ("x", "y"), {}, r"\('x', 'y'\) for 3 data.classes: give one entry"),
        ((), ("x", "y"), {}, "for 0 data.classes"),
        (("A", "B"), "xy", {}, "'xy' for 2 data.classes"),
        (("A", "B", "C"), (), {"positive": "x"}, "data.columns.positive: .*data.classes has 3"),
        (("A", "B"), ("x", "y"), {"negative": "x"}, "data.columns.negative: .*beside data.words"),
        (("A", "B"), ("2..1", ""), {}, "'2..1' is no range: write the smaller number first"),
        (("A", "B"), ("=>1", ""), {}, "'=>1' is no threshold"),
        (("A",), (), {}, "is one class"),
        ("AB", (), {}, "'AB' is one class"),
        (("A", "a "), (), {}, "'A' and 'a' are one name"),
        (("1", "1.0"), (), {}, "are one name"),
        (("A", " "), (), {}, "'' names no class"),
        (("A", "n/a"), (), {}, "'n/a' names no class"),
        (("A", "B;C"), (), {}, "semicolon"),
    ],
)
def test_what_cannot_be_meant_is_refused(names, words, pair, message):
    with pytest.raises(records.ManifestError, match=message):
        classes.meaning(names, words, **pair)


def test_two_named_classes_may_be_said_in_shorthand():
    found = classes.meaning(("well", "ill"), (), ">1", None)
    assert read(found, "0", "1", "2", "x") == [0, 0, 1, "no"]
    assert read(classes.meaning(("well", "ill")), "ill", "0", "HC", "PD") == [1, 0, "no", "no"]
    assert classes.names(("well", "ill")) == ("well", "ill")
    assert classes.names() == records.CLASSES


@pytest.mark.parametrize("text", ["1e999", "nan", "inf", ""])
def test_what_is_no_finite_number_is_above_no_threshold_but_infinity(text):
    found = classes.meaning(("a", "b"), ("<=0", ">0"))
    assert read(found, text) == [1 if cells.as_number(text) == math.inf else "no"]
