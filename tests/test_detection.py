"""Policies compared on planted harm: the runs, both tables, and what is printed."""

import numpy as np
import pytest

from harmjax import defaults, metrics, tables
from harmjax.report import detection as page
from harmjax.runs import training
from harmjax.sweeps import detection, jobs


def test_every_combination_once():
    config = defaults.get_config()
    config.detect.scenarios = ("none", "singles")
    config.detect.harms = (("inversion",), ("noise", "motion"))
    config.detect.policies = ("oracle", "none")
    config.detect.seeds, config.detect.warmups = (3, 4), ("clean", "as_is")
    planned = detection.planned(config, "out")
    names = [str(job.workdir.relative_to("out")) for job in planned[:10]]
    assert names == [
        *("none-3/oracle", "none-3/none"),
        *("singles-inversion-3/oracle", "singles-inversion-3/none"),
        *("singles-inversion-3/oracle-as_is", "singles-inversion-3/none-as_is"),
        *("singles-noise+motion-3/oracle", "singles-noise+motion-3/none"),
        *("singles-noise+motion-3/oracle-as_is", "singles-noise+motion-3/none-as_is"),
    ]
    assert len(planned) == 20 and len({job.home for job in planned}) == 6
    firsts = [job.warmup and job.warmup.name for job in planned[2:6]]
    assert firsts == [None, "oracle", None, "oracle-as_is"]
    last = planned[-1].config
    assert (last.seed, last.scenario.seed, last.scenario.count) == (4, 4, 5)
    assert last.scenario.harm == ("noise", "motion") and last.train.warmup_on == "as_is"


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("detect.scenarios", ("center",), "'center' .*; known: centres, none, singles"),
        ("detect.warmups", ("dirty",), "'dirty'; known: clean, as_is"),
        ("train.warmup_on", "as_is", "not among detect.warmups"),
        ("detect.policies", ("oracel",), "did you mean 'oracle'"),
        ("detect.harms", ("inversion",), "scenario.harm='inversion': need type tuple"),
        ("detect.seeds", (), "'seed'. has no values"),
    ],
)
def test_grids_that_cannot_work_are_refused(key, value, words):
    config = defaults.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=words):
        detection.planned(config, "out")


def detect(config, workdir):
    silent = {name: lambda *_: None for name in ("say", "finished")}
    return detection.detect(config, workdir, **silent, progress=False)


def test_tables_of_a_small_grid(patients, tmp_path, monkeypatch):
    patients.train.warmup_cycles, patients.train.cycles = 1, 4
    patients.detect.scenarios, patients.detect.count.singles = ("singles",), 4
    patients.detect.harms = (("label_flip", "unit_error"),)
    patients.detect.policies = ("oracle", "verify_revisit")
    patients.detect.warmups = ("clean", "as_is")
    rows, harms = detect(patients, tmp_path)
    header = detection.columns(patients)
    assert list(rows[0]) == [*header] and header[-4:-2] == ("test_fnr", "forward_equivalents")
    assert [(row["warmup"], row["policy"]) for row in rows] == [
        *(("clean", "oracle"), ("clean", "verify_revisit")),
        *(("as_is", "oracle"), ("as_is", "verify_revisit")),
    ]
    assert (rows[0]["planted"], rows[0]["hits"], rows[0]["wrongly_eliminated"]) == (4, 4, 0)
    assert (rows[0]["recall"], rows[0]["false_rate"]) == (1, 0)
    assert rows[1]["test_auroc"] != rows[3]["test_auroc"], "another warm-up, another model"

    folder = tmp_path / "singles-label_flip+unit_error-0"
    warm_ups = {path.parts[-3] for path in folder.glob("*/checkpoints/warmup_0000")}
    assert warm_ups == {"oracle", "oracle-as_is"}
    assert [(row["policy"], row["kind"]) for row in harms[:4]] == [
        *(("oracle", "label_flip"), ("oracle", "unit_error")),
        *(("verify_revisit", "label_flip"), ("verify_revisit", "unit_error")),
    ]
    assert np.isnan(harms[0]["harm_auroc"]), "the oracle gives no scores"
    check_harm(harms[2], tables.read(folder / "verify_revisit" / "harm.csv"), "label_flip")
    check_harm(harms[7], tables.read(folder / "verify_revisit-as_is" / "harm.csv"), "unit_error")

    curves = tables.read(tmp_path / "precision_recall.csv")
    assert {row["policy"] for row in curves} == {"verify_revisit"}
    assert [float(row["recall"]) for row in curves[:20]] == [*detection.RECALLS]

    monkeypatch.setattr(training, "train", None)
    (tmp_path / "detection.csv").unlink()
    assert repr(detect(patients, tmp_path)) == repr((rows, harms)), "finished runs are only read"
    for name, found in (("detection", rows), ("harms", harms)):
        assert tables.read(tmp_path / f"{name}.csv") == [
            {column: str(tables.cell(value)) for column, value in row.items()} for row in found
        ]
    text = page.write(tmp_path).read_text()
    assert "verify_revisit, as_is" in text and "Harm by harm: share eliminated" in text


def check_harm(row, samples, kind):
    """Compares a row of harms.csv with plain counting."""
    own = [s for s in samples if s["kind"] == kind]
    good = [s for s in samples if s["corrupted"] == "0"]
    verdicts = [s["verdict"] for s in own]
    gone = verdicts.count("eliminated")
    assert (row["planted"], row["eliminated"]) == (len(own), gone)
    assert row["pending"] == verdicts.count("pending")
    assert row["recall"] == pytest.approx(gone / len(own), abs=1e-8)
    harm = [float(s["harm"] or "-inf") for s in (*own, *good)]
    truth = np.arange(len(harm)) < len(own)
    assert row["harm_auroc"] == pytest.approx(metrics.auroc(harm, truth), abs=1e-8)


def test_a_diverging_run_is_named(patients, tmp_path, monkeypatch):
    problem = {"problem": "the loss is not finite in cycle 1"}
    ended = lambda some, **_: [jobs.Finished(some[0], problem, [])]  # noqa: E731
    monkeypatch.setattr(jobs, "run", ended)
    with pytest.raises(FloatingPointError, match="none-0: oracle: the loss is not finite"):
        detect(patients, tmp_path)


def written(seeds, warm_ups=("clean",)):
    """Rows of both tables, with numbers that follow from seed and policy."""
    rows, harms, header = [], [], detection.columns(defaults.get_config())
    for seed in seeds:
        for warm in warm_ups:
            for policy in ("none", "screen"):
                row = dict.fromkeys((*header, *detection.HARMS), np.nan)
                row |= {"scenario": "singles", "harm": "noise", "seed": seed, "kind": "noise"}
                row |= {"policy": policy, "planted": 4, "warmup": warm, "hits": 2 * seed}
                row |= {"test_auroc": 0.8 + 0.1 * seed, "recall": 0.5 * seed}
                rows.append({name: row[name] for name in header})
                harms.append({name: row[name] for name in detection.HARMS})
    return rows, harms


def test_summary_over_seeds_by_hand():
    text = detection.summary(*written((0, 1)))
    first, second = text.split("\n\n")
    assert first.startswith("mean ± SD over seeds\n") and "warmup" not in text
    lines = first.splitlines()
    assert len(lines) == 4 and lines[2].split()[:3] == ["singles", "noise", "none"]
    assert "1 ± 1.4" in lines[2] and "0.85 ± 0.071" in lines[2]
    assert "0.25 ± 0.35" in second
    assert "as_is" in detection.summary(*written((0,), ("clean", "as_is")))
    single = detection.summary(*written((1,)))
    assert "±" not in single and "seed " in single and " 0.9 " in single
