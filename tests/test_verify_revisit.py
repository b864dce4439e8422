"""The published procedure: every decision of a run, and every quirk."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import published
from harmjax import models, offers, task, types, workdirs
from harmjax.engine import learner
from harmjax.federations import memory, stepwise
from harmjax.policies import verify_revisit
from harmjax.runs import recorded, training
from tests import conftest, replay
from tests.test_tolerated import counts

QUIRKS = {
    "sound": {},
    "swapped": {"policy.verify_revisit.swap_denominators": True},
    "dropped": {"train.drop_remainders": True},
    "on_test": {"data.verify_on": "test"},
    "restarted": {"train.restart_schedule": 1},
    "sooner": {"policy.verify_revisit.revisit_after": 1},
    "one_by_one": {"train.batch_size": 1, "train.learning_rate": 0.03},
    "authors": {
        "data.verify_on": "test",
        "train.restart_schedule": 1,
        "train.deliver": "last",
        "train.drop_remainders": True,
        "policy.verify_revisit.swap_denominators": True,
        "policy.verify_revisit.float_bound": True,
    },
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_every_decision_follows_from_the_recorded_counts(patients, tmp_path, quirk):
    patients.update_from_flattened_dict(QUIRKS[quirk])
    training.train(patients, tmp_path / "run", progress=False)
    decisions = replay.read(tmp_path / "run" / "decisions.csv")
    harm_rows = replay.read(tmp_path / "run" / "harm.csv")
    policy = patients.policy.verify_revisit
    eliminated, pending, harm, events = replay.replay(
        decisions,
        {row["subject"]: row["centre"] for row in harm_rows},
        threshold=policy.threshold,
        revisit_after=policy.revisit_after,
        swapped=policy.swap_denominators,
        floats=policy.float_bound,
        drop=patients.train.drop_remainders,
    )
    assert min(events["rejected"], events["single"], events["revisit"]) > 0
    cost = json.loads((tmp_path / "run" / "cost.json").read_text())
    verified = sum(entry["verifications"] for entry in cost["cycles"])
    assert verified == events["batch"] + events["single"] + events["revisit"] - events["copied"]
    for row in harm_rows:
        verdict = {True: "eliminated", False: "kept"}[row["subject"] in eliminated]
        assert row["verdict"] == ("pending" if row["subject"] in pending else verdict)
        assert float(row["mask"]) == (row["verdict"] == "kept")
        if row["subject"] in harm:
            assert float(row["harm"]) == pytest.approx(harm[row["subject"]], abs=1e-6)
        else:
            assert row["harm"] == ""


def test_a_grossly_bad_centre_is_eliminated_and_errors_fall(tmp_path):
    """The warm-up without the bad centre comes from a run in which a person dropped it."""
    manifest = conftest.write_patients(tmp_path / "patients.csv", bad_centre=3, held_out=240)
    rows = [r for r in replay.read(manifest) if (r["Study"], r["Split"]) == ("C3", "train")]
    (tmp_path / "drop.csv").write_text("Subject\n" + "\n".join(row["Subject"] for row in rows))
    config = conftest.patients_config(manifest)
    config.train.learning_rate, config.train.cycles, config.train.warmup_cycles = 0.1, 10, 4
    config.policy.name, config.data.drop = "none", str(tmp_path / "drop.csv")
    training.train(config, tmp_path / "clean", progress=False)
    config.data.drop = ""
    dirty = training.train(config, tmp_path / "dirty", warmup=tmp_path / "clean", progress=False)
    config.policy.name = "verify_revisit"
    config.policy.verify_revisit.threshold = 0.01
    controlled = training.train(config, tmp_path / "run", warmup=tmp_path / "clean", progress=False)
    table = replay.read(tmp_path / "run" / "harm.csv")
    gone = {row["subject"] for row in table if row["verdict"] == "eliminated"}
    assert gone == {row["Subject"] for row in rows}
    assert controlled.metrics["loss"] < dirty.metrics["loss"]


def test_a_suspect_that_a_person_drops_is_not_revisited(patients, tmp_path):
    """Consent may be withdrawn between suspicion and revisit, and the run goes on."""
    patients.train.batch_size, patients.train.learning_rate, patients.train.cycles = 1, 0.03, 3
    training.train(patients, tmp_path / "run", progress=False)
    rows = replay.read(tmp_path / "run" / "harm.csv")
    pending = [row["subject"] for row in rows if row["verdict"] == "pending"]
    withdrawn = set(pending[::2])
    (tmp_path / "drop.csv").write_text("\n".join(["Subject", *withdrawn]))
    content = recorded.read(tmp_path / "run")  # of a run that was killed after three cycles of five
    content["config"]["train"]["cycles"] = patients.train.cycles = 5
    workdirs.write_json(tmp_path / "run" / "config.json", content)
    patients.data.drop = str(tmp_path / "drop.csv")
    training.train(patients, tmp_path / "run", progress=False)
    decisions = replay.read(tmp_path / "run" / "decisions.csv")
    later = [row for row in decisions if int(row["cycle"]) > 2]
    assert not withdrawn.intersection(row["subjects"] for row in later)
    revisited = {row["subjects"] for row in later if row["kind"] == "revisit"}
    assert withdrawn and revisited == set(pending) - withdrawn


def test_the_authors_config_has_every_quirk_that_a_whole_run_was_replayed_with():
    sound, authors = published.get_config(), published.get_config("authors")
    changed = {name: value for name, value in flat(authors).items() if flat(sound)[name] != value}
    assert changed == QUIRKS["authors"]


def flat(config, above=""):
    found = {}
    for name, value in config.items():
        inside = hasattr(value, "items")
        found |= flat(value, f"{above}{name}.") if inside else {above + name: value}
    return found


def scripted(held_out, after):
    """A federation in which the update on a stop leads to a confusion known beforehand."""
    script = jnp.array(after, jnp.int32)

    def learn(model, leg):
        return jnp.min(leg.ids) + 1, jnp.zeros(1)

    def total(statistic, model):
        return script[model]

    assert (np.asarray(after).sum(2) == held_out).all()
    nowhere = jnp.zeros(len(after) - 1, jnp.int32)
    return types.Federation(
        len(held_out), nowhere, None, learn, None, total, None, jax.lax.scan, jax.lax.cond
    )


def one_stop(cycle, ids, num_samples):
    """The leg of one stop at centre 0."""
    ids = jnp.array(ids, jnp.int32)
    weight = (ids < num_samples).astype(jnp.float32)
    return offers.leg(types.Stop(jnp.int32(cycle), jnp.int32(0), ids, weight))


START = [[40, 6, 4], [10, 80, 10], [2, 1, 19]]  # errors 10 of 50, 20 of 100, 3 of 22
ALONE = {  # what the update on a batch of two leads to, and whether it is harmful: rises of
    "nothing": (START, False),
    "2, 4 and 0, on the bounds": ([[38, 8, 4], [10, 76, 14], [2, 1, 19]], False),
    "3, 0, 0": ([[37, 6, 7], [10, 80, 10], [2, 1, 19]], True),
    "0, 5, 0": ([[40, 6, 4], [15, 75, 10], [2, 1, 19]], True),
    "0, 0, 1": ([[40, 6, 4], [10, 80, 10], [3, 1, 18]], True),
    "1 in the third, though 30 are gained": ([[50, 0, 0], [0, 100, 0], [3, 1, 18]], True),
    "0, though taken for another class": ([[40, 0, 10], [20, 80, 0], [0, 3, 19]], False),
}


@pytest.mark.parametrize("what", ALONE)
def test_of_three_classes_any_one_decides_by_its_own_denominator(what):
    """floor(.02 x 2 x N) of 50, 100 and 22: 2, 4 and 0."""
    confusion, harmful = ALONE[what]
    fed = scripted([50, 100, 22], [START, confusion, START])
    policy = verify_revisit.verify_revisit(threshold=0.02)
    state = policy.init(2, jnp.array(START))
    assert state.allowed[:, :, 0].tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 2, 4, 6, 8, 10],
        [0, 0, 0, 1, 1, 2],
    ]
    leg = one_stop(7, [0, 1, 2, 2, 2], 2)
    before = types.Travel(jnp.int32(0), state)
    after, info = jax.jit(lambda travel: policy.visit(fed, travel, leg))(before)
    info = jax.tree.map(lambda x: x[0], info)
    assert bool(info.accepted[0]) is not harmful
    assert info.confusion[0].tolist() == confusion and info.reference[0].tolist() == START
    # A harmful batch is tried one by one: the first sample does the same, the second nothing.
    kinds = [types.BATCH, 0, types.SINGLE, types.SINGLE, 0, 0, 0]
    assert info.kind.tolist() == (kinds if harmful else [types.BATCH, *[0] * 6])
    assert after.state.suspected.tolist() == ([7, -1] if harmful else [-1, -1])
    assert after.state.reference.tolist() == (START if harmful else confusion)
    if harmful:
        rises = np.subtract(task.errors(np.array(confusion)), [10, 20, 3]) / [50, 100, 22]
        np.testing.assert_allclose(after.state.harm, [rises.max(), 0], rtol=1e-6)


def test_swapped_denominators_are_of_two_classes():
    policy = verify_revisit.verify_revisit(swap_denominators=True)
    with pytest.raises(ValueError, match="swap_denominators=True: .* two classes, not 3; set it"):
        policy.init(3, jnp.array(START))


def test_verification_without_a_class_is_refused():
    with pytest.raises(ValueError, match=r"of each class: \[0, 5\]"):
        verify_revisit.verify_revisit().init(3, counts(5, 0, 0, 0))
    with pytest.raises(ValueError, match=r"of each class: \[5, 0, 4\]"):
        verify_revisit.verify_revisit().init(3, jnp.array([[3, 1, 1], [0, 0, 0], [2, 2, 0]]))


def test_a_batch_of_one_is_tried_once_and_its_row_copied():
    """Its second trial would be the same update under the same dropout: here it is computed."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(40, 4)).astype(np.float32)
    label = (image[:, 0] > 0).astype(np.int32)
    samples = types.Samples(image, label, np.zeros(40, np.int32), np.arange(40, dtype=np.uint32))
    lrn = learner.learner(models.get("mlp")(hidden=(5,), dropout=0.5), lambda cycle: 3.0)
    fed, asked = stepwise.stepwise(lrn, samples, samples, jax.random.key(1)), []
    watched = fed._replace(
        learn=lambda *args: asked.append("learn") or fed.learn(*args),
        total=lambda *args: asked.append("total") or fed.total(*args),
    )
    model = lrn.init(jax.random.key(0), image[:1])
    model = model._replace(params=jax.tree.map(jnp.zeros_like, model.params))
    policy = verify_revisit.verify_revisit(threshold=0.0)
    before = types.Travel(model, policy.init(40, fed.total("confusion", model)))
    patient = int(np.flatnonzero(label)[0])
    ids = [40, patient, 40, 40, 40]
    after, info = policy.visit(watched, before, one_stop(6, ids, 40))
    info = jax.tree.map(lambda x: x[0], info)
    assert asked == ["learn", "total"]
    assert info.kind.tolist() == [types.BATCH, types.COPIED, 0, 0, 0, 0, 0]
    again, (loss,) = fed.learn(model, one_stop(6, ids[1:2], 40))
    for row in range(2):
        one = jax.tree.map(lambda x: x[row], info)  # noqa: B023
        assert one.confusion.tolist() == fed.total("confusion", again).tolist()
        assert int(one.confusion[0, 1]) > int(one.reference[0, 1]) and not one.accepted
        assert float(one.loss) == pytest.approx(float(loss), rel=1e-6)
        assert one.ids.tolist() == ids and one.allowed == 0
    assert np.flatnonzero(after.state.suspected == 6).tolist() == [patient]
    assert int(after.state.lone) == 1 and after.state.verdict[patient] == 6
    more = int(info.confusion[0, 0, 1]) - int(info.reference[0, 0, 1])
    assert float(after.state.harm[patient]) == pytest.approx(more / (label == 0).sum())


@pytest.mark.parametrize("threshold", [2, -0.01, float("nan")])
def test_a_threshold_that_is_no_fraction_is_refused(threshold):
    with pytest.raises(ValueError, match="policy.verify_revisit.threshold"):
        verify_revisit.verify_revisit(threshold=threshold)


def test_a_rejected_update_restores_everything_bit_for_bit():
    """Parameters, batch statistics and optimiser state, and the reference counts."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(30, 8, 8, 1)).astype(np.float32)
    label = (image.mean((1, 2, 3)) > 0).astype(np.int32)
    samples = types.Samples(image, label, np.zeros(30, np.int32), np.arange(30, dtype=np.uint32))
    wrong = samples._replace(label=1 - label)
    lrn = learner.learner(models.get("cnn2d")(norm="batch"), lambda cycle: 0.01)
    model = lrn.init(jax.random.key(0), image[:1])
    good = memory.memory(lrn, samples, samples, jax.random.key(1))
    learn = jax.jit(good.learn)
    for start in range(0, 30, 5):
        model, _ = learn(model, one_stop(0, range(start, start + 5), 30))
    bad = memory.memory(
        learner.learner(models.get("cnn2d")(norm="batch"), lambda cycle: 3.0),
        wrong,
        samples,
        jax.random.key(1),
    )
    policy = verify_revisit.verify_revisit()
    state = policy.init(30, jax.device_get(bad.total("confusion", model)))
    before = types.Travel(model, state)
    leg = one_stop(1, [3, 4, 30, 30, 30], 30)
    after, info = jax.jit(lambda travel: policy.visit(bad, travel, leg))(before)
    info = jax.tree.map(lambda x: x[0], info)
    assert info.kind.tolist() == [types.BATCH, 0, types.SINGLE, types.SINGLE, 0, 0, 0]
    assert not info.accepted[:4].any()
    for x, y in zip(jax.tree.leaves(after.model), jax.tree.leaves(model), strict=True):
        assert np.array_equal(x, y)
    assert after.model.batch_stats and len(jax.tree.leaves(after.model.opt_state)) > 1
    assert after.state.reference.tolist() == state.reference.tolist()
    assert np.flatnonzero(after.state.suspected == 1).tolist() == [3, 4]
