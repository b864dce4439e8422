"""Errors per cycle, and what was decided when."""

import numpy as np

from harmjax.report import drawing, markup, results

OUTCOMES = (  # kind of trial, title, words for accepted and not
    ("batch", "Batches", "accepted", "rolled back"),
    ("single", "Samples tried alone", "accepted", "suspected"),
    ("revisit", "Revisits", "returned", "eliminated"),
    ("suspicion", "Suspicions", "kept", "set aside"),
    ("examination", "Examinations", "returned", "eliminated"),
    ("centre", "Harmful centres' samples", "kept", "eliminated"),
)
SMALL = (280, 190)  # pixels


def errors(found: results.Results, split: str) -> list[markup.Html]:
    """Charts of error rates and loss per cycle on one split, `test` or `verification`.

    A cycle's value stands at its end; verifications lie between the ends of two cycles.
    """
    made = []
    rates = [(kind.name, kind.title) for kind in found.kinds]
    for name, title in (*rates, ("loss", "Loss (nats)")):
        fig, ax = drawing.axes(title=title)
        top = _models(ax, found, split, name)
        if split == "verification" and name != "loss":
            _verifications(ax, found.decisions, name)
        _warm_up(ax, found)
        ax.set_ylim(0, top * 1.25 if top else 1)
        if name != "loss":
            drawing.percent(ax.yaxis)
        ax.set_xlabel("cycle")
        drawing.whole(ax.xaxis)
        described = f"{title} per cycle on the {split} scans"
        made.append(markup.element("figure", drawing.svg(fig, f"{split}-{name}", described)))
    return made


def _models(ax, found, split, name) -> float:
    """Draws the travelled and the delivered model; returns the highest value."""
    cycles, values = results.curve(found.metrics, split, name)
    ax.plot(cycles, values, color=drawing.colour("travelled"), lw=1.6, marker="o", ms=2.6)
    highest = values
    again, retrained = results.curve(found.delivered, split, name)
    if len(again):
        # Retraining starts from the warm-up's model, so its curve does too.
        start = cycles == again[0] - 1
        again = np.concatenate([cycles[start], again])
        retrained = np.concatenate([values[start], retrained])
        ax.plot(again, retrained, color=drawing.colour("delivered"), lw=2, marker="s", ms=3)
        highest = np.concatenate([values, retrained])
    highest = highest[np.isfinite(highest)]
    return float(highest.max()) if len(highest) else 0.0


def _verifications(ax, decisions, name):
    """Draws the reference after every verification, and how far refused updates rose above it."""
    decisions = [row for row in decisions if row["kind"] == "baseline" or row[f"reference_{name}"]]
    if not decisions:
        return
    cycle = results.column(decisions, "cycle")
    rate = results.column(decisions, name)
    accepted = np.array([row["accepted"] == "1" for row in decisions])
    is_baseline = np.array([row["kind"] == "baseline" for row in decisions])
    at = np.empty(len(cycle))
    for c in np.unique(cycle):
        here = (cycle == c) & ~is_baseline
        at[here] = c - 1 + np.arange(1, here.sum() + 1) / max(here.sum(), 1)
    at[is_baseline] = cycle[is_baseline] - 1
    reference = np.where(accepted, rate, results.column(decisions, f"reference_{name}"))
    refused = ~accepted & ~is_baseline
    spikes = np.stack([reference[refused], rate[refused], np.full(refused.sum(), np.nan)], axis=1)
    colour = drawing.colour("eliminated")
    ax.plot(np.repeat(at[refused], 3), spikes.ravel(), color=colour, lw=0.8, alpha=0.55, zorder=1)
    ax.step(at, reference, where="post", color=drawing.colour("reference"), lw=1, zorder=1.5)


def _warm_up(ax, found):
    first = [e["cycle"] for e in found.cost if e["phase"] == "control"]
    warm = [e["cycle"] for e in found.cost if e["phase"] == "warmup"]
    if not warm:
        return
    end = min(first) - 0.5 if first else max(warm) + 0.5
    ax.axvspan(-0.5, end, color=drawing.SHADE, lw=0, zorder=0)
    ax.text(-0.3, 0.985, "warm-up", transform=ax.get_xaxis_transform(), va="top", fontsize=9,
            color=drawing.MUTED)  # fmt: skip
    ax.set_xlim(left=-0.5)


def timeline(found: results.Results) -> list[markup.Html]:
    """Charts of what was decided in each cycle: batches, lone trials, revisits, eliminations."""
    made = []
    for kind, title, yes, no in OUTCOMES:
        rows = [row for row in found.decisions if row["kind"] == kind]
        if rows:
            made.append(_outcomes(found, rows, kind, title, yes, no))
    if (found.harm.verdict == "eliminated").any() and np.isfinite(found.harm.cycle).any():
        made.append(_eliminations(found))
    return made


def _outcomes(found, rows, kind, title, yes, no) -> markup.Html:
    cycle = results.column(rows, "cycle")
    accepted = np.array([row["accepted"] == "1" for row in rows])
    cycles = np.arange(_span(found)[0], _span(found)[1] + 1)
    fig, ax = drawing.axes(*SMALL, title=title)
    up = np.array([(accepted & (cycle == c)).sum() for c in cycles])
    down = np.array([(~accepted & (cycle == c)).sum() for c in cycles])
    ax.bar(cycles, up, 0.7, color=drawing.colour("kept"))
    ax.bar(cycles, -down, 0.7, color=drawing.colour("eliminated"))
    ax.axhline(0, color=drawing.MUTED, lw=0.8)
    room = max(up.max(), down.max(), 1)
    ax.set_ylim(-1.1 * max(down.max(), 0.02 * room), 1.1 * max(up.max(), 0.02 * room))
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    drawing.whole(ax.yaxis)
    _cycles(ax, found)
    words = [(f"{up.sum()} {yes}", "kept"), (f"{down.sum()} {no}", "eliminated")]
    return _captioned(fig, f"decided-{kind}", f"{title} per cycle", words)


def _eliminations(found) -> markup.Html:
    harm = found.harm
    gone = (harm.verdict == "eliminated") & np.isfinite(harm.cycle)
    cycles = np.arange(_span(found)[0] - 1, _span(found)[1] + 1)
    fig, ax = drawing.axes(*SMALL, title="Eliminated so far")

    def draw(which, colour, style):
        total = [(which & (harm.cycle <= c)).sum() for c in cycles]
        ax.step(cycles, total, where="mid", color=drawing.colour(colour), lw=1.8, ls=style)
        return total[-1]

    if harm.simulated:
        hits = draw(gone & harm.corrupted, "good", "-")
        wrong = draw(gone & ~harm.corrupted, "eliminated", "--")
        words = [(f"{hits} planted", "good"), (f"{wrong} good samples (dashed)", "eliminated")]
    else:
        words = [(f"{draw(gone, 'eliminated', '-')} in all", "eliminated")]
    ax.set_ylim(0, 1.1 * gone.sum())
    drawing.whole(ax.yaxis)
    _cycles(ax, found)
    return _captioned(fig, "decided-gone", "Samples eliminated so far, per cycle", words)


def _captioned(fig, name, description, words) -> markup.Html:
    """The figure over its totals, each in the colour of its marks."""
    spoken = f"{description}: {', '.join(text for text, _ in words)}"
    spans = [markup.element("span", text, class_=f"total {colour}") for text, colour in words]
    caption = markup.element("figcaption", spans)
    return markup.element("figure", drawing.svg(fig, name, spoken), caption)


def _span(found) -> tuple[int, int]:
    """First and last cycle under quality control."""
    cycles = results.column(found.decisions, "cycle")
    cycles = np.concatenate([cycles, found.harm.cycle[np.isfinite(found.harm.cycle)]])
    return int(cycles.min()), int(cycles.max())


def _cycles(ax, found):
    first, end = _span(found)
    ax.set_xlim(first - 0.6, end + 0.6)
    ax.set_xlabel("cycle")
    drawing.whole(ax.xaxis)
