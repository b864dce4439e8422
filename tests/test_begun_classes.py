"""A run remembers what its labels mean, and does not go on where they mean something else."""

import numpy as np
import pytest

from harmjax.data import begun as data_begun
from harmjax.data import provenance, records
from harmjax.runs import preparation
from tests.test_provenance import (
    GRADES,
    STAGES,
    prepared,
    rewritten,
    rows_of,
    same,
    settings,
)

OTHER = {
    "another name": ((*STAGES[:2], "grave"), GRADES, "the classes were absent; mild; severe and"),
    "another order": (STAGES[::-1], GRADES[::-1], "and are now severe; mild; absent"),
    "fewer": (STAGES[:2], ("0", ">0"), "and are now absent; mild"),
    "two without a name": ((), (), "and are now control; patient"),
    "other words": (STAGES, ("0", "1", "2..4"), r"p\d\d +label +was 1 .num=2. and is now 2"),
    "a word less": (STAGES, ("0", "1..2", "3"), r"p\d\d +label +'4' is no known class"),
}


@pytest.fixture
def staged(tmp_path):
    """(config, workdir, study) of a run on a table of patients graded 0 to 4, three classes."""
    lines = ["Subject,Study,num,f1"] + [f"p{i:02},{'AB'[i % 2]},{i % 5},{i}" for i in range(60)]
    (tmp_path / "study.csv").write_text("\n".join(lines) + "\n")
    config = settings(tmp_path / "study.csv")
    config.data.features, config.data.columns.label = ("f1",), "num"
    config.data.classes, config.data.words = STAGES, GRADES
    return config, tmp_path / "run", prepared(config, tmp_path / "run")


def test_a_run_remembers_its_classes(staged):
    config, workdir, study = staged
    rows = rows_of(workdir)
    assert tuple(rows[0]) == (*provenance.WRITTEN, "class")
    for row in rows:
        grade = int(row["label_from"].removeprefix("num="))
        assert (row["label"], row["class"]) == (str((grade + 1) // 2), STAGES[(grade + 1) // 2])
    assert study.classes == provenance.read(workdir / "manifest.csv").classes == STAGES
    assert {*study.train.label.tolist()} == {*study.verification.label.tolist()} == {0, 1, 2}
    assert same(prepared(config, workdir), study)
    assert preparation.held_out(config, workdir, "test", progress=False).samples.label.max() == 2


@pytest.mark.parametrize("kind", OTHER)
def test_labels_that_mean_something_else_are_refused(staged, kind):
    config, workdir, _ = staged
    config.data.classes, config.data.words, words = OTHER[kind]
    for use in (
        lambda: prepared(config, workdir),
        lambda: preparation.held_out(config, workdir, "test", progress=False),
        lambda: preparation.unchanged(config, workdir),
    ):
        with pytest.raises(records.ManifestError, match=f"(?s)other data.*{words}"):
            use()


def test_runs_that_should_share_their_data_share_the_meaning_of_labels(staged):
    config, workdir, _ = staged
    config.data.classes = ("none", "some", "much")
    prepared(config, workdir.parent / "other")
    with pytest.raises(records.ManifestError, match="(?s)on other data.*they differ in p"):
        data_begun.dropped_since(workdir, workdir.parent / "other")


@pytest.mark.parametrize("cell", ["sever", ""])
def test_a_class_that_another_program_renamed_is_refused(staged, cell):
    config, workdir, _ = staged
    path = workdir / "manifest.csv"
    rewritten(path, lambda i, row: row | ({"class": cell} if i == 3 else {}))
    with pytest.raises(records.ManifestError, match="edited since the run wrote it.*label . is "):
        prepared(config, workdir)


def test_a_wrong_label_may_be_one_of_three(staged, tmp_path):
    config, _, study = staged
    config.scenario.name, config.scenario.harm, config.scenario.count = (
        *("singles", ("label_flip",), 9),
    )
    drawn = prepared(config, tmp_path / "drawn")
    wrong = drawn.train.label != study.train.label
    np.testing.assert_array_equal(wrong, drawn.corrupted)
    assert {*drawn.train.label[wrong]} == {0, 1, 2}
    config.scenario.label_flip.to = 2
    told = prepared(config, tmp_path / "told")
    was = study.train.label[told.corrupted]
    assert (told.train.label[told.corrupted][was != 2] == 2).all()
    assert (told.train.label[told.corrupted] != was).all()
    config.scenario.label_flip.to = 3
    with pytest.raises(ValueError, match="label_flip: to=3 of 3 classes; choose 0 to 2"):
        prepared(config, tmp_path / "fourth")
