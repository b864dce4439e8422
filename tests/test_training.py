"""Whole runs: resume after a kill, delivered models, heart data, prediction."""

import itertools
import json
import pathlib

import jax
import numpy as np
import pytest

from configs import heart
from harmjax import defaults, metrics, offers, policies
from harmjax.data import records
from harmjax.engine import forward
from harmjax.runs import (
    checkpoints,
    course,
    evaluation,
    phases,
    prediction,
    preparation,
    training,
)
from harmjax.sweeps import hyper
from tests import classes, conftest, replay

TABLES = ("decisions.csv", "metrics.csv", "delivered.csv", "harm.csv", "manifest.csv")


class Killed(Exception):
    """Stands for a kill signal at one moment of a run."""


def killed_at(monkeypatch, place, calls):
    """Makes a function raise at its n-th call from now."""
    module, name = place
    real, left = getattr(module, name), [calls]

    def dying(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, dying)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(config, workdir, outcome) of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    manifest = conftest.write_patients(folder / "patients.csv", bad_centre=3)
    config = conftest.patients_config(manifest)
    return config, folder / "run", training.train(config, folder / "run", progress=False)


@pytest.mark.parametrize(
    "place, calls",
    [
        ((phases, "_write_cycle"), 1),  # in the warm-up, before its tables
        ((checkpoints, "save"), 4),  # under control, between tables and checkpoint
        ((phases, "_show"), 13),  # in the middle of a cycle
        ((phases, "_write_cycle"), 9),  # while the delivered model is trained
    ],
)
def test_a_killed_run_ends_bit_for_bit_like_an_uninterrupted_one(
    whole, tmp_path, monkeypatch, place, calls
):
    config, workdir, outcome = whole
    with monkeypatch.context() as patch:
        killed_at(patch, place, calls)
        with pytest.raises(Killed):
            training.train(config, tmp_path / "killed", progress=False)
    resumed = training.train(config, tmp_path / "killed", progress=False)
    for table in TABLES:
        one, two = (run / table for run in (workdir, tmp_path / "killed"))
        assert one.read_bytes() == two.read_bytes(), table
    for x, y in zip(jax.tree.leaves(outcome.model), jax.tree.leaves(resumed.model), strict=True):
        assert np.array_equal(x, y)
    costs = [[e["verifications"] for e in run.cost["cycles"]] for run in (outcome, resumed)]
    assert costs[0] == costs[1]


@pytest.mark.optimised
def test_delivered_model_equals_training_on_the_final_mask(whole, tmp_path):
    config, workdir, controlled = whole
    assert not controlled.mask.all()
    names = [row["subject"] for row in replay.read(workdir / "harm.csv")]
    dropped = [n for n, kept in zip(names, controlled.mask, strict=True) if not kept]
    (tmp_path / "drop.csv").write_text("Subject\n" + "\n".join(dropped))
    by_person = {"data.drop": str(tmp_path / "drop.csv"), "policy.name": "none"}
    config = hyper.applied(config, by_person)
    by_hand = training.train(config, tmp_path / "hand", warmup=workdir, progress=False)
    for x, y in zip(jax.tree.leaves(controlled.model), jax.tree.leaves(by_hand.model), strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("topology", course.TOPOLOGIES)
def test_every_topology_learns(patients, tmp_path, topology):
    patients.data.manifest = str(conftest.write_patients(tmp_path / "good.csv", sizes=(12,) * 8))
    patients.policy.name, patients.train.topology = "none", topology
    outcome = training.train(patients, tmp_path / "run", progress=False)
    assert outcome.metrics["auroc"] > 0.85


def test_verification_needs_the_travelling_topology(patients, tmp_path):
    patients.train.topology = "central"
    with pytest.raises(ValueError, match="decides at every stop"):
        training.train(patients, tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("model.name", "sfnc", "did you mean 'sfcn'"),
        ("policy.name", "verify", "known: none, oracle, screen, verify_revisit"),
        ("train.topology", "ring", "train.topology='ring'"),
        ("train.federation", "cloud", "train.federation='cloud'"),
        ("scenario.name", "center", "centres"),
    ],
)
def test_settings_that_cannot_work_are_named_before_training(patients, tmp_path, key, value, words):
    patients.scenario.harm = ("label_flip",)
    patients.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=words):
        training.train(patients, tmp_path / "run", progress=False)
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_evidence_needs_verification_scans_that_may_be_summed(patients, tmp_path):
    patients.policy.name = "screen"
    with pytest.raises(ValueError, match="0 verification scans in either fold"):
        training.train(patients, tmp_path / "run", progress=False)
    patients.train.minimum_group = 2
    training.train(patients, tmp_path / "run", progress=False)
    rows = replay.read(tmp_path / "run" / "harm.csv")
    assert all(float(row["p_value"]) <= 1 and row["appearance"] for row in rows)


def test_loss_that_is_not_finite_names_cycle_centre_and_stop(patients, tmp_path):
    manifest = pathlib.Path(patients.data.manifest)
    lines = manifest.read_text().splitlines()
    lines[1] = ",".join([*lines[1].split(",")[:6], *["3e38"] * 6])
    manifest.write_text("\n".join(lines))
    patients.train.learning_rate = 1e30
    with pytest.raises(FloatingPointError, match=r"cycle \d+ at centre C\d, stop \d+"):
        training.train(patients, tmp_path / "run", progress=False)


def test_costs_of_a_run_are_those_of_its_messages(patients, tmp_path):
    """By hand from the tables: 43 patients at 8 centres for training, 5 verified at each centre."""
    patients.policy.name, patients.train.minimum_group = "verify_revisit", 2
    training.train(patients, tmp_path / "published", progress=False)
    rows = replay.read(tmp_path / "published" / "decisions.csv")[1:]
    alone = [
        then["kind"] == "single" and (now["kind"], now["subjects"]) == ("batch", then["subjects"])
        for now, then in itertools.pairwise(rows)
    ]
    rows = [row for row, is_copy in zip(rows, [False, *alone], strict=True) if not is_copy]
    tried = sum(len(row["subjects"].split(";")) for row in rows)
    phases = json.loads((tmp_path / "published" / "cost.json").read_text())["phases"]
    delivered = phases["train"]["gradient"] - tried
    mask = [float(r["mask"]) for r in replay.read(tmp_path / "published" / "harm.csv")]
    assert delivered == sum(mask) * 5
    assert phases["warm-up"]["gradient"] == 2 * 43
    assert phases["verify"]["forward"] == len(rows) * 40
    assert phases["verify"]["bytes"] == len(rows) * 8 * 16
    assert phases["score"]["forward_equivalents"] == phases["score"]["bytes"] == 0

    patients.policy.name, patients.policy.screen.families = "screen", ("margin", "mahalanobis")
    patients.train.cycles = 3
    training.train(patients, tmp_path / "screened", progress=False)
    score = json.loads((tmp_path / "screened" / "cost.json").read_text())["phases"]["score"]
    # Once over 43 patients and 40 verification scans, and once over those whose fold of a centre
    # has two, for the distance: 2 + 3 of 5 at all centres.
    assert (score["forward"], score["gradient"], score["jvp"]) == (43 + 40 + 40, 0, 0)
    moments = 4 * (2 + 2 * 32 + 32 * 32)  # of 32 features, by class
    assert score["bytes"] == (43 + 40) * 4 * (2 + 1) + 2 * 8 * moments  # harms, class


@pytest.mark.parametrize("policy", ["none", "verify_revisit", "screen"])
def test_an_update_that_is_not_finite_is_blamed_on_the_centre_it_came_from(
    patients, tmp_path, policy
):
    """The loss of the very large scan is finite; squares of its gradient in Adam are not."""
    patients.policy.name, patients.train.warmup_cycles = policy, 0
    patients.train.minimum_group = 2
    study = preparation.prepare(patients, tmp_path / "data", progress=False)
    one = int(np.flatnonzero(study.train.centre == 1)[0])
    image = np.array(study.train.image)
    image[one] = 1e25
    trusted = np.where(np.arange(len(image)) == one, offers.KEEP, offers.OPEN)
    study = study._replace(train=study.train._replace(image=image), word=trusted)
    with pytest.raises(FloatingPointError, match=r"updated model is .* in cycle 0 at centre C1, "):
        training.train(patients, tmp_path / "run", study=study, progress=False)
    assert not (tmp_path / "run" / "harm.csv").exists()


@pytest.mark.optimised
def test_heart_data_of_four_hospitals(tmp_path):
    config = heart.get_config()
    config.train.cycles, config.report = 12, False
    outcome = training.train(config, tmp_path / "run", progress=False)
    assert outcome.metrics["auroc"] >= 0.85
    _, rows, left_out, _ = prediction.predict(
        tmp_path / "run", "harmjax/files/heart_disease_4_hospitals.csv"
    )
    assert len(rows) == 920 and not left_out
    truth = {row["Subject"]: int(row["num"] != "0") for row in replay.read(
        "harmjax/files/heart_disease_4_hospitals.csv"
    )}  # fmt: skip
    correct = np.mean([(row[4] > 0.5) == truth[row[0]] for row in rows])
    assert correct > 0.8
    found = evaluation.evaluate(tmp_path / "run", "test")
    overall = [r for r in found.rows if r[3] == "all"]
    final = dict(zip(found.header, overall[-1], strict=True))
    assert final["model"] == "final" and final["auroc"] == outcome.metrics["auroc"]


@pytest.mark.parametrize("name", policies.names())
def test_a_run_of_every_policy_is_used_again_and_refused_on_other_data(patients, tmp_path, name):
    patients.policy.name, patients.train.cycles = name, 4
    patients.train.minimum_group = 2
    run, table = tmp_path / "run", pathlib.Path(patients.data.manifest)
    first = training.train(patients, run, progress=False)
    uses = (
        lambda: training.train(patients, run, progress=False),
        lambda: evaluation.evaluate(run, "test"),
        lambda: prediction.predict(run, table),
    )
    again, evaluated, predicted = (use() for use in uses)
    assert first.metrics == again.metrics
    overall = {row[0]: row for row in evaluated.rows if row[3] == "all"}
    assert overall["final"][evaluated.header.index("loss")] == first.metrics["loss"]
    assert len(predicted.rows) == 123 and not predicted.left_out
    splits = [row[-1] for row in predicted.rows]
    assert {split: splits.count(split) for split in set(splits)} == {
        "train": 43,
        "verification": 40,
        "test": 40,
    }
    text = table.read_text().splitlines()
    cells = text[1].split(",")
    text[1] = ",".join([*cells[:2], str(1 - int(cells[2])), *cells[3:]])
    table.write_text("\n".join(text))
    for use in uses:
        with pytest.raises(records.ManifestError, match="(?s)other data.*p000 .*label .*is now"):
            use()


def three_classes(policy):
    """The config of a short run of `classes.study(3)`."""
    config = defaults.get_config()
    config.data.classes = classes.NAMES[3]
    config.model.name, config.model.norm, config.model.dropout = "mlp", "none", 0.1
    config.policy.name, config.report = policy, False
    config.train.learning_rate, config.train.decay = 0.05, 0.02
    config.train.warmup_cycles, config.train.cycles = 2, 6
    config.train.stops_per_call, config.train.minimum_group = 4, 3
    return config


def killed_and_resumed(monkeypatch, config, study, folder):
    """The tables of a run that is killed and goes on are those of `folder/whole`."""
    with monkeypatch.context() as patch:
        killed_at(patch, (phases, "_write_cycle"), 4)
        with pytest.raises(Killed):
            training.train(config, folder / "killed", study=study, progress=False)
    training.train(config, folder / "killed", study=study, progress=False)
    for table in ("decisions.csv", "metrics.csv", "delivered.csv", "harm.csv"):
        one, two = ((folder / run / table).read_bytes() for run in ("whole", "killed"))
        assert one == two, table


FLIPPED = (3, 8, 21, 34, 46, 55)


@pytest.mark.parametrize("policy", ["verify_revisit", "screen"])
def test_a_whole_run_of_three_classes_says_what_it_decided_and_resumes(
    tmp_path, monkeypatch, policy
):
    config, study = three_classes(policy), classes.study(3, flipped=FLIPPED)
    if policy == "screen":
        config.policy.screen.alpha = 0.05
    whole = training.train(config, tmp_path / "whole", study=study, progress=False)
    decisions = replay.read(tmp_path / "whole" / "decisions.csv")
    header = ["cycle", "stop", "centre", "kind", "subjects"]
    for what in ("errors", "n", "reference"):
        header += [f"{what}_{name}" for name in ("HC", "MCI", "AD")]
    assert list(decisions[0]) == [*header, "allowed", "accepted", "p_value"]
    number = np.bincount(study.verification.label).tolist()
    assert all(replay.totals(row) == number for row in decisions)
    harm = replay.read(tmp_path / "whole" / "harm.csv")
    assert {row["label"] for row in harm} == {"HC", "MCI", "AD"}
    if policy == "verify_revisit":
        killed_and_resumed(monkeypatch, config, study, tmp_path)
        eliminated, pending, _, events = replay.replay(
            decisions, {row["subject"]: row["centre"] for row in harm}, threshold=0.02
        )
        assert min(events["rejected"], events["single"], events["revisit"]) > 0
        for row in harm:
            said = "pending" if row["subject"] in pending else "kept"
            assert row["verdict"] == ("eliminated" if row["subject"] in eliminated else said)
    logits = forward.logits(training.build_learner(config))(whole.model, study.test.image)
    assert logits.shape == (40, 3)
    assert whole.metrics == metrics.metrics(logits, study.test.label, ("HC", "MCI", "AD"))
    assert whole.metrics["auroc"] > 0.8
    last = replay.read(tmp_path / "whole" / "delivered.csv")[-2:]
    assert [row["group"] for row in last] == ["all", "odd"] and last[0]["split"] == "test"
    for name, value in whole.metrics.items():
        assert float(last[0][name]) == pytest.approx(value, abs=1e-8)
    wrong = [1 - whole.metrics[f"sensitivity_{name}"] for name in ("HC", "MCI", "AD")]
    said = "error rates: HC {:.3f}, MCI {:.3f}, AD {:.3f}, loss".format(*wrong)
    assert said in training.summary(study, whole)


def test_a_class_of_which_nothing_is_left_is_said(tmp_path):
    config, study = three_classes("none"), classes.study(3)
    study = study._replace(word=np.where(study.train.label == 2, offers.DROP, offers.OPEN))
    outcome = training.train(config, tmp_path / "run", study=study, progress=False)
    assert "of AD no training sample is left" in training.summary(study, outcome)
    everyone = outcome._replace(mask=np.ones(60))
    assert "no training sample is left" not in training.summary(study, everyone)
