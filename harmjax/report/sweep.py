"""The page of a sweep: what every setting gave on verification and test scans."""

import pathlib

import numpy as np

from harmjax import tables, workdirs
from harmjax.report import compared, drawing, markup, style
from harmjax.sweeps import sweep

LEGEND = 120  # letters beside one another
CHOSEN = {"loss": "Loss, verification (nats)", "auroc": "AUROC, verification"}


def write(workdir, table: sweep.Table, replicates, choose_by: str) -> pathlib.Path:
    """Writes sweep.html and sweep.png into the workdir of a sweep and returns the page's path.

    Args:
        workdir: Of the sweep.
        table: From `harmjax.sweeps.sweep`.
        replicates: Settings that only repeat a run, such as ('seed',).
        choose_by: 'loss' or 'auroc'.
    """
    workdir = pathlib.Path(workdir)
    rows = compared.with_lowest(table.rows)
    found = sweep.groups(table._replace(rows=rows), replicates)
    figure = _figure(found, choose_by)
    drawn = drawing.svg(figure, "sweep", "Verification and test results by setting, a dot per run")
    drawing.png(figure, workdir / "sweep.png")
    path = workdir / "sweep.html"
    workdirs.write(path, _page(workdir, table, found, choose_by, drawn).text)
    return path


def _page(workdir, table, found, choose_by, drawn) -> markup.Html:
    name = workdir.resolve().name
    best = sweep.best(found, choose_by)
    said = "No run has a finite verification metric."
    if best is not None:
        setting = ", ".join(f"{key} = {value}" for key, value in best.setting.items())
        said = f"Best by mean verification {choose_by}: {setting or 'the only setting'}."
    shown = [f"verification_{choose_by}", "test_auroc"]
    shown += [*sweep.rates(table.header), "forward_equivalents"]
    means = [
        [*group.setting.values(), len(group.rows),
         *(sweep.spread(sweep.column(group.rows, column)) for column in shown)]
        for group in found
    ]  # fmt: skip
    words = [column.replace("_", " ") for column in shown]
    return markup.document(
        f"sweep: {name}",
        style.SHEET,
        markup.element("p", "harmjax · settings compared", class_="muted"),
        markup.element("h1", name),
        markup.element("p", f"{len(table.rows)} runs under {len(found)} settings. {said}",
                       class_="lead"),
        markup.element("figure", drawn, class_="wide"),
        markup.element("p", "One dot per run, the bar is the mean; the best setting is ringed."),
        markup.element("h2", "Settings"),
        markup.element("p", "Means ± standard deviation over the runs of a setting."),
        markup.table([*found[0].setting, "runs", *words], means),
        markup.element("h2", "Every run"),
        markup.element(
            "details",
            markup.element("summary", f"Table of {len(table.rows)} runs"),
            markup.table(table.header, [map(tables.cell, row.values()) for row in table.rows]),
        ),
    )  # fmt: skip


def _figure(found, choose_by):
    """A panel per metric: the longest swept key across, the other keys by colour."""
    across = _across(found)
    ticks = list(dict.fromkeys(group.setting.get(across, "") for group in found))
    others = [_label(group, across) for group in found]
    lines = list(dict.fromkeys(others))
    place, scale = _places(ticks)
    best = sweep.best(found, choose_by)
    columns = max(1, LEGEND // (4 + max(map(len, lines))))
    rows = -(-len(lines) // columns) if len(lines) > 1 else 0
    fig, axes = drawing.axes(860, 500 + 18 * rows, rows=2, columns=2, sharex=True)
    panels = (
        (f"verification_{choose_by}", CHOSEN[choose_by]),
        ("test_auroc", "AUROC, test"),
        *compared.drawn(found[0].rows),
    )
    for ax, (name, title) in zip(np.ravel(axes), panels, strict=True):
        ax.set_xscale(scale or "linear")
        for i, line in enumerate(lines):
            groups = [g for g, label in zip(found, others, strict=True) if label == line]
            xs = [place[group.setting.get(across, "")] for group in groups]
            means = _marks(ax, groups, xs, name, drawing.series(i), best)
            if scale:
                order = np.argsort(xs)
                ax.plot(np.array(xs)[order], means[order], color=drawing.series(i), lw=1, zorder=2)
        ax.set_title(title, loc="left", fontsize=11, color=drawing.INK, fontweight="bold")
        ax.set_xticks([place[tick] for tick in ticks], ticks)
        ax.minorticks_off()
        if compared.is_share(name):
            drawing.percent(ax.yaxis)
    for ax in axes[1]:
        ax.set_xlabel(across)
    if len(lines) > 1:
        marks = [drawing.mark(drawing.series(i), "o", line) for i, line in enumerate(lines)]
        fig.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), columns),
                   frameon=False, labelcolor=drawing.MUTED, fontsize=9.5)  # fmt: skip
    return fig


def _marks(ax, groups, xs, name, colour, best) -> np.ndarray:
    """Draws the runs of some settings and their means, and returns the means."""
    means = np.full(len(groups), np.nan)
    for i, (x, group) in enumerate(zip(xs, groups, strict=True)):
        values = sweep.column(group.rows, name)
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        means[i] = values.mean()
        ax.scatter(np.full(len(values), x), values, s=17, color=colour, alpha=0.6, lw=0, zorder=3)
        if group is best:
            ax.scatter([x], means[i], s=130, facecolor="none", edgecolor=drawing.INK, lw=1.4,
                       zorder=5)  # fmt: skip
    ax.scatter(xs, means, s=150, marker="_", color=colour, lw=2, zorder=4)
    return means


def _across(found):
    """The key with the most values; '' where nothing but replicates was swept."""
    values = {key: len({group.setting[key] for group in found}) for key in found[0].setting}
    return max(values, key=values.__getitem__, default="")


def _label(group, across):
    return ", ".join(f"{key}={value}" for key, value in group.setting.items() if key != across)


def _places(ticks):
    """Where a key's values lie on the axis, and its scale; words lie side by side and have none."""
    try:
        numbers = np.array([float(tick) for tick in ticks])
    except ValueError:
        return {tick: i for i, tick in enumerate(ticks)}, ""
    wide = numbers.min() > 0 and numbers.max() >= 8 * numbers.min()
    return dict(zip(ticks, numbers, strict=True)), "log" if wide else "linear"
