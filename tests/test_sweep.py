"""Settings, sweeps of whole runs, and the choice of the best."""

import subprocess
import sys

import numpy as np
import pytest

from configs import sweep as example
from harmjax import defaults, metrics, tables
from harmjax.report import sweep as comparison
from harmjax.runs import delivered, phases, prediction, preparation, recorded, training
from harmjax.sweeps import hyper, jobs, mapped, sweep
from tests import test_training

SETTINGS = hyper.product(
    [
        hyper.sweep("train.learning_rate", [0.1]),
        hyper.fixed("policy.name", "oracle"),
        hyper.sweep("seed", [0, 1]),
    ]
)


def test_products_and_pairs_by_hand():
    both = hyper.product(
        [hyper.sweep("a", np.array([1, 2])), hyper.fixed("b", "x"), hyper.sweep("c.d", [0.5, None])]
    )
    assert both == [
        {"a": 1, "b": "x", "c.d": 0.5},
        {"a": 1, "b": "x", "c.d": None},
        {"a": 2, "b": "x", "c.d": 0.5},
        {"a": 2, "b": "x", "c.d": None},
    ]
    assert type(both[0]["a"]) is int
    pairs = hyper.zipit([hyper.sweep("a", [1, 2]), hyper.sweep("b", [3, 4]), hyper.fixed("c", 5)])
    assert pairs == [{"a": 1, "b": 3, "c": 5}, {"a": 2, "b": 4, "c": 5}]
    nested = hyper.product([pairs, hyper.fixed("d", 6)])
    assert nested == [{**pair, "d": 6} for pair in pairs]


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda: hyper.sweep("seed", []), "sweep.'seed'. has no values"),
        (lambda: hyper.sweep("seed", [1, 2, 1]), "lists 1 twice"),
        (lambda: hyper.sweep("policy.name", "none"), "as a list"),
        (lambda: hyper.product([]), "product of nothing"),
        (lambda: hyper.product([hyper.fixed("a", 1), []]), "part 1 of product"),
        (lambda: hyper.product([{"a": 1}]), "part 0 of product"),
        (lambda: hyper.product([hyper.fixed("a", 1), hyper.sweep("a", [2])]), "'a' in two"),
        (
            lambda: hyper.zipit([hyper.sweep("a", [1, 2]), hyper.sweep("b", [1, 2, 3])]),
            "one length, got a: 2, b: 3",
        ),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


@pytest.mark.parametrize(
    "setting, words",
    [
        ({"train.learnin_rate": 1.0}, "did you mean 'train.learning_rate'"),
        ({"learning_rate": 1.0}, "did you mean 'train.learning_rate'"),
        ({"config.seed": 1}, "did you mean 'seed'"),
        ({"policy.verify_revisit.treshold": 0.1}, "'policy.verify_revisit.threshold'"),
        ({"seed": 1.5}, "seed=1.5: need type int"),
        ({"model.name": "sfnc"}, "did you mean 'sfcn'"),
        ({"policy.name": "verify"}, "known: none, oracle"),
    ],
)
def test_settings_are_checked_before_any_run(patients, tmp_path, setting, words):
    settings = [{"seed": 0}, {"seed": 1} | setting]
    with pytest.raises(ValueError, match=words):
        run(patients, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_same_setting_twice_and_no_setting(patients, tmp_path):
    with pytest.raises(ValueError, match="seed=0 twice"):
        run(patients, tmp_path, [{"seed": 0}, {"seed": 0}])
    with pytest.raises(ValueError, match="gives nothing"):
        run(patients, tmp_path, [])


def test_applied_settings_leave_the_config_alone():
    config = defaults.get_config()
    one = hyper.applied(config, {"train.learning_rate": 1, "scenario.harm": ["noise"]})
    assert one.train.learning_rate == 1.0 and one.scenario.harm == ("noise",)
    assert config.train.learning_rate == 1e-4 and config.scenario.harm == ("inversion",)


def test_folders_are_readable_short_and_distinct():
    names = [
        sweep.folder_name(setting)
        for setting in (
            {"policy.name": "none", "model.name": "mlp"},
            {"data.manifest": "/a/b.csv"},
            {"data.manifest": "/a_b.csv"},
            {"scenario.harm": ("noise",) * 40},
        )
    ]
    assert names[0] == "model.name=mlp,policy.name=none"
    assert len(set(names)) == 4 and all("/" not in n and len(n) < 120 for n in names)


def test_runs_share_what_does_not_differ(patients, tmp_path):
    def share(**changed):
        configs = [patients, hyper.applied(patients, {k.replace("__", "."): v
                                                      for k, v in changed.items()})]  # fmt: skip
        _, second = jobs.planned(configs, [tmp_path / "one", tmp_path / "two"])
        return second.home.name, second.warmup and second.warmup.name

    assert share(policy__name="none") == ("one", "one")
    assert share(policy__verify_revisit__threshold=0.1) == ("one", "one")
    assert share(seed=1) == share(train__warmup_on="as_is") == ("one", None)
    assert share(data__split_seed=1) == share(scenario__seed=1) == ("two", None)
    patients.train.cycles = 2
    assert share(policy__name="none") == ("one", None), "the warm-up is all there is to train"


def run(config, workdir, settings=SETTINGS):
    return sweep.sweep(
        config, settings, workdir, progress=False,
        say=lambda _: None, finished=lambda *_: None,
    )  # fmt: skip


def test_finished_runs_are_skipped_and_a_killed_one_resumes(patients, tmp_path, monkeypatch):
    patients.train.warmup_cycles, patients.train.cycles = 1, 3
    patients.scenario.name, patients.scenario.harm = "singles", ("label_flip",)
    whole = run(patients, tmp_path / "whole")
    trained, prepared = [], []
    with monkeypatch.context() as patch:
        counted(patch, training, "train", trained)
        counted(patch, preparation, "prepare", prepared)
        with patch.context() as kill:
            test_training.killed_at(kill, (phases, "_write_cycle"), 4)
            with pytest.raises(test_training.Killed):
                run(patients, tmp_path / "killed")
        assert len(trained) == 2 and len(prepared) == 1
        assert not (tmp_path / "killed" / "sweep.csv").exists()
        run(patients, tmp_path / "killed")
        assert len(trained) == 3, "only the second run goes on"
        again = run(patients, tmp_path / "killed")
        assert len(trained) == 3 and len(prepared) == 2
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "killed")
    assert whole.header == again.header
    assert repr(run(patients, tmp_path / "whole").rows) == repr(whole.rows), "resumed or not"
    assert [(row["train.learning_rate"], row["seed"]) for row in whole.rows] == [
        *(("0.1", "0"), ("0.1", "1"))
    ]
    delivered = tmp_path / "killed" / again.rows[1]["run"]
    assert len(prediction.predict(delivered, patients.data.manifest).rows) == 123
    assert again.rows[1]["verification_loss"] == pytest.approx(
        verification_loss(patients, delivered, tmp_path), rel=1e-5
    )

    check_mapped(patients, tmp_path, whole, monkeypatch)


def check_mapped(config, tmp_path, looped, monkeypatch):
    """Compares runs side by side with the same runs one after another."""
    monkeypatch.setattr(mapped, "FEWEST", 2)
    monkeypatch.setattr(training, "train", None)
    side_by_side = run(config, tmp_path / "mapped")
    assert repr(run(config, tmp_path / "mapped").rows) == repr(side_by_side.rows), "resumed or not"
    for one, two in zip(looped.rows, side_by_side.rows, strict=True):
        for name in set(looped.header) - {"seconds"}:
            if isinstance(one[name], str):
                assert two[name] == one[name], name
            else:
                assert two[name] == pytest.approx(one[name], rel=1e-4, nan_ok=True), name
    folders = [tmp_path / name / looped.rows[0]["run"] for name in ("whole", "mapped")]
    one, two = (tables.read(folder / "metrics.csv") for folder in folders)
    assert [row["group"] for row in one] == [row["group"] for row in two]
    one, two = (prediction.predict(folder, config.data.manifest).rows for folder in folders)
    assert [row[3] for row in one] == pytest.approx([row[3] for row in two], abs=1e-4)


def test_which_runs_are_mapped_together():
    config = example.get_config()

    def ask(*settings, families=None):
        configs = [hyper.applied(config, setting) for setting in settings]
        return mapped.groups(configs, families or range(len(configs)))

    seeds = hyper.sweep("seed", range(4))
    assert ask(*seeds) == [[0, 1, 2, 3]] and ask(*seeds[:3]) == []
    other = hyper.product([hyper.fixed("train.batch_size", 4), seeds])
    assert ask(*seeds, *other) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    rates = hyper.sweep("train.learning_rate", np.linspace(0.1, 0.2, 100))
    assert [len(group) for group in ask(*rates)] == [50, 50]
    verified = hyper.product([hyper.fixed("policy.name", "verify_revisit"), seeds[:1]])
    assert ask(*seeds, *verified) == [[0, 1, 2, 3]]
    assert ask(*seeds, *verified, families=(0, 1, 2, 3, 0)) == [], "one warm-up for both"
    config.data.features = ()
    assert ask(*seeds) == []


def counted(patch, module, name, calls):
    real = getattr(module, name)

    def counting(*args, **kwargs):
        calls.append(name)
        return real(*args, **kwargs)

    patch.setattr(module, name, counting)


def timeless(workdir):
    return [row | {"seconds": ""} for row in tables.read(workdir / "sweep.csv")]


def verification_loss(config, workdir, scratch):
    """Of the delivered model, measured anew."""
    study = preparation.prepare(config, scratch, progress=False)
    image = study.verification.image[:1]
    learner, model = delivered.model(workdir, recorded.config(workdir), image)
    logits = np.asarray(learner.logits(model, study.verification.image))
    return metrics.metrics(logits, study.verification.label)["loss"]


def test_policies_start_from_one_warm_up_and_report_what_they_found(patients, tmp_path):
    patients.scenario.name, patients.scenario.harm = "singles", ("label_flip",)
    patients.train.warmup_cycles, patients.train.cycles = 1, 2
    table = run(patients, tmp_path, hyper.sweep("policy.name", ["oracle", "none"]))
    oracle, none = table.rows
    assert (oracle["planted"], oracle["hits"], oracle["wrongly_eliminated"]) == (1, 1, 0)
    assert (none["planted"], none["hits"], none["eliminated"]) == (1, 0, 0)
    assert none["forward_equivalents"] == 3 * 43, "one cycle over 43 patients"
    assert list(tmp_path.glob("*/checkpoints/warmup_*")) == [
        tmp_path / "name=oracle" / "checkpoints" / "warmup_0000"
    ]


def test_a_run_that_diverges_is_told_and_the_others_go_on(patients, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "FEWEST", 2)
    patients.policy.name = "none"
    patients.train.warmup_cycles, patients.train.cycles = 1, 2
    table = run(patients, tmp_path, hyper.sweep("train.learning_rate", [1e30, 0.1]))
    assert [bool(row["problem"]) for row in table.rows] == [True, False]
    said = sweep.summary(table, ("seed",), "loss", tmp_path)
    assert "learning_rate=1e+30: the loss or the updated model is not finite" in said
    assert "best by verification loss: train.learning_rate=0.1" in said


def by_hand():
    """Two rates, two seeds: 0.1 is best by loss, 0.2 by AUROC and on the test scans."""
    values = {"0.1": ((0.4, 0.7, 0.5), (0.5, 0.8, 0.6)), "0.2": ((0.2, 0.9, 0.9), (0.8, 0.8, 0.9))}
    values["0.3"] = ((0.1, 0.99, 0.99), (None, None, None))
    keys = ("train.learning_rate", "seed")
    header = (*keys, *jobs.columns(defaults.get_config()), "run")
    rows = []
    for rate, seeds in values.items():
        for seed, (loss, auroc, test) in enumerate(seeds):
            known = {"train.learning_rate": rate, "seed": str(seed), "run": f"{rate},{seed}"}
            known |= {"verification_loss": loss, "verification_auroc": auroc, "test_auroc": test}
            known |= {"problem": "" if loss else "not finite"}
            rows.append({name: tables.stored(known.get(name)) for name in header})
    return sweep.Table(header, keys, rows)


def test_best_setting_by_hand():
    groups = sweep.groups(by_hand(), ("seed",))
    assert [(g.setting, len(g.rows)) for g in groups] == [
        ({"train.learning_rate": rate}, 2) for rate in ("0.1", "0.2", "0.3")
    ]
    by_loss, by_auroc = (sweep.best(groups, name) for name in ("loss", "auroc"))
    assert by_loss.setting == {"train.learning_rate": "0.1"}
    assert by_auroc.setting == {"train.learning_rate": "0.2"}
    assert sweep.best_run(by_loss, "loss")["run"] == "0.1,0"
    assert sweep.best_run(by_auroc, "auroc")["run"] == "0.2,0"
    said = sweep.summary(by_hand(), ("seed",), "loss", "runs/x")
    assert "verification loss 0.45 ± 0.071, test auroc 0.55 ± 0.071" in said
    assert "over 2 runs that differ in seed" in said and "its best run: runs/x/0.1,0" in said
    nothing = sweep.Table(by_hand().header, by_hand().keys, by_hand().rows[-1:])
    assert "no best setting" in sweep.summary(nothing, ("seed",), "loss", "runs/x")


@pytest.mark.parametrize("replicates", [("seed",), ("train.learning_rate",), ()])
def test_page_and_picture(tmp_path, replicates):
    page = comparison.write(tmp_path, by_hand(), replicates, "loss").read_text()
    assert "6 runs under" in page and (tmp_path / "sweep.png").stat().st_size > 10_000
    if replicates == ("seed",):
        assert "Best by mean verification loss: train.learning_rate = 0.1" in page


def test_worked_example_lists_settings_of_its_config():
    config, settings = example.get_config(), example.get_hyper(hyper)
    planned = jobs.planned(
        [hyper.applied(config, setting) for setting in settings], map(sweep.folder_name, settings)
    )
    assert len({job.workdir for job in planned}) == 12 and len({job.home for job in planned}) == 1


def test_config_without_settings_is_told_what_to_write(tmp_path):
    command = (sys.executable, "-m", "experiments.sweep", f"--workdir={tmp_path}")
    ended = subprocess.run([*command, "--config=configs/heart.py"], capture_output=True, text=True)
    assert ended.returncode == 2 and "defines no get_hyper(hyper)" in ended.stderr
