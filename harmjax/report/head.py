"""The top of a run's page: what was run, the verdict in words, and the numbers that matter."""

import math

import numpy as np
from scipy import stats

from harmjax import offers, types
from harmjax.report import markup, results

POLICIES = {
    "none": "no quality control",
    "oracle": "the oracle, which knows what was planted",
}


def head(study, found: results.Results, images: bool) -> markup.Html:
    """Title, verdict, tiles, facts and the note on privacy."""
    policy = results.setting(found, "policy.name", "unknown policy")
    return markup.join(
        markup.element("p", "harmjax · report of one run", class_="muted"),
        markup.element("h1", f"{found.workdir.resolve().name}: {policy}"),
        markup.element("p", verdict(study, found), class_="lead"),
        _tiles(study, found),
        _facts(study, found),
        _privacy(found, images),
    )


def verdict(study, found: results.Results) -> str:
    """What was found and what the delivered model does, in whole sentences."""
    harm, policy = found.harm, results.setting(found, "policy.name", "")
    total = len(harm.subject)
    gone, waiting = harm.verdict == "eliminated", harm.verdict == "pending"
    if policy == "none":
        words = [f"Without quality control all {total} training samples were trained on."]
    elif policy == "oracle":
        words = [f"The oracle left out {gone.sum()} of {total} training samples."]
    elif not gone.any() and not waiting.any():
        words = [f"None of {total} training samples was found harmful."]
    else:
        words = [f"{gone.sum()} of {total} training samples {_was(gone.sum())} eliminated and "
                 f"{waiting.sum()} {_is(waiting.sum())} pending."]  # fmt: skip
    if harm.simulated:
        words.append(_truth(harm, gone, waiting))
    told = int((study.word != offers.OPEN).sum())
    if told:
        words.append(f"A person's word decided about {told} samples.")
    rows = [row for row in results.last(found) if row["group"] == "all"]
    if rows:
        words.append(_errors(study, found, rows[0]))
    return " ".join(words)


def _truth(harm, gone, waiting) -> str:
    planted, good = int(harm.corrupted.sum()), int((~harm.corrupted).sum())
    hits = int((harm.corrupted & gone).sum())
    open_ = int((harm.corrupted & waiting).sum())
    wrong = int((~harm.corrupted & gone).sum())
    return (
        f"Of {planted} planted harmful samples {hits} {_was(hits)} found and eliminated, {open_} "
        f"{_is(open_)} pending and {planted - hits - open_} missed; {wrong} of {good} good samples "
        f"{_was(wrong)} wrongly eliminated."
    )


def _errors(study, found, row) -> str:
    number = np.bincount(study.test.label, minlength=len(found.classes)).tolist()
    rates = [results.number(row[kind.name]) for kind in found.kinds]
    model = "The delivered model"
    if found.delivered:
        model = "The delivered model, retrained on what is left,"
    if found.classes == types.BINARY:
        alarms, overlooked = map(_share, rates, number, ("controls", "patients"))
        return f"{model} calls {alarms} ill and overlooks {overlooked} on untouched test scans."
    wrong = _share(1 - results.number(row["accuracy"]), sum(number), "untouched test scans")
    worst = _worst(rates)
    if worst is None or not rates[worst]:
        return f"{model} misdiagnoses {wrong}."
    most = _share(rates[worst], number[worst], "scans")
    return f"{model} misdiagnoses {wrong}, most often {found.classes[worst]}: {most}."


def _worst(rates) -> int | None:
    """The class with the highest error rate, None where none is known."""
    known = [k for k, rate in enumerate(rates) if math.isfinite(rate)]
    return max(known, key=rates.__getitem__, default=None)


def _share(rate, of, what) -> str:
    if not of:
        return f"none of no {what}"
    if math.isnan(rate):
        return f"an unknown number of {of} {what}"
    count = round(rate * of)
    return f"{count} of {of} {what} ({rate:.1%}, 95% interval {interval(count, of)})"


def interval(count: int, of: int) -> str:
    """Wilson's 95% interval of a proportion, in percent.

    Example:
        >>> interval(0, 10)
        '0 to 28%'
    """
    low, high = stats.binomtest(count, of).proportion_ci(method="wilson")
    return f"{100 * low:.0f} to {100 * high:.0f}%"


def _tiles(study, found) -> markup.Html:
    harm = found.harm
    gone, waiting = (int((harm.verdict == v).sum()) for v in ("eliminated", "pending"))
    tiles: list[tuple] = [(gone, f"eliminated of {len(harm.subject)}"), (waiting, "pending")]
    if harm.simulated:
        hits = int((harm.corrupted & (harm.verdict == "eliminated")).sum())
        tiles[1:] = [
            (f"{hits} of {int(harm.corrupted.sum())}", "planted harmful samples eliminated"),
            (gone - hits, "good samples wrongly eliminated"),
            (waiting, "pending"),
        ]
    for row in results.last(found):
        if row["group"] == "all":
            tiles += _misdiagnosis(found, row)
            tiles.append((_plain(row["auroc"]), "AUROC, test"))
    spent = per_image_and_cycle(found, len(study.names), ("control",))
    if spent is not None:
        tiles.append((f"{spent:.3g}", "forward-equivalents per training image and cycle"))
    made = [
        markup.element("div", markup.element("b", n), markup.element("span", what), class_="tile")
        for n, what in tiles
    ]
    return markup.element("div", made, class_="tiles")


def _misdiagnosis(found, row) -> list[tuple[str, str]]:
    if len(found.classes) == 2:
        return [(_rate(row[kind.name]), f"{kind.title.lower()}, test") for kind in found.kinds]
    tiles = [(_rate(row["balanced_accuracy"]), "balanced accuracy, test")]
    worst = _worst([results.number(row[kind.name]) for kind in found.kinds])
    if worst is not None:
        name = found.classes[worst]
        tiles.append((_rate(row[f"sensitivity_{name}"]), f"lowest sensitivity, test: {name}"))
    return tiles


def per_image_and_cycle(found, num_samples, phases) -> float | None:
    """Forward-equivalents per training image and cycle of some phases; None if none was run."""
    entries = [entry for entry in found.cost if entry["phase"] in phases]
    if not entries or not num_samples:
        return None
    return sum(map(results.equivalents, entries)) / num_samples / len(entries)


def _facts(study, found) -> markup.Html:
    def of(name, default="–"):
        return results.setting(found, name, default)

    name = of("policy.name", "unknown")
    settings = of(f"policy.{name}", {})
    told = {k: v for k, v in settings.items() if v not in ([], {})}  # not given: the defaults
    words = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in told.items())
    facts = {
        "policy": POLICIES.get(name, f"{name} ({words})" if words else name),
        "training": f"{of('train.topology')}, {of('model.name')}, width {of('model.width')}",
        "centres": len(study.centres),
        "samples": f"{len(study.names)} for training, {len(study.verification.label)} held out for "
        f"verification, {len(study.test.label)} for the test",
        "cycles": f"{of('train.cycles')}, the first {of('train.warmup_cycles')} as warm-up",
        "simulated harm": _planted(of("scenario", {})) if study.simulated else "none",
        "seed": of("seed"),
    }
    pairs = [(markup.element("dt", k), markup.element("dd", v)) for k, v in facts.items()]
    return markup.element("dl", pairs)


def _planted(scenario) -> str:
    harms = scenario.get("harm", ())
    harms = [harms] if isinstance(harms, str) else harms
    return f"{scenario.get('name', 'yes')}: {', '.join(harms)}, count {scenario.get('count', '–')}"


def _privacy(found, images) -> markup.Html:
    names = "Their names in the study and their harm scores are still on this page."
    text = f"Privacy: written without scans and features of single people. {names}"
    if images and not np.isin(found.harm.verdict, ("eliminated", "pending")).any():
        text = "Privacy: no scan had to be shown. Numbers of small centres can still say much."
    elif images:
        text = (
            "Privacy: this page shows samples of single people and their names in the study. It is "
            "made for the person who holds these data, or for a simulation. Do not pass it on; "
            "write it without images for anyone else."
        )
    return markup.element("p", text, class_="notice")


def _rate(text) -> str:
    value = results.number(text)
    return "–" if math.isnan(value) else f"{value:.1%}"


def _plain(text) -> str:
    value = results.number(text)
    return "–" if math.isnan(value) else f"{value:.3f}"


def _was(count) -> str:
    return "was" if count == 1 else "were"


def _is(count) -> str:
    return "is" if count == 1 else "are"
