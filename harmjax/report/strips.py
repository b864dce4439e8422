"""Harm of every training sample, centre by centre."""

import numpy as np

from harmjax.report import drawing, markup, results

ROW, TIGHT, FRAME = 19, 14, 46  # pixels; rows are tight where there are more than MANY
MANY = 40
STEP, TALLEST = 0.4, 5  # of a row: between dots of equal harm, and a centre at most
MAX_ROWS = 100
MARKS = {"kept": ("o", 14), "pending": ("^", 30), "eliminated": ("X", 34)}


def chart(found: results.Results) -> markup.Html | None:
    """A strip per centre with a dot per sample of known harm; None where no harm is known.

    Centres come in the order of their eliminated samples, then of their largest harm. Samples of
    unknown harm are counted at the right; centres without a known harm are left to the text.
    """
    harm = found.harm
    order = _order(harm)
    if not order:
        return None
    shown = order[:MAX_ROWS]
    height, middle, total = _places(harm, shown)
    row = TIGHT if len(shown) > MANY else ROW
    fig, ax = drawing.axes(720, FRAME + row * max(total, 2))
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=drawing.LINE, linewidth=0.6)
    ax.axvline(0, color=drawing.MUTED, lw=1)
    threshold = results.setting(found, "policy.verify_revisit.threshold")
    if results.setting(found, "policy.name") == "verify_revisit" and threshold:
        ax.axvline(threshold, color=drawing.colour("eliminated"), lw=0.9, ls=(0, (4, 3)))
    drawn = np.isfinite(height)
    _dots(ax, harm, height, drawn)
    _scale(ax, harm.harm[drawn])
    ax.set_ylim(total, 0)
    # A dollar sign in a name starts no formula.
    ax.set_yticks(middle, [results.shortened(name) for name in shown], parse_math=False)
    ax.tick_params(axis="y", length=0, labelcolor=drawing.INK)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("harm (to the right: raises misdiagnosis)")
    _unknown(ax, harm, shown, middle)
    described = f"Harm of {drawn.sum()} training samples at {len(shown)} centres"
    return markup.element("figure", drawing.svg(fig, "strips", described), class_="wide")


def remainder(found: results.Results) -> str:
    """In words, what the chart leaves out."""
    harm = found.harm
    order = _order(harm)
    words = []
    silent = sorted(set(harm.centre) - set(order))
    if order and silent:
        count = int(np.isin(harm.centre, silent).sum())
        words.append(
            f"{len(silent)} more centres with {count} samples have no sample of known harm."
        )
    if len(order) > MAX_ROWS:
        words.append(f"Showing {MAX_ROWS} of {len(order)} centres.")
    return " ".join(words)


def _order(harm) -> list[str]:
    """Centres with a sample of known harm, the most telling first."""
    known = np.isfinite(harm.harm)

    def rank(name):
        here = harm.centre == name
        gone = (here & (harm.verdict == "eliminated")).sum()
        waiting = (here & (harm.verdict == "pending")).sum()
        return -gone, -waiting, -harm.harm[here & known].max(), name

    return sorted(set(harm.centre[known]), key=rank)


def _dots(ax, harm, height, drawn):
    for verdict, (marker, size) in MARKS.items():
        which = drawn & (harm.verdict == verdict)
        if which.any():
            colour = drawing.colour(verdict)
            ax.scatter(harm.harm[which], height[which], s=size, marker=marker, color=colour,
                       alpha=0.75 if verdict == "kept" else 1, lw=0, zorder=3)  # fmt: skip
    ringed = drawn & harm.corrupted
    if ringed.any():
        ax.scatter(harm.harm[ringed], height[ringed], s=58, facecolors="none", zorder=4,
                   edgecolors=drawing.INK, linewidths=1)  # fmt: skip


def _places(harm, shown):
    """Height [N] of each dot, NaN where it is not drawn; middle of each centre's row; their sum.

    Dots of about the same harm lie above one another, and a row is as tall as that needs.
    """
    height = np.full(len(harm.harm), np.nan)
    width = max(np.ptp(harm.harm[np.isfinite(harm.harm)]), 1e-12) / 70
    cell = np.round(harm.harm / width)
    middle, top = [], 0.0
    for name in shown:
        here = (harm.centre == name) & np.isfinite(harm.harm)
        _, inverse, size = np.unique(cell[here], return_inverse=True, return_counts=True)
        tall = float(np.clip(STEP * size.max() + 0.3, 1, TALLEST))
        place = np.empty(here.sum())
        for crowd, count in enumerate(size):
            steps = np.arange(count) - (count - 1) / 2
            place[inverse == crowd] = steps * min(STEP, (tall - 0.3) / count)
        height[here] = top + tall / 2 + place
        middle.append(top + tall / 2)
        top += tall
    return height, middle, top


def _scale(ax, harm):
    """A scale that one outlier does not crush: linear in the middle, logarithmic beyond."""
    typical = np.quantile(np.abs(harm), 0.9)
    if typical > 0 and np.abs(harm).max() > 20 * typical:
        ax.set_xscale("symlog", linthresh=typical)
    ax.margins(x=0.03)


def _unknown(ax, harm, shown, middle):
    """Counts at the right what the dots do not show."""
    unknown = [int((np.isnan(harm.harm) & (harm.centre == name)).sum()) for name in shown]
    if not any(unknown):
        return
    for row, count in zip(middle, unknown, strict=True):
        if count:
            ax.text(1.012, row, f"+{count}", transform=ax.get_yaxis_transform(), va="center",
                    fontsize=9, color=drawing.MUTED)  # fmt: skip
    ax.set_title("not scored", loc="right", fontsize=9, color=drawing.MUTED, pad=2)
