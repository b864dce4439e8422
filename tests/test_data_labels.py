"""What a label means: signs, words, thresholds, and classes."""

import pytest

from harmjax.data.tables import manifest
from tests.test_data_manifest import listing, written

STAGES = ("absent", "mild", "severe")


def test_a_label_may_be_a_sign_or_have_a_decimal(tmp_path):
    rows = ("a;A;+;a", "b;A;-;b", "c;A;NA;c")
    path = written(tmp_path, *rows, header="Subject;Study;Group;Path")
    used, (problem,) = listing(path, columns={"positive": "+", "negative": "-"})
    assert ([r.label for r in used], problem.what[:5]) == ([1, 0], "empty")
    path = written(tmp_path, "a;A;1,0;a", "b;A;0.0;b", header="Subject;Study;Group;Path")
    assert [r.label for r in listing(path)[0]] == [1, 0]


def test_scans_to_be_diagnosed_need_no_label(tmp_path):
    rows = ("a,A,TBD,a.nii,,,,", "b,A,,b.nii,,,,", "c,,PD?,c.nii,,,,holdout")
    used, problems = listing(written(tmp_path, *rows), labelled=False)
    assert [r.label for r in used] == [-1, -1, -1] and not problems


@pytest.mark.parametrize("words", [("AD", "MCI"), "('AD','MCI')", "['ad', 'mci']", "(AD, MCI)"])
def test_several_words_for_disease(tmp_path, words):
    rows = ("a,A,AD,a", "b,A,MCI,b", "c,A,CN,c")
    path = written(tmp_path, *rows, header="Subject,Study,Group,Path")
    used, problems = listing(path, columns={"positive": words})
    assert ([r.label for r in used], problems) == ([1, 1, 0], ())


@pytest.mark.parametrize(
    "sign,wanted",
    [
        *((">0", [0, 1, 1]), (">=1", [0, 1, 1]), ("<2", [1, 1, 0]), (" <= 0 ", [1, 0, 0])),
        *((">.5", [0, 1, 1]), ("≥1,5", [0, 0, 1]), ("≤ -,5", [0, 0, 0])),
    ],
)
def test_a_threshold_makes_the_label(tmp_path, sign, wanted):
    rows = ("a,A,0,a", "b,A,1,b", 'c,A,"2,0",c', "d,A,high,d")
    path = written(tmp_path, *rows, header="Subject,Study,num,Path")
    used, (problem,) = listing(path, columns={"label": "num", "positive": sign})
    assert [r.label for r in used] == wanted
    assert (problem.row, problem.place) == (5, "label")


@pytest.mark.parametrize(
    "positive,negative,wanted",
    [
        (">0.5", "0", {"a": 0, "c": 1, "d": 1}),
        (">0.5", "<=0", {"a": 0, "c": 1, "d": 1}),
        (">0.5", ("0", "n"), {"a": 0, "c": 1, "d": 1, "e": 0}),
        (">0", "<1", {"a": 0, "c": 1, "d": 1}),
        ("2", "<1", {"a": 0, "b": 0, "d": 1}),
        (">0.5", None, {"a": 0, "b": 0, "c": 1, "d": 1}),
    ],
)
def test_controls_are_what_was_said_and_not_the_rest(tmp_path, positive, negative, wanted):
    rows = ("a,A,0,a", "b,A,0.5,b", "c,A,1,c", "d,A,2.0,d", "e,A,n,e", "f,A,,f")
    path = written(tmp_path, *rows, header="Subject,Study,CDR,Path")
    columns = {"label": "CDR", "positive": positive, "negative": negative}
    used, problems = listing(path, columns=columns)
    assert {r.subject: r.label for r in used} == wanted
    assert {p.subject for p in problems} == set("abcdef") - set(wanted)
    assert {p.place for p in problems} == {"label"}


def test_labels_of_three_classes(tmp_path):
    rows = ("a,A,0,a", "b,A,1,b", "c,B,2.0,c", "d,B,4,d", "e,B,5,e", "f,B,,f")
    path = written(tmp_path, *rows, header="Subject,Study,num,Path")
    found = manifest.read(path, columns={"label": "num"}, named=STAGES, words=("0", "1..2", "3..4"))
    assert [(r.subject, r.label, r.label_from) for r in found.records] == [
        *(("a", 0, "num=0"), ("b", 1, "num=1"), ("c", 1, "num=2.0"), ("d", 2, "num=4")),
    ]
    assert (
        found.notices[1] == "labels: '0' absent (1), '1' mild (1), '2.0' mild (1), '4' severe (1)"
    )
    assert [(p.row, p.place, p.what) for p in found.problems] == [
        *(
            (6, "label", "'5' is no known class, which are absent, mild, severe: set data.words to"
             " your words"),
            (7, "label", "empty: fill in the diagnosis, or delete the row"),
        ),
    ]  # fmt: skip


def test_a_sessions_table_may_contradict_one_of_three_classes(tmp_path):
    for session in "12":
        anat = tmp_path / f"sub-1/ses-{session}/anat"
        anat.mkdir(parents=True)
        (anat / f"sub-1_ses-{session}_T1w.nii").touch()
    header = "participant_id\tsite\tdiagnosis"
    path = written(tmp_path, "sub-1\tA\tmild", header=header, name="participants.tsv")
    rows = ("1\tmild", "2\tsevere")
    written(tmp_path / "sub-1", *rows, header="session_id\tdiagnosis", name="sub-1_sessions.tsv")
    used, (problem,) = listing(path, named=STAGES)
    assert [(r.session, r.label) for r in used] == [("1", 1)]
    assert "says diagnosis='severe' of session '2'" in problem.what
