"""The attribution benchmark: what is planted, what is exchanged, and cleanlab's row."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks.attribution import exchange, ours, report, retrained, tasks
from harmjax import metrics

PEERS = pathlib.Path(tasks.__file__).parent
CLEANLAB = os.environ.get("HARMJAX_PEER_CLEANLAB") or (
    sys.executable if importlib.util.find_spec("cleanlab") else ""
)


@pytest.mark.parametrize("task", tasks.TASKS)
def test_noisy_verification_labels_change_nothing_else(task):
    for corruption in tasks.CORRUPTIONS[task]:
        clean = tasks.planted(task, corruption, "clean", 3)
        noisy = tasks.planted(task, corruption, "noisy", 3)
        for field in set(clean._fields) - {"vy"}:
            np.testing.assert_array_equal(getattr(clean, field), getattr(noisy, field))
        assert (clean.vy != noisy.vy).sum() == round(0.2 * len(clean.vy))


@pytest.mark.parametrize("corruption, number", [("flips 20%", 60), ("flips 10%", 30)])
def test_flips_as_many_labels_as_it_says(corruption, number):
    cell = tasks.planted("cancer", corruption, "clean", 0)
    original = tasks.TASKS["cancer"](0)
    np.testing.assert_array_equal(cell.y != original.y, cell.corrupted)
    assert cell.corrupted.sum() == number


def test_a_bad_site_is_a_site_and_a_bad_sample_one():
    site = tasks.planted("digits", "bad site", "clean", 0)
    assert len(set(site.centre[site.corrupted])) == 1
    assert site.corrupted.sum() == (site.centre == site.centre[site.corrupted][0]).sum()
    assert tasks.planted("digits", "one bad sample", "clean", 0).corrupted.sum() == 1


def test_scores_come_back_with_their_costs(tmp_path):
    arrays = {"method": np.arange(2.0), "method:seconds": 3.0, "method:gradient": 8}
    exchange.save(tmp_path / "cell.npz", arrays)
    ((harm, cost),) = exchange.scores(tmp_path / "cell.npz").values()
    np.testing.assert_array_equal(harm, [0, 1])
    assert cost == {"seconds": 3.0, "gradient": 8.0}


def test_passes_by_hand():
    samples, scans, features = 40, 12, 3
    train, held_out = (
        retrained.samples(np.zeros((n, features)), np.arange(n) % 2, np.arange(n) % 2)
        for n in (samples, scans)
    )
    model = ours.LEARNER.init(jax.random.key(0), train.image[:1])
    cell = tasks.Cell(*[None] * 10)._replace(y=train.label, centre=train.centre, seed=0)
    found = ours._passes(model, train, held_out, ours._stops(cell, 0))
    trained, watched, tried = ours.CYCLES * samples, ours.CYCLES, len(ours.TRIED)
    stops = 2 * 2  # at two centres of 20 samples
    assert found["margin"] == {"gradient": trained, "forward": watched * samples}
    assert found["alignment"] == {
        "gradient": trained + watched * scans,
        "jvp": watched * samples,
    }
    assert found["error_rate"] == {
        "gradient": trained + tried * samples,
        "forward": tried * stops * (ours.BATCH + 1) * scans,
    }


def test_accuracy_is_of_what_is_kept():
    x = np.repeat([[-1.0], [1.0]], 20, axis=0)
    y = np.repeat([0, 1], 20)
    cell = tasks.Cell(
        x, np.where(np.arange(40) % 4 == 0, y, 1 - y), x, y, x, y,
        np.zeros(40, int), np.zeros(40, int), np.arange(40) % 4 != 0, np.array(0),
    )  # fmt: skip
    kept = np.stack([~cell.corrupted, cell.corrupted])
    right, wrong = retrained.accuracies(cell, ours.LEARNER, 20, ours.BATCH, kept, replicas=2)
    assert right == 1 and wrong == 0


def test_comparison_by_hand():
    def row(library, method, seed, auroc):
        return [library, method, "digits", "flips", "clean", seed, auroc, *[None] * 10]

    values = {
        ("harmjax", "margin"): (0.8, 0.9),
        ("harmjax", "combined"): (0.7, 0.8),
        ("peer", "one"): (0.9, 1.0),
        ("peer", "two"): (0.5, 0.5),
    }
    rows = [
        row(*key, seed, auroc) for key, both in values.items() for seed, auroc in enumerate(both)
    ]
    (found,) = report.comparison(rows)
    assert found[:4] == ["clean", "digits", "flips", 2]
    assert found[4:6] == ["peer one", 0.95]
    assert found[6:10] == ["margin", 0.85, 0.1, 0.0]
    assert found[10:14] == ["combined", 0.75, 0.2, 0.0]
    assert found[14] == "single, combination"


@pytest.mark.skipif(not CLEANLAB, reason="HARMJAX_PEER_CLEANLAB names no Python with cleanlab")
def test_cleanlab_finds_flips(tmp_path):
    cell = tasks.planted("cancer", "flips 20%", "clean", 0)
    cells, scores = tmp_path / "cells", tmp_path / "scores"
    cells.mkdir()
    seen = {field: getattr(cell, field) for field in tasks.SEEN}
    exchange.save(cells / "cancer_flips-20_clean_0.npz", seen)
    subprocess.run([CLEANLAB, PEERS / "peer_cleanlab.py", cells, scores], check=True)
    found = exchange.scores(scores / "cancer_flips-20_clean_0.npz")
    assert set(found) > {"self-confidence, logistic", "confident learning, 10-NN"}
    assert metrics.auroc(found["self-confidence, forest"][0], cell.corrupted) > 0.9
