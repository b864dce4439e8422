"""The published procedure: every decision of a run, and every quirk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import learner, models, training, types
from harmjax.federations import memory
from harmjax.policies import verify_revisit
from tests import conftest, replay

QUIRKS = {
    "sound": {},
    "swapped": {"policy.verify_revisit.swap_denominators": True},
    "dropped": {"train.drop_remainders": True},
    "on_test": {"data.verify_on": "test"},
    "restarted": {"train.restart_schedule": 1},
    "sooner": {"policy.verify_revisit.revisit_after": 1},
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_every_decision_follows_from_the_recorded_counts(patients, tmp_path, quirk):
    patients.update_from_flattened_dict(QUIRKS[quirk])
    training.train(patients, tmp_path / "run", progress=False)
    decisions = replay.read(tmp_path / "run" / "decisions.csv")
    harm_rows = replay.read(tmp_path / "run" / "harm.csv")
    published = patients.policy.verify_revisit
    eliminated, pending, harm, events = replay.replay(
        decisions,
        {row["subject"]: row["centre"] for row in harm_rows},
        threshold=published.threshold,
        revisit_after=published.revisit_after,
        swapped=published.swap_denominators,
        drop=patients.train.drop_remainders,
    )
    assert min(events["rejected"], events["single"], events["revisit"]) > 0
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
    assert controlled.metrics.loss < dirty.metrics.loss


def counts(tp, fp, tn, fn):
    return types.Counts(*(jnp.int32(c) for c in (tp, fp, tn, fn)))


def test_allowed_errors_are_integers_of_the_published_cohort():
    state = verify_revisit.verify_revisit().init(3, counts(tp=187, fp=20, tn=200, fn=0))
    assert state.allowed.tolist() == [[0, 4, 8, 13, 17, 22], [0, 3, 7, 11, 14, 18]]
    swapped = verify_revisit.verify_revisit(swap_denominators=True)
    state = swapped.init(3, counts(tp=187, fp=20, tn=200, fn=0))
    assert state.allowed.tolist() == [[0, 3, 7, 11, 14, 18], [0, 4, 8, 13, 17, 22]]


def test_exactly_on_the_threshold_is_accepted():
    allowed = verify_revisit.verify_revisit(threshold=0.02).init(1, counts(50, 0, 50, 0)).allowed
    assert allowed[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_verification_without_a_class_is_refused():
    with pytest.raises(ValueError, match="0 negative, 5 positive"):
        verify_revisit.verify_revisit().init(3, counts(5, 0, 0, 0))


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
    for start in range(0, 30, 5):
        stop = types.Stop(jnp.int32(0), jnp.int32(0), jnp.arange(start, start + 5))
        model, _ = jax.jit(good.learn)(model, stop, jnp.ones(5))
    bad = memory.memory(
        learner.learner(models.get("cnn2d")(norm="batch"), lambda cycle: 3.0),
        wrong,
        samples,
        jax.random.key(1),
    )
    policy = verify_revisit.verify_revisit()
    state = policy.init(30, jax.device_get(bad.total("counts", model)))
    before = types.Travel(model, state)
    stop = types.Stop(jnp.int32(1), jnp.int32(0), jnp.array([3, 4, 30, 30, 30], jnp.int32))
    after, trail = jax.jit(lambda travel: policy.visit(bad, travel, stop))(before)
    assert trail.kind.tolist() == [types.BATCH, types.SINGLE, types.SINGLE, 0, 0, 0]
    assert not trail.accepted[:3].any()
    for x, y in zip(jax.tree.leaves(after.model), jax.tree.leaves(model), strict=True):
        assert np.array_equal(x, y)
    assert after.model.batch_stats and len(jax.tree.leaves(after.model.opt_state)) > 1
    assert jax.tree.map(int, after.state.reference) == jax.tree.map(int, state.reference)
    assert np.flatnonzero(after.state.suspected == 1).tolist() == [3, 4]
