"""The page of a detection grid."""

import re

import matplotlib.image
import numpy as np
import pytest

from harmjax import tables
from harmjax.report import detection
from tests.report.written import read

HEADER = (
    *("scenario", "harm", "seed", "policy", "planted", "eliminated", "hits", "recall", "good"),
    *("wrongly_eliminated", "false_rate", "auroc", "average_precision", "test_auroc", "test_fpr"),
    *("test_fnr", "forward_equivalents", "seconds"),
)


def grid(policies=("none", "verify_revisit"), seeds=(0, 1)):
    for seed in seeds:
        for policy in policies:
            found = 0.25 + 0.5 * seed if policy != "none" else 0.0
            score = None if policy == "none" else 0.9
            yield ["singles", "inversion", seed, policy, 4, 4, 1, found, 96, 0, 0.0, score, score,
                   0.8, 0.2, 0.1, 1e6, 3.5]  # fmt: skip


def test_detection_page_shows_means_over_seeds(tmp_path):
    tables.write(tmp_path / "detection.csv", HEADER, grid())
    curve = [["singles", "inversion", 0, "verify_revisit", r / 4, 1 - r / 8] for r in range(1, 5)]
    header = ("scenario", "harm", "seed", "policy", "recall", "precision")
    tables.write(tmp_path / "precision_recall.csv", header, curve)
    path = detection.write(tmp_path)
    found = read(path)
    assert "4 runs: 2 policies, 1 scenario, 1 harm, 2 seeds" in found.text
    assert "50.0% (35.4)" in found.text  # recall of 0.25 and 0.75
    assert "1,000,000 (0)" in found.text
    assert len(found.ids) == len(set(found.ids)) and "script" not in found.tags
    assert not re.search(r"https?://", path.read_text(encoding="utf-8"))
    for name in ("errors", "found", "ranking", "cost"):
        pixels = matplotlib.image.imread(tmp_path / f"detection_{name}.png")
        assert np.all(pixels[0, 0] == 1), "pictures stand on white, not on nothing"
        assert pixels.std() > 0.01


def test_detection_page_of_one_run_and_of_none(tmp_path):
    tables.write(tmp_path / "detection.csv", HEADER, list(grid(("none",), (0,))))
    assert "AUROC of the harm score" not in read(detection.write(tmp_path)).text
    tables.write(tmp_path / "detection.csv", HEADER, [])
    with pytest.raises(ValueError, match="run `harmjax detect` first"):
        detection.write(tmp_path)
