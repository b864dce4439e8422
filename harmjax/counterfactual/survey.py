"""A survey of one run: asks what a config asks for, and writes the answers as tables."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from harmjax import metrics, plugins, scorers, tables, task, types, workdirs
from harmjax.counterfactual import bulk, masks, prediction, retraining, rounds, values
from harmjax.runs import preparation, training
from harmjax.scorers import measures

QUESTIONS = ("samples", "centres", "subsets", "permutations", "rounds")
SPLITS = ("verification", "test")
WARM_UP = ("model", "scenario", "seed", "train")  # what it depends on, besides the samples
BY_METHOD = ("method", "rank_correlation", "lds", "auroc")
MOST_SHOWN = 10  # centres in a summary


class Survey(NamedTuple):
    """What was asked, and what came back."""

    study: preparation.Study
    base: np.ndarray  # [N] float32, the mask of the run itself
    whole: dict  # split -> Outcome [C] of the run itself
    masks: dict  # question -> [R, N]
    outcomes: dict  # question -> split -> Outcome [R, C]
    harm: dict  # method -> [N]; 'harm' is that of leaving one out
    followed: rounds.Rounds | None = None  # round by round, where that was asked


def survey(
    config, workdir, *, study=None, progress: bool = True, say: Callable[[str], None] = print
) -> Survey:
    """Runs or resumes all retrainings that `config.counterfactual` asks for.

    The warm-up is trained first, in `workdir/warmup`; every replica starts from it and trains the
    cycles that follow. Writes counterfactual.csv (a row per training sample),
    counterfactual_centres.csv, counterfactual_rounds.csv (a row per cycle and centre),
    prediction.csv (how well each method predicts) and trajectories.npz (losses and confusions after
    every cycle under every mask).

    Args:
        config: See `configs/counterfactual.py`.
        workdir: Of the run; finished retrainings are kept in `workdir/retrained`.
        study: Samples that are at hand already; by default prepared from `config.data`.
        progress: Whether to draw progress bars.
        say: Called with lines of text.

    Raises:
        ValueError: Settings or data that cannot work.
    """
    if "counterfactual" not in config:
        raise ValueError("no group counterfactual: start from configs/counterfactual.py")
    workdir, asked = pathlib.Path(workdir), config.counterfactual
    for question in asked.ask:
        plugins.one_of("counterfactual.ask", question, QUESTIONS)
    if config.train.cycles <= config.train.warmup_cycles:
        raise ValueError(
            f"train.cycles={config.train.cycles} leaves nothing to retrain after "
            f"train.warmup_cycles={config.train.warmup_cycles}"
        )
    if "rounds" in asked.ask and config.train.topology != "federated":
        raise ValueError(
            "counterfactual.ask names 'rounds', of which train.topology="
            f"{config.train.topology!r} has none: use 'federated', or ask for 'centres'"
        )
    study = study or preparation.prepare(config, workdir, progress=progress)
    start = _warm_up(config, workdir / "warmup", study, progress)
    learner = training.build_learner(config)
    train, course = config.train, training.course(config, study, federation="memory")
    again = retraining.retraining(
        learner,
        study.train,
        {"verification": study.verification, "test": study.test},
        course,
        cycles=range(train.warmup_cycles, train.cycles),
    )
    ask = bulk.bulk(
        again,
        replicas=asked.replicas,
        chunk=asked.chunk or None,
        devices=jax.devices()[: asked.devices or None],
        memory=int(asked.memory * 2**30),
        progress=progress,
    )
    found = _asked(config, workdir, study, start, ask, say)
    predicted = _predicted(config, again, start, found, say)
    found = found._replace(harm=found.harm | predicted)
    if "rounds" in asked.ask:
        say(f"rounds: {train.cycles - train.warmup_cycles}, each without every centre")
        followed = rounds.follow(
            again, start, mask=found.base, rescale=asked.rescale,
            replicas=asked.replicas, progress=progress,
        )  # fmt: skip
        found = found._replace(followed=followed)
    _write(workdir, found)
    return found


def _warm_up(config, workdir, study, progress) -> types.Model:
    """The model after the warm-up: a run that ends there, resumable like any other."""
    first = config.copy_and_resolve_references()
    with first.unlocked():
        first.train.cycles = config.train.warmup_cycles
        first.policy.name = "none"
        del first.counterfactual  # it may be asked for other things
    return training.train(first, workdir, study=study, progress=progress).model


def _asked(config, workdir, study, start, ask, say) -> Survey:
    asked, num_samples = config.counterfactual, len(study.names)
    base = 1 - study.drop.astype(np.float32)
    which = {"whole": masks.everything(num_samples) * base}
    if "samples" in asked.ask:
        which["samples"] = masks.leave_one_out(num_samples) * base
    if "centres" in asked.ask:
        which["centres"] = masks.leave_one_centre_out(study.train.centre) * base
    if "subsets" in asked.ask:
        for name, number in (("subsets", asked.subsets), ("unseen", asked.unseen)):
            seed = config.seed + (name == "unseen") * 1_000_003
            drawn = masks.random_subsets(num_samples, number, fraction=asked.fraction, seed=seed)
            which[name] = drawn * base
    outcomes, harm = {}, {}
    for name, these in which.items():
        say(f"{name}: {len(these)} retrainings")
        outcomes[name] = ask(start, these, workdir / "retrained" / name)

    def loss(name):
        return outcomes[name]["verification"].loss[:, -1]

    if "samples" in which:
        harm["harm"] = values.leave_one_out(loss("whole")[0], loss("samples"))
    if "subsets" in which:
        harm["banzhaf"] = values.banzhaf(which["subsets"], loss("subsets"))
        harm["datamodel"] = values.datamodel(which["subsets"], loss("subsets")).harm
    if "permutations" in asked.ask:
        harm["shapley"] = _shapley(config, workdir, base, start, ask, say)
    whole = jax.tree.map(lambda x: x[0], outcomes.pop("whole"))
    del which["whole"]
    return Survey(study, base, whole, which, outcomes, harm)


def _shapley(config, workdir, base, start, ask, say):
    asked, calls = config.counterfactual, []

    def losses(these):
        calls.append(len(these))
        folder = workdir / "retrained" / f"permutations_{len(calls):04d}"
        return ask(start, these * base, folder)["verification"].loss[:, -1]

    found = values.shapley(
        losses,
        len(base),
        permutations=asked.permutations,
        tolerance=asked.tolerance,
        block=asked.block,
        seed=config.seed,
    )
    say(f"permutations: {found.asked} retrainings, median error {np.median(found.error):.2g}")
    return found.harm


def _predicted(config, again, start, found, say) -> dict:
    """Mean harm over cycles by every scorer that is asked for."""
    wanted = config.counterfactual.scorers
    names = scorers.names() if tuple(wanted) == ("all",) else tuple(wanted)
    if names and not again.late:
        say("scorers look at single visits: not asked under train.topology='federated'")
        return {}
    harm = {}
    for name in names:
        asked = measures.measure(name, config.counterfactual.get(name, {}))
        each = prediction.predicted(asked, again, start, mask=found.base)
        with np.errstate(all="ignore"):
            harm[name] = np.asarray(each, float).mean(axis=0)
    return harm


def _write(workdir, found: Survey) -> None:
    study, methods = found.study, [m for m in found.harm if m != "harm"]
    if found.harm:
        header = ["subject", "centre", "label", "harm", "test_harm", *_extra(study.classes)]
        header += [*methods, *(("corrupted", "kind") if study.simulated else ())]
        columns = _effects(found, "samples") + [found.harm[m] for m in methods]
        if study.simulated:
            columns += [study.corrupted.astype(int), study.kind]
        centres = [study.centres[c] for c in study.train.centre]
        rows = zip(study.names, centres, np.asarray(study.train.label), *columns, strict=True)
        tables.write(workdir / "counterfactual.csv", header, [_plain(row) for row in rows])
    if "centres" in found.outcomes:
        present = np.unique(study.train.centre)
        size = np.bincount(study.train.centre)[present]
        columns = [column[present] for column in _effects(found, "centres")]
        header = ["centre", "samples", "harm", "test_harm", *_extra(study.classes)]
        if found.followed is not None:
            header.append("rounds")
            columns.append(by_round(found.followed)[0].mean(axis=0)[present])
        rows = zip([study.centres[c] for c in present], size, *columns, strict=True)
        path = workdir / "counterfactual_centres.csv"
        tables.write(path, header, [_plain(row) for row in rows])
    if found.followed is not None:
        _write_rounds(workdir / "counterfactual_rounds.csv", study, found.followed)
    tables.write(workdir / "prediction.csv", BY_METHOD, comparison(found))
    arrays = {f"{name}_masks": these.astype(np.uint8) for name, these in found.masks.items()}
    for name, outcomes in (found.outcomes | {"whole": found.whole}).items():
        for split, outcome in outcomes.items():
            arrays[f"{name}_{split}_loss"] = outcome.loss
            arrays[f"{name}_{split}_confusion"] = outcome.confusion
    with workdirs.replacing(workdir / "trajectories.npz") as file:
        np.savez_compressed(file, **arrays)


def _write_rounds(path, study: preparation.Study, followed: rounds.Rounds) -> None:
    columns = [followed.samples, followed.share, *by_round(followed)]
    header = ("centre", "cycle", "samples", "share", "harm", "test_harm", *_extra(study.classes))
    rows = [
        _plain([study.centres[c], cycle, *(column[r, c] for column in columns)])
        for r, cycle in enumerate(followed.cycle)
        for c in np.unique(study.train.centre)
    ]
    tables.write(path, header, rows)


def _extra(classes) -> tuple[str, ...]:
    """Columns of the verification errors that a sample adds, by class."""
    names = ("fp", "fn") if len(classes) == 2 else (f"errors_{name}" for name in classes)
    return tuple(f"extra_{name}" for name in names)


def _effects(found: Survey, question) -> list[np.ndarray]:
    """With minus without, of the last cycle, each [R]; see `_compared`."""
    if question not in found.outcomes:
        return [np.full(len(found.base), np.nan)] * (2 + len(found.study.classes))
    last = jax.tree.map(lambda x: x[-1], found.whole)
    return _compared(last, jax.tree.map(lambda x: x[:, -1], found.outcomes[question]))


def by_round(followed: rounds.Rounds) -> list[np.ndarray]:
    """With minus without each centre, of every round, each [R, C]; see `_compared`."""
    whole = jax.tree.map(lambda x: x[:, None], followed.whole)
    return _compared(whole, followed.without)


def _compared(whole, without) -> list[np.ndarray]:
    """With minus without: verification loss, test loss, and verification errors of each class.

    Args:
        whole: Split -> Outcome, of shapes that broadcast against those of `without`.
        without: Split -> Outcome [...].
    """
    loss = [whole[s].loss.astype(float) - without[s].loss for s in SPLITS]
    errors, fewer = (task.errors(of["verification"].confusion) for of in (whole, without))
    return [*loss, *np.moveaxis(errors - fewer, -1, 0)]


def comparison(found: Survey) -> list[list]:
    """Rows of prediction.csv, one per method.

    `rank_correlation` is Spearman's, with the exact harm of leaving one out; `lds` the linear
    datamodelling score on subsets that no method has seen; `auroc` how well the method ranks
    planted harm, in simulations.
    """
    exact, rows = found.harm.get("harm"), []
    for name, harm in found.harm.items():
        used = np.isfinite(harm)
        correlation = lds = auroc = None
        if exact is not None and used.any():
            correlation = values.rank_correlation(harm[used], exact[used])
        if "unseen" in found.outcomes and used.any():
            losses = found.outcomes["unseen"]["verification"].loss[:, -1]
            these = found.masks["unseen"][:, used]
            lds = values.linear_datamodelling_score(harm[used], these, losses)
        if found.study.simulated and used.any():
            auroc = metrics.auroc(harm[used], found.study.corrupted[used])
        rows.append([name, correlation, lds, auroc])
    return rows


def summary(found: Survey) -> str:
    """The comparison of the methods as a table in text, and the centres by the harm of a round."""
    parts = [tables.aligned(BY_METHOD, comparison(found))] if found.harm else []
    if found.followed is not None:
        parts.append(_by_centre(found, found.followed))
    return "\n\n".join(parts)


def _by_centre(found: Survey, followed: rounds.Rounds) -> str:
    study, present = found.study, np.unique(found.study.train.centre)
    harm, test_harm, *_ = (column.mean(axis=0) for column in by_round(followed))
    share = followed.share.mean(axis=0)
    order = present[np.argsort(-harm[present], kind="stable")]
    rows = [_plain([study.centres[c], share[c], harm[c], test_harm[c]]) for c in order[:MOST_SHOWN]]
    text = "a round with minus without the centre, means over cycles, most harmful first"
    if len(order) > len(rows):
        text += f" ({len(rows)} of {len(order)})"
    text += "\n" + tables.aligned(("centre", "share", "harm", "test harm"), rows)
    if "centres" in found.outcomes and len(present) > 1:
        exact = _effects(found, "centres")[0]
        rank = values.rank_correlation(harm[present], exact[present])
        text += f"\nrank correlation with retraining without the centre: {rank:.3g}"
    return text


def _plain(row) -> list:
    return [value.item() if isinstance(value, np.generic) else value for value in row]
