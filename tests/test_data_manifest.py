"""Reading manifests of both layouts: what is used, what is left out, and which words explain it."""

import math
import os
import pathlib
import tempfile

import hypothesis
import pytest
from hypothesis import strategies

from harmjax.data import provenance, records
from harmjax.data.tables import bids, manifest, people

HEADER = "Subject,Study,Group_bin,Path,Session,Sex,Age,Split"


def written(folder, *rows, header=HEADER, name="m.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes("\n".join((header, *rows)).encode(encoding))
    return path


def listing(path, **options):
    """(records, problems) of a manifest."""
    return manifest.read(path, **options)[:2]


def test_every_column_arrives(tmp_path):
    path = written(tmp_path, "s1,Oslo,1,scans/a.nii.gz,2,female,61.5,val", "s2,Bern,0,/x/b.nii,,,,")
    used, problems = listing(path)
    assert problems == ()
    assert used[0] == records.Record(
        *(2, "s1", "2", "Oslo", 1, "verification", str(tmp_path / "scans/a.nii.gz"), "F", 61.5),
        **{"scope": "Oslo", "centre_from": "Study=Oslo", "label_from": "Group_bin=1"},
    )
    assert used[1][:8] == (3, "s2", "", "Bern", 0, "", "/x/b.nii", "")
    assert math.isnan(used[1].age)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_byte_order_marks(tmp_path, separator, encoding):
    header = "Subject,Study,Group_bin,Path".replace(",", separator)
    row = "s1,Zürich,HC,a.nii".replace(",", separator)
    used, problems = listing(written(tmp_path, row, header=header, encoding=encoding))
    assert (used[0].centre, used[0].label, problems) == ("Zürich", 0, ())


NAMELESS = ("NA", "NaN", "None", "#N/A", "#REF!", "#DIV/0!", "-", "?", "1.23457E+11", "1E+06")


@pytest.mark.parametrize(
    "before,header,row",
    [
        ("sep=;\r\n", "Subject;Study;Group_bin;Path", "{};A;1;{}"),
        ('"sep=;"\n', "Subject;Study;Group_bin;Path", "{};A;1;{}"),
        ("\ufeff\ufeff", "Subject,Study,Group_bin,Path", "{},A,1,{}"),
        ("", 'Subject;Study;Group_bin;Path;"Notes, b, c, d, e"', "{};A;1;{};x"),
        ("", 'Subject\t"A, B, C\n D; E"\tStudy\tGroup_bin\tPath', "{}\t\tA\t1\t{}"),
        ("", "Subject,Study,Group_bin,Path,Note", '{},A,1,{},"two\nlines, of text"'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_as_spreadsheets_write_them(tmp_path, before, header, row, end):
    path = tmp_path / "m.csv"
    lines = (header, row.format("s1", "a"), row.format("s2", '"b,,;;,,;;\t\t\t\t\t"'))
    path.write_bytes((before + "".join(line + end for line in lines)).encode())
    used, problems = listing(path)
    assert [(r.subject, r.centre, r.label) for r in used] == [("s1", "A", 1), ("s2", "A", 1)]
    assert pathlib.Path(used[1].path).name == "b,,;;,,;;" and not problems


@pytest.mark.parametrize(
    "rows,words",
    [
        (('s1,"5 mm,A,1,a', "s2,,A,0,b"), "row 2: a quotation mark that nothing closes"),
        (('s1,"left,A,1,a', 's2,right",A,0,b'), "row 2: between two quotation marks lie whole"),
        (("s0,,A,1,c", 's1,"l,A,1,a', "s2,,A,1,b", 's3,r",A,0,d'), "row 3: between two quotation"),
    ],
)
def test_a_quotation_mark_swallows_no_rows(tmp_path, rows, words):
    with pytest.raises(records.ManifestError, match=words):
        manifest.read(written(tmp_path, *rows, header="Subject,Note,Study,Group_bin,Path"))


@pytest.mark.parametrize(
    "row,place,what",
    [
        ("s2,A,2,b.nii,,,,", "label", "'2' is no known group"),
        ("s2,A,,b.nii,,,,", "label", "empty"),
        ("s2,A,n/a,b.nii,,,,", "label", "empty"),
        ("s2,,1,b.nii,,,,", "centre", "empty"),
        (",A,1,b.nii,,,,", "subject", "empty"),
        ("a;b,A,1,b.nii,,,,", "subject", "semicolon"),
        *((f"s2,{word},1,b.nii,,,,", "centre", "names no centre") for word in NAMELESS),
        *((f"{word},A,1,b.nii,,,,", "subject", "names no subject") for word in NAMELESS),
        *((f"s2,A,{word},b.nii,,,,", "label", "empty") for word in ("#N/A", "NaN", ".")),
        ("s2,A,1,NaN,,,,", "path", "empty"),
        ("s2,A,1,,,,,", "path", "empty"),
        ("s2,A,1,b.nii,,,,holdout", "split", "'holdout': expected train, verification or test"),
        ("s2,A,1", "row", "3 cells under 8 column names"),
        ("s1,A,1,a.nii,,,,train", "subject", "says the same as row 2"),
    ],
)
def test_a_bad_row_is_a_problem_and_the_others_are_used(tmp_path, row, place, what):
    path = written(tmp_path, "s1,A,1,a.nii,,,,train", row, "s3,A,0,c.nii,,,,")
    used, (problem,) = listing(path)
    assert [r.subject for r in used] == ["s1", "s3"]
    assert (problem.row, problem.place) == (3, place)
    assert what in problem.what


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


@pytest.mark.parametrize(
    "header,match",
    [
        ("Subject,Site,Group,Diagnosis,Path", "'Group' and 'Diagnosis'.*data.columns.label"),
        ("Subject,Site,Centre,Group,Path", "'Site' and 'Centre'.*data.columns.centre"),
        ("Subject,Site,site,Group,Path", "'Site' and 'site'"),
        ("Subject,Site,Group,Path,Group.1", "'Group' and 'Group.1'.*data.columns.label"),
        ("Subject,Study,Group_bin,Path,Group_bin.2", "'Group_bin' and 'Group_bin.2'"),
        ("Subject,Site,Group,Path,sex,Gender", "'sex' and 'Gender'.*data.columns.sex"),
        ("Subject,participant_id,Site,Group,Path", "participant_id.*'Path'|participant_id.*"),
    ],
)
def test_two_columns_that_could_be_meant_are_refused(tmp_path, header, match):
    cells = ",".join("1" for _ in header.split(","))
    with pytest.raises(records.ManifestError, match=match):
        manifest.read(written(tmp_path, cells, header=header))


def test_the_published_header_wins_over_other_words(tmp_path):
    header = "Subject,Study,Site,Group_bin,group,Path"
    found = manifest.read(written(tmp_path, "s,A,B,1,0,a.nii", header=header))
    assert (found.records[0].centre, found.records[0].label) == ("A", 1)
    assert found.notices[:2] == (
        "columns: subject = 'Subject', centre = 'Study', label = 'Group_bin', path = 'Path'",
        "labels: '1' patient (1)",
    )


def test_a_setting_decides_between_columns(tmp_path):
    header = "Subject,Site,Group,Diagnosis,Path,sex,Gender"
    columns = {"label": "Diagnosis", "sex": "none"}
    found = manifest.read(written(tmp_path, "s,A,HC,PD,a,F,M", header=header), columns=columns)
    assert (found.records[0].label, found.records[0].sex) == (1, "")
    assert found.records[0].label_from == "Diagnosis=PD"


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


def test_a_label_may_be_a_sign_or_have_a_decimal(tmp_path):
    rows = ("a;A;+;a", "b;A;-;b", "c;A;NA;c")
    path = written(tmp_path, *rows, header="Subject;Study;Group;Path")
    used, (problem,) = listing(path, columns={"positive": "+", "negative": "-"})
    assert ([r.label for r in used], problem.what[:5]) == ([1, 0], "empty")
    path = written(tmp_path, "a;A;1,0;a", "b;A;0.0;b", header="Subject;Study;Group;Path")
    assert [r.label for r in listing(path)[0]] == [1, 0]


@pytest.mark.parametrize(
    "cell,years",
    [
        ("61.5", 61.5), ("61,5", 61.5), ("90+", 90), ("", None), ("n/a", None),
        (">89", None), ("18-38", None), ("022Y", None), ("old", None), ("-9", None), ("1e3", None),
        ("6_1", None), ("\u0666\u0661", None), ("nan", None), ("inf", None),
    ],
)  # fmt: skip
def test_an_age_that_is_no_number_is_unknown_and_the_scan_is_used(tmp_path, cell, years):
    found = manifest.read(written(tmp_path, f's,A,1,a.nii,,,"{cell}",'))
    assert not found.problems
    age = found.records[0].age
    assert math.isnan(age) if years is None else age == years
    told = [n for n in found.notices if "cells of age" in n]
    assert told == (
        [f"1 cells of age are taken as unknown: {cell!r} (row 2)"]
        if years is None and cell not in ("", "n/a", "nan")
        else []
    )


def test_scans_to_be_diagnosed_need_no_label(tmp_path):
    rows = ("a,A,TBD,a.nii,,,,", "b,A,,b.nii,,,,", "c,,PD?,c.nii,,,,holdout")
    used, problems = listing(written(tmp_path, *rows), labelled=False)
    assert [r.label for r in used] == [-1, -1, -1] and not problems


@pytest.mark.parametrize(
    "cells,columns,centre",
    [
        ("Path=p", {"label": "num", "positive": ">0", "age": "years", "session": "Visit"}, ""),
        ("Path=p group=HC label=PD sex=F gender=M Split=1", {}, ""),
        ("Path=p Site=A Centre=B", {}, ""),
        ("Path=p Site=A Centre=B", {"centre": "Hospital"}, ""),
        ("Path=p Site=A Centre=B", {"centre": "Centre"}, "B"),
        ("Path=p Study=A Site=B", {}, "A"),
    ],
)
def test_columns_that_a_diagnosis_does_not_need(tmp_path, cells, columns, centre):
    header, row = zip(*(cell.split("=") for cell in f"Subject=s {cells}".split()), strict=True)
    path = written(tmp_path, ",".join(row), header=",".join(header))
    (record,), problems = listing(path, columns=columns, labelled=False)
    assert (record.centre, record.label, problems) == (centre, -1, ())
    with pytest.raises(records.ManifestError):
        manifest.read(path, columns=columns)


@pytest.mark.parametrize("words", [("AD", "MCI"), "('AD','MCI')", "['ad', 'mci']", "(AD, MCI)"])
def test_several_words_for_disease(tmp_path, words):
    rows = ("a,A,AD,a", "b,A,MCI,b", "c,A,CN,c")
    path = written(tmp_path, *rows, header="Subject,Study,Group,Path")
    used, problems = listing(path, columns={"positive": words})
    assert ([r.label for r in used], problems) == ([1, 1, 0], ())


def test_a_path_means_what_the_operating_system_opens(tmp_path):
    (tmp_path / "studies/two/deep").mkdir(parents=True)
    (tmp_path / "studies/two/a.nii").write_text("two")
    (tmp_path / "a.nii").write_text("one")
    (tmp_path / "link").symlink_to(tmp_path / "studies/two/deep")
    (used,), _ = listing(written(tmp_path, "s,A,1,link/../a.nii,,,,"))
    assert pathlib.Path(used.path).read_text() == "two"


def test_sessions_of_one_subject_are_two_scans(tmp_path):
    used, problems = listing(written(tmp_path, "s1,A,1,a.nii,1,,,", "s1,A,1,b.nii,2,,,test"))
    assert ([r.session for r in used], problems) == (["1", "2"], ())


@pytest.mark.parametrize(
    "content,match",
    [
        (b"Subject,Study,Group_bin,Path\n\xe9,A,1,a", "byte 29 is not UTF-8; save"),
        ("Subject,Study\n".encode("utf-16"), "not UTF-8"),
        (b"", "no rows"),
        (b"Subject,Study,Group_bin,Path\n", "no rows"),
        (b"Subject,Studdy,Group_bin,Path\na,A,1,a", "centre, expected 'study'.*mean 'Studdy'"),
        (b"Subject,Study,Path\na,A,a", "no column for the label"),
        (b"Subject,Study,Group_bin\na,A,1", "no column for the path"),
        (b"Subject,Subject,Study\na,A,1", "'Subject' appears twice"),
    ],
)
def test_an_unreadable_manifest_is_refused_by_name(tmp_path, content, match):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(records.ManifestError, match=match) as caught:
        manifest.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(records.ManifestError, match="no such file"):
        manifest.read(tmp_path / "m.csv")


def test_other_header_words(tmp_path):
    path = written(tmp_path, "a,Oslo,MSA,f,x.nii", header="ID,Hospital,Dx,Geschlecht,Datei")
    columns = {
        **{"subject": "ID", "centre": "Hospital", "label": "Dx", "sex": "Geschlecht"},
        **{"path": "Datei", "positive": ("MSA", "PD"), "negative": "HC"},
    }
    (record,), problems = listing(path, columns=columns)
    assert (record.label, record.sex, record.centre, problems) == (1, "F", "Oslo", ())


@pytest.mark.parametrize(
    "columns,match",
    [
        ({"center": "Study"}, "data.columns.center .*'centre'.*known: "),
        ({"centre": "Studi"}, "data.columns.centre: no column 'Studi'.*'Study'"),
        ({"positive": "0"}, "both disease and control"),
        ({"positive": "!=0"}, "data.columns.positive: '!=0' is no threshold"),
        ({"negative": ">=0..5"}, "data.columns.negative: '>=0..5' is no threshold"),
    ],
)
def test_wrong_overrides_are_refused(tmp_path, columns, match):
    with pytest.raises(records.ManifestError, match=match):
        manifest.read(written(tmp_path, "s,A,1,a.nii,,,,"), columns=columns)


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


def test_features_need_no_path_and_may_be_missing(tmp_path):
    rows = ('a,A,1,"3,5",', "b,A,0,x,2", "c,A,0,1,inf")
    path = written(tmp_path, *rows, header="Subject,Study,Group_bin,f1,f2")
    used, (problem, infinite) = listing(path, features=("f2", "f1"))
    assert (len(used), infinite.subject, infinite.place) == (1, "c", "f2")
    assert math.isnan(used[0].features[0])
    assert (used[0].features[1], used[0].path) == (3.5, "")
    assert (problem.subject, problem.place) == ("b", "f1")
    with pytest.raises(records.ManifestError, match="no column 'f12'.*mean 'f2' or 'f1'"):
        manifest.read(path, features=("f12",))


@pytest.mark.parametrize(
    "others,value", [(("987", "5.5"), None), (("987", "0,5"), 1.234), (("12,34", "x"), 1.234)]
)
def test_a_comma_that_may_separate_thousands_is_not_guessed(tmp_path, others, value):
    rows = ("a;A;1;1,234", *(f"b{i};A;0;{cell}" for i, cell in enumerate(others)))
    path = written(tmp_path, *rows, header="Subject;Study;Group_bin;weight")
    used, problems = listing(path, features=("weight",))
    if value is None:
        assert (problems[0].subject, problems[0].place) == ("a", "weight")
        assert "'1,234' may be 1.234 or 1234" in problems[0].what
    else:
        assert used[0].features == (value,)


def test_rows_say_the_same_in_other_spellings(tmp_path):
    rows = ("a,A,1,a.nii", "a,A,1.0,./a.nii", "b,Zu\u0308rich,0,b.nii", "b,Z\u00fcrich,HC,b.nii")
    used, problems = listing(written(tmp_path, *rows, header="Subject,Study,Group_bin,Path"))
    assert [r.row for r in used] == [2, 4]
    assert [p.what for p in problems] == [f"says the same as row {r}: delete one" for r in (2, 4)]


def test_names_of_other_bytes_are_problems_that_can_be_written(tmp_path):
    odd = [os.fsdecode(name) for name in (b"sub-Jos\xe9/x", b"sub-01/anat/sub-01_acq-\xe9_T1w.nii")]
    bids_folder(tmp_path, *odd, "sub-02/anat/sub-02_T1w.nii")
    path = participants(tmp_path, "01 A HC", "02 A PD", header="participant_id\tsite\tgroup")
    used, problems = listing(path)
    assert [r.subject for r in used] == ["02"]
    assert [p.subject for p in problems] == [r"sub-Jos\xe9", "01"]
    assert all("".join(map(str, p)).encode() for p in problems)
    folder = tmp_path / os.fsdecode(b"\xe9")
    folder.mkdir()
    with pytest.raises(records.ManifestError, match=r"\\xe9.*not UTF-8; rename"):
        manifest.read(written(folder, "s,A,1,a.nii,,,,"))


def bids_folder(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_bids(tmp_path):
    bids_folder(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_run-1_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_run-2_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_T2w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_T1w.json",
        "sub-09/anat/sub-09_T1w.nii.gz",
    )
    path = written(
        *(tmp_path, "sub-01\tOslo\tcontrol\tM\t61", "02\tBern\tPD\tn/a\tn/a"),
        *("sub-03\tBern\tPD\tF\t50", "sub-04\tn/a\tPD\tF\t50", "sub-05\tBern\tn/a\tF\t50"),
        header="participant_id\tsite\tgroup\tsex\tage",
        name="participants.tsv",
    )
    used, problems = listing(path)
    assert [(r.subject, r.session, r.centre, r.label, r.sex) for r in used] == [
        ("sub-01", "", "Oslo", 0, "M"),
        ("02", "a", "Bern", 1, ""),
    ]
    assert {r.scope for r in used} == {""}
    assert [(p.row, p.subject) for p in problems] == [
        *((0, "sub-09"), (3, "02"), (4, "sub-03"), (5, "sub-04"), (6, "sub-05")),
    ]
    assert "sub-02_ses-b_run-2_T1w.nii.gz: set data.entities.run" in problems[1].what
    used, problems = listing(path, entities={"run": "2"})
    assert [pathlib.Path(r.path).name for r in used] == ["sub-02_ses-b_run-2_T1w.nii.gz"]
    assert "no T1w file has the entities" in problems[1].what


def test_a_bids_name_is_no_pattern(tmp_path):
    bids_folder(tmp_path, "sub-a/anat/sub-a_T1w.nii")
    scans, problems = bids.scans(tmp_path, [records.Record(2, "[a]", "", "A", 1)])
    assert (scans, problems[0].place) == ([], "participant_id")


def participants(folder, *lines, header="participant_id\tsession_id\tsite\tgroup"):
    text = [line.replace(" ", "\t") for line in lines]
    return written(folder, *text, header=header, name="participants.tsv")


def test_a_row_is_about_its_own_session(tmp_path):
    files = ("01/ses-M00/anat/sub-01_ses-M00", "01/ses-M24/anat/sub-01_ses-M24")
    bids_folder(tmp_path, *(f"sub-{f}_T1w.nii" for f in (*files, "02/ses-1/anat/sub-02_ses-1")))
    path = participants(
        tmp_path, "sub-01 ses-M24 A PD", "sub-01 M00 A HC", "sub-02 1 A PD", "sub-02 ses-01 A HC"
    )
    used, (problem,) = listing(path)
    assert [(r.subject, r.session, r.label) for r in used] == [
        *(("sub-01", "M00", 0), ("sub-01", "M24", 1), ("sub-02", "1", 1)),
    ]
    assert problem.row == 5 and "there is 1: write the session as its folder is" in problem.what


@pytest.mark.parametrize(
    "rows,words",
    [
        (("sub-01 M00 A PD", "sub-01 M00 A HC"), "rows 2, 3 of participants.tsv disagree"),
        (("sub-01 n/a A PD", "sub-01 n/a A HC"), "rows 2, 3 of participants.tsv disagree"),
        (("sub-01 M00 A PD", "sub-01 n/a A HC"), "rows 2, 3 of participants.tsv disagree"),
        (("sub-01 M12 A PD",), "session 'M00' has no row in participants.tsv"),
    ],
)
def test_a_session_without_its_own_row_is_not_guessed(tmp_path, rows, words):
    bids_folder(tmp_path, "sub-01/ses-M00/anat/sub-01_ses-M00_T1w.nii")
    used, problems = listing(participants(tmp_path, *rows))
    assert used == () and words in problems[0].what


def test_a_table_of_sessions_may_contradict(tmp_path):
    bids_folder(tmp_path, *(f"sub-01/ses-{s}/anat/sub-01_ses-{s}_T1w.nii" for s in "ab"))
    table = "session_id\tgroup\nses-a\tHC\nses-b\tPD\n"
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text(table)
    path = participants(tmp_path, "sub-01 A HC", header="participant_id\tsite\tgroup")
    (used,), (problem,) = listing(path)
    assert used.session == "a"
    assert "says group='PD' of session 'b', participants.tsv says 'group=HC'" in problem.what


@pytest.mark.parametrize(
    "table,words",
    [
        ("session_id\tdiagnosis\nses-a\tHC\nses-b\tPD\n", "says diagnosis='PD' of session 'b'"),
        ("Session_ID\tGroup\na\tHC\nb\tPD\n", "says Group='PD' of session 'b'"),
        ("session_id\tgroup\nses-b\tMSA\n", "says group='MSA' of session 'b'"),
        ("group\tsession_id\tx\nHC\tses-b\n", "2 cells under 3 column names"),
        ("session_id\tgroup\nses-b\tHC\xe9\n", "not UTF-8"),
        ("session_id\tdiagnosis\tgroup\nses-b\tstable\tn/a\n", None),
        ("session_id\tgroup\n", None),
        ("visit\tgroup\nb\tPD\n", None),
    ],
)
def test_a_table_of_sessions_in_other_words(tmp_path, table, words):
    bids_folder(tmp_path, *(f"sub-01/ses-{s}/anat/sub-01_ses-{s}_T1w.nii" for s in "ab"))
    bids_folder(tmp_path, "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii")
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_bytes(table.encode("latin-1"))
    rows = ("sub-01 A HC", "sub-02 A PD")
    path = participants(tmp_path, *rows, header="Participant_ID\tsite\tgroup")
    used, problems = listing(path)
    assert ("sub-02", "a", 1) in [(r.subject, r.session, r.label) for r in used]
    assert ("sub-01", "b") in [(r.subject, r.session) for r in used] if words is None else problems
    assert all(words in p.what and p.subject == "sub-01" for p in problems)


def test_a_scan_in_the_folder_of_another_session(tmp_path):
    names = ("01/ses-b/anat/sub-01_ses-a", "02/ses-a/anat/sub-02", "02/ses-b/anat/sub-02_ses-b")
    bids_folder(tmp_path, *(f"sub-{name}_T1w.nii" for name in names))
    rows = ("sub-01 a A HC", "sub-02 a A PD", "sub-02 b A HC")
    used, (problem,) = listing(participants(tmp_path, *rows))
    assert [(r.subject, r.session, r.label) for r in used] == [
        ("sub-02", "a", 1),
        ("sub-02", "b", 0),
    ]
    assert (problem.row, "'a' in the folder of session 'b'" in problem.what) == (2, True)


def test_a_short_row_of_a_bids_table_is_a_problem(tmp_path):
    bids_folder(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    path = participants(tmp_path, "A HC sub-01", "A", header="site\tgroup\tparticipant_id")
    used, (problem,) = listing(path)
    assert (len(used), problem.row, problem.place) == (1, 3, "row")


def test_derivatives_in_two_spaces_are_not_chosen_by_name(tmp_path):
    names = [f"sub-01{space}_desc-preproc_T1w.nii.gz" for space in ("", "_space-MNI")]
    bids_folder(tmp_path, *(f"sub-01/anat/{name}" for name in names))
    path = participants(tmp_path, "sub-01 A HC", header="participant_id\tsite\tgroup")
    used, (problem,) = listing(path)
    assert used == () and "data.entities.space" in problem.what
    assert all(name in problem.what for name in names)
    for space, name in zip(("none", "MNI"), names, strict=True):
        (used,), problems = listing(path, entities={"space": space})
        assert (pathlib.Path(used.path).name, problems) == (name, ())


def test_lost_zeros_are_named(tmp_path):
    bids_folder(tmp_path, "sub-0050772/anat/sub-0050772_T1w.nii")
    path = participants(tmp_path, "50772 A HC", header="participant_id\tsite\tgroup")
    _, problems = listing(path)
    assert "sub-0050772 differs by leading zeros" in problems[1].what


def test_a_runs_manifest_can_be_trained_on(tmp_path):
    rows = ("s1,A,1,a.nii,x,M,61.5,train", "s2,B,0,b.nii,,,,test", "s3,B,9,c.nii,,,,")
    used, problems = listing(written(tmp_path, *rows))
    made = provenance.Made(used[:1], (provenance.Source("d", 1, 2),), (0,), ((used[1], "why: x"),))
    path = provenance.write(tmp_path / "run" / "manifest.csv", made, problems)
    again, left_out = listing(path)
    origin = {"centre_from": "centre=A", "label_from": "label=1"}
    assert again == (used[0]._replace(row=2, **origin),)
    assert [(p.subject, p.place) for p in left_out] == [("s2", "left_out"), ("s3", "left_out")]
    assert left_out[0].what == "why: x" and left_out[1].what.startswith("label: '9' is no known")


CELL = strategies.one_of(
    strategies.sampled_from(["", "n/a", "a", "b", "0", "1", "PD", "train", "test", '"', "1e999"]),
    strategies.text(max_size=6),
)
LINE = strategies.lists(CELL, min_size=1, max_size=9).map(",".join)
TOP = strategies.sampled_from(
    [HEADER, "Subject,Study,Group_bin,Path", "participant_id,site,group", "", "Subject,\0", "age;b"]
)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(header=strategies.one_of(TOP, LINE), lines=strategies.lists(LINE, max_size=5))
def test_any_text_is_read_or_refused_by_name(header, lines):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.csv"
        path.write_text("\n".join((header, *lines)), encoding="utf-8", errors="replace")
        try:
            used, problems = listing(path)
        except records.ManifestError as error:
            assert str(path) in str(error)
            return
    assert len({records.key(r) for r in used}) == len(used)
    for r in used:
        assert r.label in (0, 1) and r.centre and r.subject and r.split in ("", *records.SPLITS)
    assert all(p.what and p.place for p in problems)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(content=strategies.binary(max_size=80))
def test_any_bytes_are_read_or_refused_by_name(content):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.csv"
        path.write_bytes(b"Subject,Study,Group_bin,Path\n" + content)
        try:
            manifest.read(path)
        except records.ManifestError as error:
            assert str(path) in str(error)


SCANS = tuple(
    records.Record(i, s, v, "A", 0)
    for i, (s, v) in enumerate([("ann", "1"), ("ann", "2"), ("bob", "")])
)


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


STAGES = ("absent", "mild", "severe")


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
