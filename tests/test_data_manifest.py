"""Reading manifests of both layouts: what is used, what is left out, and which words explain it."""

import math
import pathlib
import tempfile

import hypothesis
import pytest
from hypothesis import strategies

from harmjax.data import provenance, records
from harmjax.data.tables import manifest

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


def test_a_path_means_what_the_operating_system_opens(tmp_path):
    (tmp_path / "studies/two/deep").mkdir(parents=True)
    (tmp_path / "studies/two/a.nii").write_text("two")
    (tmp_path / "a.nii").write_text("one")
    (tmp_path / "link").symlink_to(tmp_path / "studies/two/deep")
    (used,), _ = listing(written(tmp_path, "s,A,1,link/../a.nii,,,,"))
    assert pathlib.Path(used.path).read_text() == "two"


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
