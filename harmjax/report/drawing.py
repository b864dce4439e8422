"""Matplotlib figures as SVG for pages: themed by CSS variables, free of global state.

Importing this module imports matplotlib; harmjax does so only when a page is written.
"""

import contextlib
import io
import re
import warnings

import matplotlib
import numpy as np
from matplotlib import figure, lines, ticker

from harmjax import workdirs
from harmjax.report import markup, style

INK, MUTED, LINE, SHADE = (style.PALETTE[n][0] for n in ("ink", "muted", "line", "shade"))
SETTINGS = {"svg.fonttype": "none", "font.size": 10, "path.simplify_threshold": 0.2}


def colour(name: str) -> str:
    """The colour that becomes the CSS variable `--name` on a page."""
    return style.COLOURS[name][0]


def series(index: int) -> str:
    """The colour of one of several like things; they repeat after the last."""
    return colour(f"series{index % len(style.SERIES)}")


def axes(width=340, height=210, *, title="", rows=1, columns=1, **settings):
    """A figure of the given size in CSS pixels, and its axes, quietly styled.

    Args:
        width: Pixels.
        height: Pixels.
        title: Above the axes, to the left; of one pair of axes only.
        rows: Of axes.
        columns: Of axes.
        settings: For `Figure.subplots`.
    """
    fig = figure.Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    fig.patch.set_facecolor("none")
    made = fig.subplots(rows, columns, **settings)
    for ax in np.ravel(made):
        _quiet(ax)
    if title:
        # A dollar sign in the name of a class starts no formula.
        made.set_title(
            title, loc="left", fontsize=11, color=INK, fontweight="bold", parse_math=False
        )
    return fig, made


def _quiet(ax):
    ax.patch.set_alpha(0)
    ax.tick_params(colors=MUTED, labelsize=9.5, length=3, width=0.8)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    ax.xaxis.label.set_color(MUTED)
    ax.yaxis.label.set_color(MUTED)
    ax.grid(axis="y", color=LINE, linewidth=0.6)
    ax.set_axisbelow(True)


def mark(colour, marker, label) -> lines.Line2D:
    """An entry of a legend: a single mark."""
    return lines.Line2D([], [], color=colour, marker=marker, ls="", ms=6, label=label)


def percent(axis):
    """Labels an axis of fractions in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def whole(axis):
    """Puts ticks at whole numbers only, such as cycles or counts."""
    axis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def svg(fig, name: str, description: str) -> markup.Html:
    """The figure as inline SVG.

    Args:
        fig: Figure from `axes`.
        name: Of the figure, unique on its page: element ids carry it.
        description: Read aloud to those who cannot see the figure.
    """
    file = io.StringIO()
    unset = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _saving({"svg.hashsalt": name}):
        fig.savefig(file, format="svg", metadata=unset)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    view = re.findall(r'viewBox="[^"]*"', text)[0]
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    # Matplotlib's own style sheet would reach the whole page; the page's sheet holds it instead.
    body = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=16
    )
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]*", r"\1 system-ui, sans-serif", body)
    for key, (light, _) in style.COLOURS.items():
        body = body.replace(light, f"var(--{key})")
    label = markup.html.escape(description)
    return markup.Html(f'<svg {view} role="img" aria-label="{label}">{_thrifty(body)}</svg>')


def png(fig, path) -> None:
    """Writes the figure on white, at twice its size in pixels."""
    with _saving({}), workdirs.replacing(path) as file:
        fig.savefig(file, format="png", dpi=144, facecolor="white", metadata={"Software": None})


@contextlib.contextmanager
def _saving(settings):
    with matplotlib.rc_context(SETTINGS | settings), warnings.catch_warnings():
        # Only the size of the letters is looked up here: the reader's own fonts draw them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _thrifty(body: str) -> str:
    """The same drawing in fewer bytes: no blank lines, coordinates to a hundredth of a pixel."""

    def rounded(tag):
        return re.sub(r"(\d+\.\d\d)\d+", r"\1", tag.group())

    return re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]*>", rounded, body))
