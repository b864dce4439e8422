"""BIDS folders and their tables: whose scan, of which session, and none guessed."""

import os
import pathlib

import pytest

from harmjax.data import records
from harmjax.data.tables import bids, manifest
from tests.test_data_manifest import listing, written


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
