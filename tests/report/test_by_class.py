"""Pages and tables of more than two classes: numbers of each class, by brute force and by hand."""

import pathlib
import re

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from harmjax import defaults, metrics, tables
from harmjax.report import compared, confusion, page, results, sections
from harmjax.report import detection as grid_page
from harmjax.report import sweep as sweep_page
from harmjax.runs import logbook, training
from harmjax.sweeps import detection, jobs, sweep
from tests.report import by_class, written
from tests.report.written import HOSTILE, Reader, read


@pytest.fixture(scope="module", params=("verify_revisit", "screen"))
def run(request, tmp_path_factory):
    """(workdir, study, outcome) of a finished run, its page written."""
    workdir = tmp_path_factory.mktemp(request.param)
    return workdir, *by_class.run(workdir, request.param)


def by_hand(model, config, study):
    """Counts by true and predicted class, one test scan after another."""
    logits = training.build_learner(config).logits(model, study.test.image)
    counts = [[0] * 3 for _ in range(3)]
    for label, row in zip(study.test.label.tolist(), np.asarray(logits).tolist(), strict=True):
        counts[label][row.index(max(row))] += 1
    return counts


def test_the_page_has_the_confusion_of_the_delivered_model(run):
    workdir, study, outcome = run
    config = by_class.config(workdir.name.rstrip("0123456789"))
    counts = by_hand(outcome.model, config, study)
    assert sum(map(sum, counts)) == 27 and sum(counts[k][k] for k in range(3)) not in (0, 27)
    found = read(workdir / "report.html")
    for k, name in enumerate(by_class.CLASSES):
        wrong = 1 - counts[k][k] / 9
        cells = f"{name} 9 {' '.join(map(str, counts[k]))} {wrong:.1%}"
        assert cells in found.text
        assert outcome.metrics[f"sensitivity_{name}"] == pytest.approx(1 - wrong)
        assert f"{name} {wrong:.3f}" in training.summary(study, outcome)
    rows = tables.read(workdir / "confusion.csv")
    assert [list(row.values()) for row in rows] == [
        [name, "9", *map(str, row)] for name, row in zip(by_class.CLASSES, counts, strict=True)
    ]


def test_what_a_person_reads_names_classes(run):
    workdir, study, outcome = run
    samples = tables.read(workdir / "harm.csv")
    labels = [by_class.CLASSES[k] for k in study.train.label]
    assert [row["label"] for row in samples] == labels
    text = read(workdir / "report.html").text
    wrong = round(27 * (1 - outcome.metrics["accuracy"]))
    worst = min(by_class.CLASSES, key=lambda name: outcome.metrics[f"sensitivity_{name}"])
    lowest = outcome.metrics[f"sensitivity_{worst}"]
    assert f"misdiagnoses {wrong} of 27 untouched test scans" in text
    assert f"most often {worst}: {round(9 * (1 - lowest))} of 9 scans" in text
    assert f"{lowest:.1%} lowest sensitivity, test: {worst}" in text
    assert f"{outcome.metrics['balanced_accuracy']:.1%} balanced accuracy, test" in text
    assert "HC MCI AD eliminated pending largest harm" in text
    assert "Cork 12 4 4 4 " in text
    suspects = [row for row in samples if row["verdict"] in ("eliminated", "pending")]
    assert any(f"{row['centre']}, {row['label']}, harm" in text for row in suspects)
    told = text[: text.index("Settings")]
    assert not re.search(r"controls|patient|disease|FPR|False-positive|specificity", told)
    for name in by_class.CLASSES:
        assert text.count(f"Error rate: {name}") == 2 and f"sensitivity: {name}" in text


def test_a_class_of_which_nobody_is_left_is_named(run):
    _, study, outcome = run
    none_left = outcome._replace(mask=np.asarray(study.train.label) == 2)
    said = training.summary(study, none_left)
    assert "WARNING: of HC and MCI no training sample is left" in said


def test_the_page_of_classes_is_whole(run):
    found = read(run[0] / "report.html")
    assert len(found.ids) == len(set(found.ids)) and "script" not in found.tags


def test_rates_are_those_that_the_decisions_count(run):
    workdir, study, _ = run
    found, raw = results.read(workdir, study.classes), tables.read(workdir / "decisions.csv")
    assert found.harm.label.tolist() == study.train.label.tolist()
    assert {"batch", "suspicion"} & {row["kind"] for row in raw}
    for row, counted in zip(found.decisions, raw, strict=True):
        for kind, name in zip(found.kinds, study.classes, strict=True):
            rate = int(counted[f"errors_{name}"]) / 18
            assert float(row[kind.name]) == pytest.approx(rate)
            before = counted[f"reference_{name}"]
            assert (row[f"reference_{kind.name}"] == "") == (before == "")
            if before:
                assert float(row[f"reference_{kind.name}"]) == pytest.approx(int(before) / 18)
    text = read(workdir / "report.html").text
    refused = [row for row in raw if row["accepted"] == "0"][-1]
    cells = []
    for name in study.classes:
        before = refused[f"reference_{name}"]
        cells += [f"{int(refused[f'errors_{name}']) / 18:.1%}"]
        cells += [f"{int(before) / 18:.1%}" if before else "–"]
    assert f"{refused['subjects'].replace(';', ', ')} {' '.join(cells)} " in text
    legend = "reference: the last accepted model" in text
    assert legend == any(row["reference_HC"] for row in raw)


def test_names_of_classes_stay_text(run, tmp_path):
    workdir, study, _ = run
    names = (HOSTILE, "$\\frac{1}{2}$", "北京" * 20)
    renamed = dict(zip(by_class.CLASSES, names, strict=True))
    for path in workdir.glob("*.csv"):
        rows = tables.read(path)
        header = [_renamed(column, renamed) for column in (rows[0] if rows else ())]
        cells = [[renamed.get(value, value) for value in row.values()] for row in rows]
        tables.write(tmp_path / path.name, header, cells)
    hostile = study._replace(classes=names)
    found = read(page.write(tmp_path, hostile))
    assert not found.tags & {"script", "img"}
    assert len(found.ids) == len(set(found.ids))
    assert " ".join(found.words).count(HOSTILE) > 2
    assert "Error rate: $\\frac{1}{2}$" in found.text and "Error rate: 北京" in found.text


def _renamed(column, names):
    stem, _, last = column.rpartition("_")
    return f"{stem}_{names[last]}" if stem and last in names else column


def test_a_page_with_other_classes_is_refused(run):
    workdir, study, _ = run
    with pytest.raises(ValueError, match="label in harm.csv='AD'; known: 0, 1"):
        page.write(workdir, study._replace(classes=("HC", "MCI")))
    with pytest.raises(ValueError, match="confusion.csv is not of the classes MCI, HC, AD"):
        page.write(workdir, study._replace(classes=("MCI", "HC", "AD")))


def confusion_rows(logits, labels, classes):
    everyone = [("all", np.ones(len(labels), bool))]
    return logbook.confusion_rows(
        metrics.by_group(logits, labels, everyone, classes)["all"], classes
    )


@hypothesis.given(strategies.data(), strategies.integers(2, 4), strategies.integers(0, 12))
@hypothesis.settings(max_examples=60, deadline=None)
def test_confusion_counts_one_scan_after_another(data, num_classes, number):
    values = strategies.sampled_from([0.0, 1.0, 2.0, np.nan])
    logits = data.draw(arrays.arrays(float, (number, num_classes), elements=values))
    labels = data.draw(arrays.arrays(int, number, elements=strategies.integers(0, num_classes - 1)))
    expected = np.zeros((num_classes, num_classes), int)
    for label, row in zip(labels, logits, strict=True):
        if not np.isnan(row).any():
            expected[label, list(row).index(max(row))] += 1
    np.testing.assert_array_equal(metrics.confusion(logits, labels, num_classes), expected)
    rows = confusion_rows(logits, labels, [*"abcd"[:num_classes]])
    assert [row[1] for row in rows] == [(labels == k).sum() for k in range(num_classes)]
    assert [row[2:] for row in rows] == expected.tolist()


def test_two_classes_have_a_confusion_too_and_may_be_named(tmp_path):
    s = written.study()
    written.write_run(tmp_path, s, gone=(1,))
    assert "Confusion" not in read(page.write(tmp_path, s)).text, "a run of before"
    logits = np.array([[0, -1.0]] * 3 + [[0, 1.0]] * 7)
    for classes, words in (
        (s.classes, ("control 4 3 1 25.0% 5 to 70%", "North, disease, harm", "with disease")),
        (("HC", "AD"), ("HC 4 3 1 25.0% 5 to 70%", "North, AD, harm", "samples HC AD eliminated")),
    ):
        rows = confusion_rows(logits, s.test.label, classes)
        tables.write(tmp_path / "confusion.csv", logbook.confusion_columns(classes), rows)
        text = read(page.write(tmp_path, s._replace(classes=classes))).text
        assert all(word in text for word in words), words
        assert ("1 of 4 controls" in text) == (classes == s.classes)
    assert "misdiagnoses 3 of 10 untouched test scans" in text
    assert "most often AD: 2 of 6 scans" in text


def test_scans_without_a_diagnosis_are_counted_apart(tmp_path):
    s = written.study()
    written.write_run(tmp_path, s)
    logits = np.array([[np.nan, 0.0]] + [[0, 1.0]] * 9)
    rows = confusion_rows(logits, s.test.label, s.classes)
    tables.write(tmp_path / "confusion.csv", logbook.confusion_columns(s.classes), rows)
    text = Reader(confusion.section(results.read(tmp_path)).text).text
    assert "control patient no diagnosis misdiagnosed" in text
    assert "control 4 0 3 1 – – " in text and "patient 6 0 6 0 0.0% 0 to 39%" in text


def test_a_model_without_metrics_is_said_to_be_unknown(tmp_path):
    s = written.study()
    written.write_run(tmp_path, s, delivered=False)
    rows = tables.read(tmp_path / "metrics.csv")
    cells = [[*list(row.values())[:4], *[None] * (len(row) - 4)] for row in rows]
    tables.write(tmp_path / "metrics.csv", [*rows[0]], cells)
    text = read(page.write(tmp_path, s)).text
    assert "calls an unknown number of 4 controls ill" in text


def test_metrics_of_a_table_are_titled():
    named = [sections._metric(name) for name in metrics.names(by_class.CLASSES)[1:]]
    assert named[:4] == ["accuracy", "balanced accuracy", "AUROC", "loss"]
    assert named[4:] == [f"sensitivity: {name}" for name in by_class.CLASSES]


def grid_rows(header):
    """Runs of two policies over two seeds; sensitivities of 0.5 + seed / 4, 0.75 and 1."""
    for seed in (0, 1):
        for policy in ("none", "screen"):
            row = dict.fromkeys(header, "1")
            row |= {"scenario": "singles", "harm": "noise", "seed": seed, "policy": policy}
            row |= {"recall": 0.5, "test_sensitivity_HC": 0.5 + seed / 4}
            row |= {"test_sensitivity_MCI": 0.75, "test_balanced_accuracy": 0.75 + seed / 12}
            yield [row[name] for name in header]


def test_compared_policies_are_measured_by_class(tmp_path):
    header = detection.columns(by_class.config("none"))
    assert header[13:19] == (
        *("test_auroc", "test_balanced_accuracy", "test_sensitivity_HC", "test_sensitivity_MCI"),
        *("test_sensitivity_AD", "forward_equivalents"),
    )
    two = detection.columns(defaults.get_config())
    assert two[13:17] == ("test_auroc", "test_fpr", "test_fnr", "forward_equivalents")
    tables.write(tmp_path / "detection.csv", header, grid_rows(header))
    said = detection.summary(tables.read(tmp_path / "detection.csv"), [])
    assert "test sensitivity MCI" in said and "0.625 ± 0.18" in said and "fpr" not in said
    text = read(grid_page.write(tmp_path)).text
    assert "test balanced accuracy test sensitivity: HC test sensitivity: MCI" in text
    assert "79.2% (5.9) 62.5% (17.7) 75.0% (0.0) 100.0% (0.0)" in text
    rows = compared.with_lowest(tables.read(tmp_path / "detection.csv"))
    assert results.column(rows, compared.LOWEST).tolist() == [0.5, 0.5, 0.75, 0.75]
    np.testing.assert_allclose(compared.error(rows)[0], [0.25, 0.25, 1 / 6, 1 / 6])
    (unknown,) = compared.with_lowest([rows[0] | {"test_sensitivity_AD": ""}])
    assert unknown[compared.LOWEST] == "", (
        "of a class without scans nobody knows whether it is lower"
    )
    assert "Lowest sensitivity, test" in text and "test error (mean over classes)" in text


def test_swept_settings_are_measured_by_class(tmp_path):
    columns = ("seed", *jobs.columns(by_class.config("none")), "run")
    rows = [dict(zip(columns, map(str, row), strict=True)) for row in grid_rows(columns)]
    rows = [row | {"problem": ""} for row in rows]
    table = sweep.Table(columns, ("seed",), rows)
    said = sweep.summary(table, (), "loss", tmp_path)
    assert "test sensitivity AD" in said and "test balanced accuracy 0.75" in said
    text = read(sweep_page.write(tmp_path, table, (), "loss")).text
    assert "Balanced accuracy, test" in text and "test sensitivity MCI" in text
    assert pathlib.Path(tmp_path / "sweep.png").stat().st_size > 0
