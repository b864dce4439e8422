"""Who a row is about: people, sessions and centres by name, and what a person said of them."""

import pytest

from harmjax.data import records
from harmjax.data.tables import manifest, people
from tests.test_data_manifest import listing, written

SCANS = tuple(
    records.Record(i, s, v, "A", 0)
    for i, (s, v) in enumerate([("ann", "1"), ("ann", "2"), ("bob", "")])
)


@pytest.mark.parametrize(
    "row,place,what",
    [
        ("s1,A,1,b.nii,,,,", "subject", "the same subject and session as row {}"),
        ("s1,A,0,a.nii,,,,", "subject", "the same subject and session as row {}"),
        ("s2,A,1,a.nii,,,,", "path", "the same file as row {}"),
        ("s2,A,1,x/../a.nii,,,,", "path", "the same file as row {}"),
        ("s1,A,1,b.nii,2,,,test", "split", "but row {} has the same person in"),
    ],
)
def test_of_rows_that_contradict_each_other_none_is_used(tmp_path, row, place, what):
    (tmp_path / "x").mkdir()
    lines = ("s1,A,1,a.nii,,,,train", row, "s3,A,0,c.nii,,,,")
    for order in (lines, lines[1::-1] + lines[2:]):
        used, problems = listing(written(tmp_path, *order))
        assert [r.subject for r in used] == ["s3"]
        assert [(p.row, p.place) for p in problems] == [(2, place), (3, place)]
        assert what.format(3) in problems[0].what and what.format(2) in problems[1].what


def test_every_centre_may_number_its_own_people(tmp_path):
    rows = ("001,A,1,a", "001,B,0,b", "002,B,0,c")
    found = manifest.read(written(tmp_path, *rows, header="Subject,Study,Group_bin,Path"))
    assert [(r.centre, r.subject, r.label) for r in found.records] == [
        *(("A", "001", 1), ("B", "001", 0), ("B", "002", 0)),
    ]
    assert not found.problems and "1 subject ids occur at several centres (001)" in found.notices[2]
    assert records.names(found.records) == ("A/001", "B/001", "002")
    word = people.read(written(tmp_path, "B/001", "002", header="Subject"), found.records)
    assert people.verdicts(found.records, drop=word).tolist() == [0, -1, -1]
    with pytest.raises(records.ManifestError, match="'001' is 2 people; write 'A/001' or 'B/001'"):
        people.read(written(tmp_path, "001", header="Subject"), found.records)


def test_spellings_of_one_centre(tmp_path):
    rows = ("a,Z\u00fcrich,1,a", "b,Zu\u0308rich,0,b", "c, Z\u00fcrich ,0,c")
    rows += ("d,Bern  Nord,0,d", "e,Bern\u00a0Nord,0,e", "f,bern nord,1,f")
    found = manifest.read(written(tmp_path, *rows, header="Subject,Study,Group_bin,Path"))
    assert [r.centre for r in found.records] == [
        *["Z\u00fcrich"] * 3,
        *["Bern Nord"] * 2,
        "bern nord",
    ]
    assert "'Bern Nord' and 'bern nord' are taken as different" in found.notices[2]


@pytest.mark.parametrize(
    "centres,subjects,sessions,told",
    [
        ("1 1.0 01 10", "a b c d", "", "centres '01' and '1' and '1.0' are"),
        ("UM_1 UM-1 UM_11 UM_1_1", "a b c d", "", "centres 'UM-1' and 'UM_1' are"),
        ("A A A B", "sub-01 1 011 01", "", "subjects '1' and 'sub-01' are"),
        ("A A A A", "S-1 s_1 s11 s1.1", "", "subjects 'S-1' and 's_1' are"),
        ("A A A A", "a a a b", "1 ses-01 11 1", "sessions '1' and 'ses-01' are"),
        ("A A B B", "5E12 512 e12 512", "", None),
    ],
)
def test_names_that_may_be_one_are_told(tmp_path, centres, subjects, sessions, told):
    cells = centres.split(), subjects.split(), (sessions or ". . . .").split(), "wxyz"
    rows = [f"{subject},{at},1,{file},{s}" for at, subject, s, file in zip(*cells, strict=True)]
    found = manifest.read(written(tmp_path, *rows, header="Subject,Study,Group_bin,Path,Session"))
    assert len(found.records) == 4 and not found.problems
    assert [r.session for r in found.records] == (sessions.split() or [""] * 4)
    notices = [n for n in found.notices if "taken as different;" in n]
    assert len(notices) == (told is not None) and all(f"the {told}" in n for n in notices)


def test_sessions_of_one_subject_are_two_scans(tmp_path):
    used, problems = listing(written(tmp_path, "s1,A,1,a.nii,1,,,", "s1,A,1,b.nii,2,,,test"))
    assert ([r.session for r in used], problems) == (["1", "2"], ())


def test_rows_say_the_same_in_other_spellings(tmp_path):
    rows = ("a,A,1,a.nii", "a,A,1.0,./a.nii", "b,Zu\u0308rich,0,b.nii", "b,Z\u00fcrich,HC,b.nii")
    used, problems = listing(written(tmp_path, *rows, header="Subject,Study,Group_bin,Path"))
    assert [r.row for r in used] == [2, 4]
    assert [p.what for p in problems] == [f"says the same as row {r}: delete one" for r in (2, 4)]


def test_a_persons_word(tmp_path):
    path = written(tmp_path, "ann", header="Subject")
    keep = people.read(path, SCANS)
    assert keep == {("", "ann", "1"), ("", "ann", "2")}
    drop = people.read(written(tmp_path, "bob,", "ann,2", header="Subject,Session"), SCANS)
    named = people.read(
        written(tmp_path, "bob,n/a", "ann_ses-2,NA", header="Subject,Session"), SCANS
    )
    assert named == drop
    assert people.verdicts(SCANS, drop=drop).tolist() == [0, -1, -1]
    assert people.verdicts(SCANS, keep=keep).tolist() == [1, 1, 0]
    assert people.read("", SCANS) == frozenset()
    with pytest.raises(records.ManifestError, match="both kept and dropped: ann"):
        people.verdicts(SCANS, keep, drop)


@pytest.mark.parametrize(
    "header,row,match",
    [
        ("Subject", "anna", "row 2: no subject 'anna' in the manifest.*'ann'"),
        ("Subject,Session", "ann,3", "'ann' has no session '3'; known are '1', '2'"),
        ("Subjects", "ann", "no column 'Subject'.*'Subjects'"),
        ("Subject", '"ann\nbob"', "row 2: between two quotation marks lie whole rows"),
        ("Subject,Session", 'ann,"1\nbob,', "row 2: a quotation mark that nothing closes"),
    ],
)
def test_an_unknown_person_is_named(tmp_path, header, row, match):
    with pytest.raises(records.ManifestError, match=match):
        people.read(written(tmp_path, row, header=header), SCANS)


def test_a_centre_is_left_out_by_name(tmp_path):
    rows = ("a,A,1,a", "b,B ,0,b", "c,B,sick,c", "d,C,0,a", "e,C,1,e", "f,B,0,e")
    path = written(tmp_path, *rows, header="Subject,Study,Group_bin,Path")
    found = manifest.read(path, without=("B",))
    # Rows contradict each other whether or not their centre is left out: nobody knows whose e is.
    assert [(p.row, p.what.partition(":")[0]) for p in found.problems] == [
        *((2, "the same file as row 5"), (5, "the same file as row 2")),
        (6, "the same file as row 7"),
    ]
    assert found.records == ()
    assert "data.without leaves out 'B' (3 rows)" in found.notices
    with pytest.raises(records.ManifestError, match=r"no centre 'b' .*mean 'B'.*known are A, B, C"):
        manifest.read(path, without=("b",))
    assert [r.subject for r in manifest.read(path, without=("C", "A")).records] == ["b"]
