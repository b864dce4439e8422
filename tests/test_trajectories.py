"""Models trained beside the delivered one, together: folds over centres, and the shadow."""

import numpy as np
import pytest

from harmjax import offers, tables
from harmjax.report import page
from harmjax.runs import (
    phases,
    preparation,
    training,
)
from tests import screening, test_training

pytestmark = pytest.mark.filterwarnings("ignore:policy.screen.folds")  # few cycles tell little


def test_a_hospital_that_was_wrong_from_the_start_leaves_every_mask(flipped, tmp_path):
    flipped.policy.screen.folds, flipped.policy.screen.shadow = 4, True
    study = preparation.prepare(flipped, tmp_path / "run", progress=False)
    outcome = training.train(flipped, tmp_path / "run", study=study, progress=False)
    gone = outcome.verdicts.eliminated
    assert len(gone) == 160 and gone[study.corrupted].all()
    assert gone[~study.corrupted].mean() < 0.06
    assert np.array_equal(np.asarray(outcome.mask) == 0, gone | outcome.verdicts.pending)
    rows = tables.read(tmp_path / "run" / "decisions.csv")
    told = [row for row in rows if row["kind"] == "centre"]
    assert len(told) == 40 and {row["centre"] for row in told} == {"C2"}
    assert all(float(row["p_value"]) <= 0.01 for row in told)
    assert {row["cycle"] for row in told} == {"3"}, "before the first examination"
    assert not (tmp_path / "run" / "metrics.csv").exists(), "a shadow's would tell nothing"
    assert [row["cycle"] for row in tables.read(tmp_path / "run" / "delivered.csv")][-1] == "4"
    harm = {row["subject"]: row for row in tables.read(tmp_path / "run" / "harm.csv")}
    assert set(harm) == set(study.names)
    text = page.write(tmp_path / "run", study).read_text(encoding="utf-8")
    assert "40 of 40" in text


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"folds": 2}, "fold0_0000"), ({"folds": 2}, "fold1_0000"), ({"shadow": True}, "warmup_0000")],
)
def test_no_model_beside_meets_whom_a_person_drops(flipped, tmp_path, settings, name):
    """What a dropped scan shows and is called changes nothing; of another one it does."""
    flipped.train.warmup_cycles, flipped.train.cycles = 1, 1
    flipped.policy.screen.update(settings)
    study = preparation.prepare(flipped, tmp_path / "data", progress=False)
    split = "verification" if "shadow" in settings else "train"
    samples, dropped = getattr(study, split), np.arange(len(getattr(study, split).label)) % 9 == 0
    word = np.where(dropped, offers.DROP, offers.OPEN).astype(np.int8)
    study = study._replace(**{"word" if split == "train" else "held_out_word": word})

    def changed(who):
        image = np.where(who[:, None], 5.0, samples.image).astype(np.float32)
        label = np.where(who, 1 - samples.label, samples.label)
        return study._replace(**{split: samples._replace(image=image, label=label)})

    one, two, three = (
        screening.kept(flipped, changed(who), tmp_path / str(i), name)
        for i, who in enumerate((word * 0 < 0, dropped, ~dropped))
    )
    assert all(map(np.array_equal, one, two)) and not all(map(np.array_equal, one, three))


@pytest.mark.parametrize("calls", [2, 7, 10])
def test_a_killed_run_goes_on_with_its_folds_and_its_shadow(flipped, tmp_path, monkeypatch, calls):
    flipped.policy.screen.folds, flipped.policy.screen.shadow = 2, True
    flipped.train.warmup_cycles, flipped.train.cycles = 2, 4
    study = preparation.prepare(flipped, tmp_path / "whole", progress=False)
    whole = training.train(flipped, tmp_path / "whole", study=study, progress=False)
    with monkeypatch.context() as patch:
        test_training.killed_at(patch, (phases, "_write_cycle"), calls)
        with pytest.raises(test_training.Killed):
            training.train(flipped, tmp_path / "killed", study=study, progress=False)
    again = training.train(flipped, tmp_path / "killed", study=study, progress=False)
    assert np.array_equal(whole.verdicts.eliminated, again.verdicts.eliminated)
    for name in ("decisions", "harm", "delivered"):
        one, two = (tmp_path / run / f"{name}.csv" for run in ("whole", "killed"))
        assert one.read_bytes() == two.read_bytes(), name


@pytest.mark.parametrize(
    ("settings", "deliver", "warmup", "match"),
    [
        ({"folds": 1}, "retrain", None, "policy.screen.folds=1: expected 0, or"),
        ({"folds": -2}, "retrain", None, "policy.screen.folds=-2"),
        ({"shadow": True}, "last", None, "train.deliver='last' would deliver the shadow"),
        ({"folds": 2}, "retrain", "other", "warmup=other cannot be shared"),
        ({"shadow": True, "stream": True}, "retrain", None, "train.federation='stream'"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    flipped, tmp_path, settings, deliver, warmup, match
):
    if settings.pop("stream", False):
        flipped.train.federation = "stream"
    flipped.policy.screen.update(settings)
    flipped.train.deliver = deliver
    with pytest.raises(ValueError, match=match):
        training.train(flipped, tmp_path / "run", warmup=warmup, progress=False)
    assert not (tmp_path / "run" / "checkpoints").exists()
