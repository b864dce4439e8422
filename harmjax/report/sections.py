"""The sections of a run's page, in their order."""

import json
import re

import numpy as np

from harmjax import metrics, types
from harmjax.report import curves, head, markup, results, samples, strips

PHASES = {"warmup": "warm-up", "control": "quality control", "delivery": "retraining"}
HOW_IT_DECIDES = {  # by a kind of decision that only such a policy makes
    "batch": "After a stop every centre counts errors on its verification scans. An update that "
    "raises an error rate by more than allowed is rolled back and its samples are tried one at a "
    "time.",
    "suspicion": "Every sample is scored when the model meets it, and its evidence compared with "
    "that of the verification scans of its class. One with a small p-value is set aside, and "
    "eliminated or returned when it is examined.",
}
ABBREVIATED = {
    **{"balanced_accuracy": "balanced accuracy", "f1": "F1"},
    **{name: name.upper() for name in ("auroc", "fpr", "fnr")},
}
BY_CLASS = "The diagnosis is the most probable class; AUROC: each class against all others, mean; "
MOST_REFUSALS = 60
FEW = 30


def errors(found: results.Results) -> markup.Html:
    """Error rates and loss per cycle, on test and on verification scans."""
    keys = [_key("travelled", "o", "the model that travels under quality control")]
    if found.delivered:
        keys.append(_key("delivered", "s", "delivered: retrained on what is left"))
    checks = [*keys, _key("reference", "-", "reference: the last accepted model")]
    checks.append(_key("eliminated", "|", "refused updates, up to the rate they would have had"))
    was_verified = any(row[f"reference_{found.kinds[0].name}"] for row in found.decisions)
    charts = "charts" if len(found.classes) == 2 else "charts four"
    test, held_out = curves.errors(found, "test"), curves.errors(found, "verification")
    return markup.join(
        markup.element("h2", "Errors per cycle"),
        markup.element("h3", "Test scans, never used for a decision"),
        markup.element("ul", keys, class_="legend"),
        markup.element("div", test, class_=charts),
        markup.element("h3", "Verification scans, which decide"),
        markup.element("ul", checks if was_verified else keys, class_="legend"),
        markup.element("div", held_out, class_=charts),
    )


def harm(found: results.Results) -> markup.Html:
    """Harm by centre, in a chart and in a table."""
    scores, chart = found.harm, strips.chart(found)
    unknown = int(np.isnan(scores.harm).sum())
    words = f"All {len(scores.harm)} training samples have a harm score."
    if unknown:
        words = f"{unknown} of {len(scores.harm)} training samples have no harm score"
        if results.setting(found, "policy.name") == "verify_revisit":
            words += ", because only samples that were tried alone get one"
        words += "."
    shapes = [
        _key("kept", "o", "kept"),
        _key("pending", "^", "pending"),
        _key("eliminated", "X", "eliminated"),
    ]
    if scores.corrupted.any():
        shapes.append(_key("ink", "ring", "planted harm"))
    if chart and results.setting(found, "policy.name") == "verify_revisit":
        shapes.append(_key("eliminated", ":", "tolerated rise"))
    return markup.join(
        markup.element("h2", "Harm by centre"),
        markup.element(
            "p",
            "Harm above zero means that including the sample raises misdiagnosis. ",
            words,
            " ",
            strips.remainder(found),
        ),
        [markup.element("ul", shapes, class_="legend"), chart] if chart else None,
        _details("Table of centres", _centres(found)),
    )


def _centres(found) -> markup.Html:
    harm, classes = found.harm, dict(enumerate(found.classes))
    if found.classes == types.BINARY:
        classes = {1: "with disease"}
    header = ["centre", "samples", *classes.values(), "eliminated", "pending", "largest harm"]
    header += ["planted"] if harm.simulated else []
    rows = []
    for name in sorted(set(harm.centre)):
        here = harm.centre == name
        known = harm.harm[here & np.isfinite(harm.harm)]
        row = [name, here.sum(), *((harm.label[here] == k).sum() for k in classes)]
        row += [(here & (harm.verdict == v)).sum() for v in ("eliminated", "pending")]
        row.append(f"{known.max():.3g}" if len(known) else "–")
        rows.append(row + ([(here & harm.corrupted).sum()] if harm.simulated else []))
    return markup.table(header, rows)


def decisions(found: results.Results) -> markup.Html:
    """What was accepted, rolled back, tried alone, revisited and eliminated, per cycle."""
    title = markup.element("h2", "Decisions")
    charts = curves.timeline(found)
    if not charts:
        words = "This policy verified nothing and decided nothing."
        return markup.join(title, markup.element("p", words))
    kinds = {r["kind"] for r in found.decisions}
    refused = [r for r in found.decisions if r["accepted"] == "0"]
    shown = refused[-MOST_REFUSALS:]
    rates = [name for kind in found.kinds for name in (kind.name, f"reference_{kind.name}")]
    rows = [
        [
            *(r["cycle"], r["stop"], r["centre"], r["kind"], r["subjects"].replace(";", ", ")),
            *(_percent(r[name]) for name in rates),
            _percent(r["allowed"]),
            _short(r.get("p_value")),
        ]
        for r in shown
    ]
    header = ["cycle", "stop", "centre", "kind", "samples"]
    header += [word for kind in found.kinds for word in (kind.short, "reference")]
    header += ["allowed rise", "p-value"]
    table = _details(
        f"Refused updates and suspects (showing the latest {len(shown)} of {len(refused)})",
        markup.table(header, rows),
    )
    return markup.join(
        title,
        [markup.element("p", words) for kind, words in HOW_IT_DECIDES.items() if kind in kinds],
        markup.element("div", charts, class_="charts four"),
        table if refused else None,
    )


def suspects(study, found: results.Results, images: bool, most: int) -> markup.Html:
    """Every eliminated or pending sample beside a kept one; in simulations also what was missed."""
    shown = samples.suspects(found.harm, most)
    title = markup.element("h2", "Eliminated and suspected samples")
    if not shown.total:
        return markup.join(title, markup.element("p", "There are none."), _missed(found))
    if not images:
        listed = [_line(found.harm, i) for i in shown.chosen]
        words = f"Left out of this page: the scans or features of {shown.total} samples. Showing "
        words += f"{len(listed)} of {shown.total} by name."
        header = ["sample", "centre", "verdict", "cycle", "harm"]
        return markup.join(
            title, markup.element("p", words), markup.table(header, listed), _missed(found)
        )
    words = f"Showing {len(shown.chosen)} of {shown.total}, eliminated before pending, the most "
    words += "harmful first. "
    is_table = study.train.image.ndim == 2
    return markup.join(
        title,
        markup.element("p", words, _how_to_read(study, found, is_table)),
        samples.cards(study, found, shown.chosen),
        _missed(found),
    )


def _how_to_read(study, found, is_table) -> str:
    if is_table:
        units = ""
        if study.raw is None:
            units = "Values are as the model sees them: standardised, a column per category. "
        return units + (
            "A value stands out in colour beyond 3.5 robust standard deviations from the median of "
            "the samples that its centre keeps; the typical distance is the median one."
        )
    where = "Slices run through the middle of the image."
    if results.setting(found, "data.slices", ()):
        where = "Every slice that the model sees is shown."
    spacing = results.setting(found, "data.spacing", 4.0)
    shades = "0 is black and 255 white"
    if study.train.image.dtype != np.uint8:
        shades = "both pictures of a pair share black and white, at their percentiles 0.5 and 99.5"
    places = "positions in MNI space"
    if results.setting(found, "data.align") == "centre":
        places = "positions in the box that the model sees, which is not registered"
    return (
        f"Each is beside a kept sample. {where} Radiological convention: the person's right (R) is "
        f"on the left of the picture, L is left, A front, P back. Voxels of {spacing:g} mm, "
        f"{places}; {shades}."
    )


def _missed(found) -> markup.Html | None:
    shown = samples.missed(found.harm, MOST_REFUSALS)
    if not shown.total:
        return None
    rows = [[*_line(found.harm, i), found.harm.kind[i]] for i in shown.chosen]
    header = ["sample", "centre", "verdict", "cycle", "harm", "planted"]
    summary = f"Planted and kept (showing {len(rows)} of {shown.total})"
    return _details(summary, markup.table(header, rows))


def _line(harm, i) -> list:
    cycle = f"{harm.cycle[i]:.0f}" if np.isfinite(harm.cycle[i]) else "–"
    score = f"{harm.harm[i]:.3g}" if np.isfinite(harm.harm[i]) else "–"
    return [harm.subject[i], harm.centre[i], harm.verdict[i], cycle, score]


def subgroups(found: results.Results) -> markup.Html:
    """The delivered model on the test scans, overall and by subgroup."""
    rows, names = results.last(found), metrics.names(found.classes)[1:]
    header = ["group", "scans", *map(_metric, names)]
    cells = [[r["group"], r["n"], *(_three(r[name]) for name in names)] for r in rows]
    few = [r["group"] for r in rows if int(r["n"]) < FEW]
    note = f"Fewer than {FEW} scans: {', '.join(few)}. " if few else ""
    note += "Threshold 0.5; " if len(found.classes) == 2 else BY_CLASS
    note += "loss in nats; – where a class is missing."
    return markup.join(
        markup.element("h2", "Subgroups: the delivered model on the test scans"),
        markup.table(header, cells) if rows else markup.element("p", "It was not measured."),
        markup.element("p", note, class_="note"),
    )


def _metric(name) -> str:
    """The name of a metric in the head of a table."""
    return ABBREVIATED.get(name) or re.sub("^sensitivity_", "sensitivity: ", name)


def left_out(study) -> markup.Html:
    """Scans and centres of the manifest that the run did not use, with the reasons."""
    header = ["row", "subject", "place", "reason"]
    rows = [[p.row or "–", p.subject or "–", p.place, p.what] for p in study.problems]
    words = f"Rows, files and centres of the manifest that were not used: {len(rows)}."
    return markup.join(
        markup.element("h2", "Left out"),
        markup.element("p", words if rows else "Nothing of the manifest was left out."),
        _details("Who and why", markup.table(header, rows)) if rows else None,
    )


def cost(study, found: results.Results) -> markup.Html:
    """What was computed and sent, by phase."""
    rows = []
    for phase in dict.fromkeys(entry["phase"] for entry in found.cost):
        entries = [entry for entry in found.cost if entry["phase"] == phase]
        made = [
            sum(results.passes(entry, kind) for entry in entries)
            for kind in ("gradient", "forward", "jvp")
        ]
        sent, seconds = (
            sum(entry.get(key, 0) for entry in entries for key in keys)
            for keys in (("model_bytes", "count_bytes", "score_bytes"), ("seconds",))
        )
        each = head.per_image_and_cycle(found, len(study.names), (phase,))
        rows.append(
            [
                PHASES.get(phase, phase),
                len(entries),
                *(f"{n:,}" for n in made),
                f"{sum(map(results.equivalents, entries)):,}",
                f"{each:.4g}",
                f"{sent / 1e6:,.1f}",
                f"{seconds:,.1f}",
            ]
        )
    header = ["phase", "cycles", "gradient", "forward", "jvp", "forward-equivalents"]
    header += ["per image and cycle", "MB left centres", "seconds"]
    note = "Passes in samples. A gradient counts as three forward passes and a jvp as two."
    return markup.join(
        markup.element("h2", "Cost"),
        markup.table(header, rows) if rows else markup.element("p", "No cost was recorded."),
        markup.element("p", note, class_="note") if rows else None,
    )


def settings(found: results.Results) -> markup.Html:
    """Versions, devices and the whole config, folded away."""
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    text = json.dumps(found.config, indent=1)
    return markup.join(
        markup.element("h2", "Settings"),
        markup.element("p", f"{versions or 'versions unknown'}; {', '.join(found.devices)}"),
        _details("The config of this run", markup.element("pre", text, class_="scroll")),
    )


def _percent(text) -> str:
    value = results.number(text)
    return f"{value:.1%}" if np.isfinite(value) else "–"


def _short(text) -> str:
    value = results.number(text)
    return f"{value:.2g}" if np.isfinite(value) else "–"


def _three(text) -> str:
    value = results.number(text)
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _details(summary, *inside) -> markup.Html:
    return markup.element("details", markup.element("summary", summary), inside)


def _key(colour, mark, text) -> markup.Html:
    """One entry of a legend: a mark as the charts draw it, and what it stands for."""
    paint = dict(fill=f"var(--{colour})")
    stroke = dict(stroke=f"var(--{colour})", stroke_width=2, fill="none")
    line = markup.element("path", d="M1 6H21", **stroke)
    marks = {
        "o": [line, markup.element("circle", cx=11, cy=6, r=3.4, **paint)],
        "s": [line, markup.element("rect", x=8, y=3, width=6, height=6, **paint)],
        "-": [line],
        "|": [markup.element("path", d="M5 11V3M11 11V1M17 11V6", **stroke)],
        ":": [markup.element("path", d="M11 0V12", stroke_dasharray="3 2", **stroke)],
        "^": [markup.element("path", d="M11 1L16.5 11H5.5Z", **paint)],
        "X": [markup.element("path", d="M6.5 1.5L15.5 10.5M15.5 1.5L6.5 10.5",
                             **(stroke | dict(stroke_width=3)))],
        "ring": [markup.element("circle", cx=11, cy=6, r=4.8, **(stroke | dict(stroke_width=1.3)))],
    }  # fmt: skip
    if colour == "kept":
        marks["o"] = marks["o"][1:]
    picture = markup.element("svg", marks[mark], viewBox="0 0 22 12", aria_hidden="true")
    return markup.element("li", picture, text)
