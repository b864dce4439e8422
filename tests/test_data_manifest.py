"""Reading manifests of both layouts: what is used, what is left out, and which words explain it."""

import math
import pathlib
import tempfile

import hypothesis
import pytest
from hypothesis import strategies

from harmjax.data import bids, manifest, people, records

HEADER = "Subject,Study,Group_bin,Path,Session,Sex,Age,Split"


def written(folder, *rows, header=HEADER, name="m.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes("\n".join((header, *rows)).encode(encoding))
    return path


def test_every_column_arrives(tmp_path):
    path = written(tmp_path, "s1,Oslo,1,scans/a.nii.gz,2,female,61.5,val", "s2,Bern,0,/x/b.nii,,,,")
    used, problems = manifest.read(path)
    assert problems == ()
    assert used[0] == records.Record(
        2, "s1", "2", "Oslo", 1, "verification", str(tmp_path / "scans/a.nii.gz"), "F", 61.5
    )
    assert used[1][:8] == (3, "s2", "", "Bern", 0, "", "/x/b.nii", "")
    assert math.isnan(used[1].age)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_byte_order_marks(tmp_path, separator, encoding):
    header = "Subject,Study,Group_bin,Path".replace(",", separator)
    row = "s1,Zürich,HC,a.nii".replace(",", separator)
    used, problems = manifest.read(written(tmp_path, row, header=header, encoding=encoding))
    assert (used[0].centre, used[0].label, problems) == ("Zürich", 0, ())


@pytest.mark.parametrize(
    "row,place,what",
    [
        ("s2,A,2,b.nii,,,,", "label", "'2' is no known group"),
        ("s2,A,,b.nii,,,,", "label", "empty"),
        ("s2,A,n/a,b.nii,,,,", "label", "empty"),
        ("s2,,1,b.nii,,,,", "centre", "empty"),
        (",A,1,b.nii,,,,", "subject", "empty"),
        ("a;b,A,1,b.nii,,,,", "subject", "semicolon"),
        ("s2,A,1,,,,,", "path", "empty"),
        ("s2,A,1,b.nii,,,old,", "age", "'old' is not a number"),
        ("s2,A,1,b.nii,,,-9,", "age", "-9"),
        ("s2,A,1,b.nii,,,,holdout", "split", "'holdout': expected train, verification or test"),
        ("s2,A,1", "row", "3 cells under 8 column names"),
        ("s1,A,1,b.nii,,,,", "subject", "same subject and session as row 2"),
        ("s2,A,1,a.nii,,,,", "path", "same file as row 2"),
        ("s1,A,1,b.nii,2,,,test", "split", "'test', but row 2 has the same subject in 'train'"),
    ],
)
def test_a_bad_row_is_a_problem_and_the_others_are_used(tmp_path, row, place, what):
    path = written(tmp_path, "s1,A,1,a.nii,,,,train", row, "s3,A,0,c.nii,,,,")
    used, (problem,) = manifest.read(path)
    assert [r.subject for r in used] == ["s1", "s3"]
    assert (problem.row, problem.place) == (3, place)
    assert what in problem.what


def test_sessions_of_one_subject_are_two_scans(tmp_path):
    used, problems = manifest.read(written(tmp_path, "s1,A,1,a.nii,1,,,", "s1,A,1,b.nii,2,,,test"))
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
    (record,), problems = manifest.read(path, columns=columns)
    assert (record.label, record.sex, record.centre, problems) == (1, "F", "Oslo", ())


@pytest.mark.parametrize(
    "columns,match",
    [
        ({"center": "Study"}, "data.columns.center: known are .*'centre'"),
        ({"centre": "Studi"}, "data.columns.centre: no column 'Studi'.*'Study'"),
        ({"positive": "0"}, "both disease and control"),
    ],
)
def test_wrong_overrides_are_refused(tmp_path, columns, match):
    with pytest.raises(records.ManifestError, match=match):
        manifest.read(written(tmp_path, "s,A,1,a.nii,,,,"), columns=columns)


@pytest.mark.parametrize(
    "sign,wanted", [(">0", [0, 1, 1]), (">=1", [0, 1, 1]), ("<2", [1, 1, 0]), (" <= 0 ", [1, 0, 0])]
)
def test_a_threshold_makes_the_label(tmp_path, sign, wanted):
    rows = ("a,A,0,a", "b,A,1,b", "c,A,2.0,c", "d,A,high,d")
    path = written(tmp_path, *rows, header="Subject,Study,num,Path")
    used, (problem,) = manifest.read(path, columns={"label": "num", "positive": sign})
    assert [r.label for r in used] == wanted
    assert (problem.row, problem.place) == (5, "label")


def test_features_need_no_path_and_may_be_missing(tmp_path):
    rows = ("a,A,1,3,", "b,A,0,x,2", "c,A,0,1,inf")
    path = written(tmp_path, *rows, header="Subject,Study,Group_bin,f1,f2")
    used, (problem, infinite) = manifest.read(path, features=("f2", "f1"))
    assert (len(used), infinite.subject, infinite.place) == (1, "c", "f2")
    assert math.isnan(used[0].features[0])
    assert (used[0].features[1], used[0].path) == (3.0, "")
    assert (problem.subject, problem.place) == ("b", "f1")
    with pytest.raises(records.ManifestError, match="no column 'f12'.*mean 'f2' or 'f1'"):
        manifest.read(path, features=("f12",))


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
    used, problems = manifest.read(path)
    assert [(r.subject, r.session, r.centre, r.label, r.sex) for r in used] == [
        ("sub-01", "", "Oslo", 0, "M"),
        ("02", "a", "Bern", 1, ""),
        ("02", "b", "Bern", 1, ""),
    ]
    assert used[2].path.endswith("run-1_T1w.nii.gz")
    assert [(p.row, p.subject) for p in problems] == [
        *((0, "02"), (0, "sub-09"), (4, "sub-03"), (5, "sub-04"), (6, "sub-05")),
    ]


def test_a_bids_name_is_no_pattern(tmp_path):
    bids_folder(tmp_path, "sub-a/anat/sub-a_T1w.nii")
    scans, problems = bids.scans(tmp_path, records.Record(2, "[a]", "", "A", 1))
    assert (scans, problems[0].place) == ([], "participant_id")


def test_what_is_written_is_read_again(tmp_path):
    rows = ("s1,A,1,a.nii,x,M,61.5,train", "s2,B,0,b.nii,,,,test", "s3,B,9,c.nii,,,,")
    used, problems = manifest.read(written(tmp_path, *rows))
    failure = records.Problem(3, "s2", used[1].path, "truncated")
    path = manifest.write(tmp_path / "run" / "manifest.csv", used, (*problems, failure))
    again, left_out = manifest.read(path)
    assert again == (used[0]._replace(row=2),)
    assert [(p.subject, p.place) for p in left_out] == [("s2", "left_out"), ("s3", "left_out")]
    assert left_out[0].what == f"{used[1].path}: truncated"
    assert path.read_text().splitlines()[0] == ",".join(manifest.WRITTEN)


def test_one_bad_session_leaves_the_other_in_the_written_manifest(tmp_path):
    pair = [records.Record(2, "a", s, "A", 1, "train", f"/{s}.nii") for s in "12"]
    path = manifest.write(tmp_path / "m.csv", pair, [records.Problem(2, "a", "/2.nii", "NaN")])
    (kept,), _ = manifest.read(path)
    assert kept.session == "1"


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
            used, problems = manifest.read(path)
        except records.ManifestError as error:
            assert str(path) in str(error)
            return
    assert len({(r.subject, r.session) for r in used}) == len(used)
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
    assert keep == {("ann", "1"), ("ann", "2")}
    drop = people.read(written(tmp_path, "bob,", "ann,2", header="Subject,Session"), SCANS)
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
    ],
)
def test_an_unknown_person_is_named(tmp_path, header, row, match):
    with pytest.raises(records.ManifestError, match=match):
        people.read(written(tmp_path, row, header=header), SCANS)
