"""Whole runs of a server that holds no scan and no label, beside the same runs over all scans."""

import csv
import functools

import jax
import numpy as np
import pytest

from harmjax.runs import training
from tests import classes, conftest, sites

RUNS = {
    "screen": ("screen", "travelling", 3, {"alpha": 0.3, "families": ("margin", "mahalanobis")}),
    "verify_revisit": ("verify_revisit", "travelling", 2, {"revisit_after": 1}),
    "averaging": ("none", "federated", 3, {}),
}
NOT_TOLD = ("label",)  # columns of harm.csv that a server without rows leaves empty


def config_of(policy, topology, num_classes, settings):
    config = conftest.patients_config("")
    config.data.classes = classes.NAMES[num_classes]
    config.model.update({"hidden": (5,), "dropout": 0.3})
    config.train.update({"topology": topology, "warmup_on": "as_is", "deliver": "last"})
    config.train.minimum_group, config.train.cycles = 3, 6
    config.policy.name = policy
    if settings:
        config.policy[policy].update(settings)
    return config


def scattered(num_classes):
    """A study in which centre C trains on nobody and E holds no verification scan."""
    study = classes.study(num_classes, flipped=(3, 17, 18, 40))
    train, verification = study.train, study.verification
    train = train._replace(centre=np.where(train.centre == 2, 1, train.centre))
    alone = np.where(verification.centre == 4, 3, verification.centre)
    verification = verification._replace(centre=alone)
    return study._replace(train=train, verification=verification, simulated=False)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.optimised
@pytest.mark.parametrize("name", RUNS)
def test_a_run_over_messages_is_the_run_over_all_scans_bit_for_bit(tmp_path, name):
    """The server has no rows and goes by legs; the other goes from stop to stop in one program."""
    config = config_of(*RUNS[name])
    study = scattered(RUNS[name][2])
    run = functools.partial(training.train, config, progress=False)
    one = run(tmp_path / "memory", study=study)
    federation = sites.of_study(config, study)
    two = run(tmp_path / "messages", study=sites.without_rows(study), federation=federation)
    assert bits(one.model) == bits(two.model)
    assert bits(one.verdicts) == bits(two.verdicts)
    assert (one.mask == two.mask).all()
    tables = [tmp_path / run / "decisions.csv" for run in ("memory", "messages")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    kinds = {row["kind"] for row in table(tables[0])}
    expected = {"verify_revisit": {"batch", "single"}, "screen": {"suspicion", "examination"}}
    assert expected.get(name, set()) <= kinds
    harm = [table(tmp_path / run / "harm.csv") for run in ("memory", "messages")]
    for row, other in zip(*harm, strict=True):
        assert {k: v for k, v in row.items() if k not in NOT_TOLD} == {
            k: v for k, v in other.items() if k not in NOT_TOLD
        }
    for phase, asked in one.cost["phases"].items():
        other = two.cost["phases"][phase]
        assert all(asked[kind] == other[kind] for kind in ("forward", "gradient", "jvp"))
    for found, exact in ((two.metrics, one.metrics), (two.verified, one.verified)):
        assert set(found) - set(exact) == {"auroc_error"}
        assert found["n"] == exact["n"] and found["accuracy"] == exact["accuracy"]
        np.testing.assert_allclose(found["loss"], exact["loss"], rtol=1e-6)
        assert abs(found["auroc"] - exact["auroc"]) <= found["auroc_error"] + 1e-9
