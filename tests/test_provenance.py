"""What a run is made of: the same data goes on, any other is refused and named."""

import csv
import math
import pathlib

import numpy as np
import pytest

from harmjax import defaults
from harmjax.data import provenance, records
from harmjax.data.scans import nifti
from harmjax.runs import prediction, preparation
from tests import conftest

SHAPE, AFFINE = nifti.grid(16)


def scan(seed):
    """A volume of one person: brighter with the label, another one for every seed."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(40, 90, SHAPE) + 60 * (seed % 2)).astype(np.uint8)


def rewritten(path, change):
    """Rewrites a CSV, row by row: `change(number, row)` returns the row, or None to drop it."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    named = [change(i, dict(zip(header, row, strict=True))) for i, row in enumerate(rows)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(list(row.values()) for row in named if row is not None)


def study_folder(folder, each=10):
    """A CSV of scans in files of two centres; labels alternate, splits are drawn."""
    lines = ["Subject,Study,Group_bin,Path,Sex,Age"]
    for i in range(2 * each):
        nifti.write(folder / f"scans/{i}.nii.gz", scan(i), AFFINE)
        lines.append(f"p{i:02},{'AB'[i % 4 // 2]},{i % 2},scans/{i}.nii.gz,{'FM'[i % 2]},{50 + i}")
    (folder / "study.csv").write_text("\n".join(lines) + "\n")
    return folder / "study.csv"


def settings(manifest):
    config = defaults.get_config()
    config.data.manifest, config.data.spacing = str(manifest), 16.0
    config.data.fractions = (0.6, 0.2, 0.2)
    return config


@pytest.fixture
def begun(tmp_path):
    """(config, workdir, study) of a run on files that has just begun."""
    config = settings(study_folder(tmp_path))
    return config, tmp_path / "run", prepared(config, tmp_path / "run")


def prepared(config, workdir):
    return preparation.prepare(config, workdir, progress=False)


def rows_of(workdir):
    with (workdir / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(one, two):
    return one.names == two.names and all(
        np.array_equal(getattr(one.train, f), getattr(two.train, f)) for f in one.train._fields
    )


def test_the_manifest_of_a_run_says_whose_and_what(begun):
    config, workdir, study = begun
    rows = rows_of(workdir)
    assert tuple(rows[0]) == provenance.WRITTEN
    assert [r["subject"] for r in rows if r["split"] == "train"] == list(study.names)
    first = rows[0]
    file = pathlib.Path(first["path"])
    assert int(first["size"]) == file.stat().st_size
    assert int(first["modified"]) == file.stat().st_mtime_ns
    assert first["digest"] == nifti.digest(file)
    assert first["label_from"] == f"Group_bin={first['label']}"
    assert provenance.read(workdir / "manifest.csv").left_out == ()


def test_what_is_written_is_read_again(tmp_path):
    one = records.Record(
        *(3, "s", "2", "A", 1, "test", "/a b.nii", "F", 61.123456789, (1.5, math.nan)),
        **{"scope": "A", "centre_from": "Site=a;b", "label_from": 'Dx="x"'},
    )
    two = records.Record(4, "t", "", "B", 0)
    made = provenance.Made((one,), (provenance.Source("ab.cd", 9, 7),), (-1,), ((two, "why: so"),))
    problem = records.Problem(7, "u", "age", "x")
    again = provenance.read(provenance.write(tmp_path / "m.csv", made, [problem]))
    assert repr(again.records) == repr(made.records)
    assert (again.sources, again.words) == (made.sources, made.words)
    assert [(r.subject, r.row, why) for r, why in again.left_out] == [
        *(("t", 4, "why: so"), ("u", 7, "age: x")),
    ]


def test_nothing_changed_goes_on_with_the_same_arrays(begun):
    config, workdir, study = begun
    before = (workdir / "manifest.csv").read_bytes()
    assert same(prepared(config, workdir), study)
    assert (workdir / "manifest.csv").read_bytes() == before


def test_the_order_of_rows_and_new_people_change_nothing(begun, tmp_path):
    config, workdir, study = begun
    table = pathlib.Path(config.data.manifest)
    header, *lines = table.read_text().splitlines()
    nifti.write(tmp_path / "scans/new.nii.gz", scan(99), AFFINE)
    lines = [*lines[::-1], "a00,A,1,scans/new.nii.gz,F,50"]
    table.write_text("\n".join([header, *lines]))
    again = prepared(config, workdir)
    assert same(again, study)
    assert "1 scans were added to the table after the run began and are ignored (a00)" in again.text


CHANGES = {
    "label": lambda row: row | {"Group_bin": str(1 - int(row["Group_bin"]))},
    "no label": lambda row: row | {"Group_bin": "?"},
    "centre": lambda row: row | {"Study": "C"},
    "gone": lambda row: None,
    "other person": lambda row: row | {"Subject": "x" + row["Subject"]},
}
WORDS = {
    "label": "label .* was . .Group_bin=.. and is now",
    "no label": "label .* empty",
    "centre": "centre .* was .* is now",
    "gone": "row +no longer in the table",
    "other person": "row +no longer in the table",
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("split", records.SPLITS)
def test_a_changed_row_is_refused_by_name(begun, kind, split):
    config, workdir, _ = begun
    who = next(r["subject"] for r in rows_of(workdir) if r["split"] == split)
    before = (workdir / "manifest.csv").read_bytes()
    table = pathlib.Path(config.data.manifest)
    rewritten(table, lambda i, row: CHANGES[kind](row) if row["Subject"] == who else row)
    for use in (
        lambda: prepared(config, workdir),
        lambda: preparation.held_out(config, workdir, "test", progress=False),
    ):
        with pytest.raises(records.ManifestError, match=f"(?s)other data.*{who} +{WORDS[kind]}"):
            use()
    assert (workdir / "manifest.csv").read_bytes() == before
    if "no longer" in WORDS[kind]:
        assert "are not at hand" in preparation.unchanged(config, workdir)[1][-1]
    else:
        with pytest.raises(records.ManifestError, match=who):
            preparation.unchanged(config, workdir)


def test_a_file_that_changed_or_is_gone_is_refused_and_one_copied_anew_is_not(begun, tmp_path):
    config, workdir, study = begun
    one, two = (pathlib.Path(r["path"]) for r in rows_of(workdir)[:2])
    content = one.read_bytes()
    one.unlink()
    with pytest.raises(records.ManifestError, match=f"(?s){one}.*the file is gone"):
        prepared(config, workdir)
    one.write_bytes(content)
    assert same(prepared(config, workdir), study)
    nifti.write(two, scan(77), AFFINE)
    with pytest.raises(records.ManifestError, match=f"(?s){two}.*content changed"):
        prepared(config, workdir)
    with pytest.raises(records.ManifestError, match="content changed"):
        preparation.unchanged(config, workdir)


def test_a_file_changed_under_its_old_size_and_time_is_noticed_where_it_is_read(begun):
    import os

    config, workdir, _ = begun
    row = rows_of(workdir)[0]
    path = pathlib.Path(row["path"])
    other = nifti.write(path.with_name("other.nii.gz"), scan(78), AFFINE).read_bytes()
    size = int(row["size"])
    if len(other) > size:
        rewritten(
            workdir / "manifest.csv", lambda i, r: r | ({"size": len(other)} if not i else {})
        )
    path.write_bytes(other.ljust(size, b"\0"))
    os.utime(path, ns=(int(row["modified"]),) * 2)
    with pytest.raises(records.ManifestError, match="(?s)other data"):
        prepared(config, workdir)


def test_people_may_be_dropped_while_a_run_goes_on(begun, tmp_path):
    config, workdir, study = begun
    who = study.names[0]
    config.data.drop = str(tmp_path / "drop.csv")
    (tmp_path / "drop.csv").write_text(f"Subject\n{who}\n")
    file = pathlib.Path(rows_of(workdir)[0]["path"])
    content = file.read_bytes()
    file.unlink()
    again = prepared(config, workdir)
    assert f"data.drop has grown by 1 ({who})" in again.text
    assert again.drop.tolist() == [name == who for name in again.names]
    assert again.names == study.names
    assert not np.any(again.train.image[0])
    np.testing.assert_array_equal(again.train.image[1:], study.train.image[1:])
    assert rows_of(workdir)[0]["word"] == "drop"
    assert same(prepared(config, workdir), again)
    config.data.drop = ""
    file.write_bytes(content)
    with pytest.raises(records.ManifestError, match=f"said something else of {who}"):
        prepared(config, workdir)


def test_a_finished_run_that_trained_on_someone_refuses_to_drop_them(begun, tmp_path):
    config, workdir, study = begun
    (workdir / "checkpoints" / "final").mkdir(parents=True)
    (tmp_path / "drop.csv").write_text(f"Subject\n{study.names[0]}\n")
    config.data.drop, config.policy.name = str(tmp_path / "drop.csv"), "none"
    with pytest.raises(records.ManifestError, match="the run is over and was trained on"):
        prepared(config, workdir)


def test_what_was_left_out_stays_out(begun, tmp_path):
    config, _, _ = begun
    broken = tmp_path / "scans/3.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:80])
    first = prepared(config, tmp_path / "second")
    assert [p.subject for p in first.problems] == ["p03"]
    broken.write_bytes(whole)
    again = prepared(config, tmp_path / "second")
    assert same(first, again) and "p03" in again.text


def test_held_out_scans_are_those_of_the_run(begun):
    config, workdir, study = begun
    found = preparation.held_out(config, workdir, "test", progress=False)
    for field in study.test._fields:
        if field != "centre":
            np.testing.assert_array_equal(
                getattr(found.samples, field), getattr(study.test, field), field
            )
    for (one, members), (two, others) in zip(found.groups, study.groups["test"], strict=True):
        assert one == two and np.array_equal(members, others)


@pytest.mark.parametrize(
    "used,new,split",
    [
        (("", "01"), ("A", "01"), "train"),
        (("", "01"), ("", "sub-01"), "train"),
        (("A", "sub-01"), ("", "01"), "train"),
        (("A", "01"), ("A", "sub-01"), "train"),
        (("A", "01"), ("B", "01"), ""),
        (("A", "01"), ("", "001"), ""),
        (("A", "07"), ("B", "07"), "test"),
        (("A", "07"), ("", "07"), ""),
        (("A", "x"), ("A", "sub-x"), "verification"),
    ],
)
def test_a_person_is_known_again_from_another_table(used, new, split):
    def record(scope, subject, split):
        return records.Record(2, subject, "", "A", 0, split, scope=scope)

    others = (record("B", "07", "test"), record("A", "sub-x", "verification"))
    mine = record(*used, "train")
    known = provenance.Made((mine, *others), (provenance.Source("d"),) * 3, (0,) * 3, ())
    _, people = prediction._known(known)
    assert prediction._split(people, record(*new, "test")) == split


@pytest.mark.parametrize(
    "column,cell",
    [
        ("modified", "1.73265E+18"),
        ("size", "1,5"),
        ("word", "kept"),
        ("split", "tain"),
        ("label", "2"),
        ("label", ""),
        ("age", "old"),
        ("row", ""),
    ],
)
def test_a_manifest_that_another_program_rewrote_is_refused_in_words(begun, column, cell):
    config, workdir, _ = begun
    path = workdir / "manifest.csv"
    rewritten(path, lambda i, row: row | ({column: cell} if i == 3 else {}))
    with pytest.raises(records.ManifestError, match="manifest.csv: row 5: edited since"):
        prepared(config, workdir)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(records.ManifestError, match="edited since|quotation"):
        provenance.read(path)


def test_a_manifest_of_another_version_is_refused_in_words(tmp_path):
    (tmp_path / "manifest.csv").write_text("subject,session,centre\na,,A\n")
    with pytest.raises(records.ManifestError, match="another version of harmjax"):
        provenance.read(tmp_path / "manifest.csv")
    assert provenance.read(tmp_path / "nothing.csv") is None


def test_tabular_runs_go_on_with_their_own_standardisation(tmp_path):
    table = conftest.write_patients(tmp_path / "patients.csv")
    config = conftest.patients_config(table)
    study = prepared(config, tmp_path / "run")
    who = study.names[3]
    rewritten(table, lambda i, row: row | ({"f2": "9,5"} if row["Subject"] == who else {}))
    with pytest.raises(records.ManifestError, match=f"(?s){who} +features +were .* are now .*9.5"):
        prepared(config, tmp_path / "run")
    rewritten(table, lambda i, row: None if row["Subject"] == who else row)
    config.data.drop = str(tmp_path / "drop.csv")
    (tmp_path / "drop.csv").write_text(f"Subject\n{who}\n")
    again = prepared(config, tmp_path / "run")
    np.testing.assert_array_equal(again.test.image, study.test.image)
    assert not again.train.image[3].any() and again.drop[3]


def test_the_table_of_problems_comes_with_every_refusal(begun):
    config, workdir, _ = begun
    config.data.fractions = (1.0, 0.0, 0.0)
    table = pathlib.Path(config.data.manifest)
    rewritten(table, lambda i, row: row | ({"Group_bin": "?"} if i == 4 else {}))
    with pytest.raises(records.ManifestError, match="(?s)p04.*empty.*no verification scans"):
        prepared(config, workdir / "other")


def test_the_list_of_dropped_people_may_name_whom_the_run_does_not_use(begun, tmp_path):
    config, _, _ = begun
    table = pathlib.Path(config.data.manifest)
    rewritten(table, lambda i, row: row | ({"Group_bin": "?"} if i == 4 else {}))
    (tmp_path / "scans/3.nii.gz").write_bytes(b"x")
    config.data.drop = str(tmp_path / "drop.csv")
    (tmp_path / "drop.csv").write_text("Subject\np03\np04\n")
    first = prepared(config, tmp_path / "second")
    table.write_text(table.read_text() + "new,A,1,scans/new.nii,F,50\n")
    (tmp_path / "drop.csv").write_text("Subject\nnew\np04\nB/p03\n")
    assert same(prepared(config, tmp_path / "second"), first)
    (tmp_path / "drop.csv").write_text("Subject\nnobody\n")
    with pytest.raises(records.ManifestError, match="no subject 'nobody'"):
        prepared(config, tmp_path / "second")


STAGES, GRADES = ("absent", "mild", "severe"), ("0", "1..2", "3..4")


def test_a_run_of_two_classes_does_not_go_on_as_three(begun):
    config, workdir, _ = begun
    config.data.classes = STAGES
    with pytest.raises(records.ManifestError, match="were control; patient and are now absent"):
        prepared(config, workdir)
