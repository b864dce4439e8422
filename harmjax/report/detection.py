"""The page of a detection grid: who was found, who was wrongly dropped, what it cost."""

import os
import pathlib
from typing import NamedTuple

import numpy as np

from harmjax import tables
from harmjax.report import drawing, markup, results, style

ERRORS = (
    ("test_fpr", "False-positive rate, test"),
    ("test_fnr", "False-negative rate, test"),
    ("test_auroc", "AUROC, test"),
)
MATRICES = (
    ("recall", "Recall: share of planted harmful samples that were eliminated"),
    ("false_rate", "False rate: share of good samples that were eliminated"),
    ("auroc", "AUROC of the harm score: how well it ranks planted above good samples"),
    ("average_precision", "Average precision of the harm score"),
)
PERCENT = ("recall", "false_rate", "test_fpr", "test_fnr")
MARKERS = "osD^vP"


class Grid(NamedTuple):
    """detection.csv; names are in the order in which it first mentions them.

    Where warm-ups are compared, a policy after another warm-up counts as a policy of its own.
    """

    rows: list  # of text
    policies: tuple[str, ...]
    scenarios: tuple[str, ...]
    harms: tuple[str, ...]


def write(workdir) -> pathlib.Path:
    """Writes detection.html and three PNGs into the workdir of a grid and returns the page's path.

    The pictures are detection_errors.png, detection_found.png and detection_cost.png.

    Args:
        workdir: Folder with detection.csv, complete or not.

    Raises:
        ValueError: There is no such table, or it is empty.
    """
    workdir = pathlib.Path(workdir)
    rows = _by_warm_up(tables.read(workdir / "detection.csv"))
    if not rows:
        raise ValueError(f"{workdir} holds no rows of detection.csv: run experiments.detect first")
    grid = Grid(rows, *(tuple(dict.fromkeys(r[n] for r in rows))
                        for n in ("policy", "scenario", "harm")))  # fmt: skip
    figures = {
        "detection_errors": (_errors(grid), "Test errors by policy, one dot per run"),
        "detection_found": (_found(grid), "Recall against false rate, by policy"),
        "detection_cost": (_cost(grid), "Quality against cost in forward-equivalents, by policy"),
    }
    drawn = {name: drawing.svg(fig, name, words) for name, (fig, words) in figures.items()}
    for name, (fig, _) in figures.items():
        drawing.png(fig, workdir / f"{name}.png")
    path = workdir / "detection.html"
    part = path.with_name(path.name + ".part")
    part.write_text(_page(workdir, grid, drawn).text, encoding="utf-8")
    os.replace(part, path)
    return path


def _page(workdir, grid, drawn) -> markup.Html:
    seeds = {row["seed"] for row in grid.rows}

    def wide(name):
        return markup.element("figure", drawn[name], class_="wide")

    return markup.document(
        f"detection: {workdir.resolve().name}",
        style.SHEET,
        markup.element("p", "harmjax · harmful samples found", class_="muted"),
        markup.element("h1", workdir.resolve().name),
        markup.element(
            "p",
            f"{_many(grid.rows, 'run')}: {_many(grid.policies, 'policy', 'policies')}, "
            f"{_many(grid.scenarios, 'scenario')}, {_many(grid.harms, 'harm')}, "
            f"{_many(seeds, 'seed')}. Means with the standard deviation over runs in brackets.",
            class_="lead",
        ),
        _summary(grid),
        markup.element("h2", "Errors of the delivered model"),
        markup.element("p", "One dot per run; the bar is the mean, the whisker one standard "
                       "deviation over runs."),
        wide("detection_errors"),
        markup.element("h2", "Found and wrongly dropped"),
        markup.element("p", "Large marks are means, small ones single runs. Best is the upper "
                       "left corner."),
        wide("detection_found"),
        markup.element("h2", "Quality against cost"),
        wide("detection_cost"),
        [_matrix(grid, name, title) for name, title in MATRICES],
        _by_kind(_by_warm_up(tables.read(workdir / "harms.csv"))),
        markup.element("h2", "Every run"),
        markup.element(
            "details",
            markup.element("summary", f"Table of {len(grid.rows)} runs"),
            markup.table(list(grid.rows[0]), [_cells(row) for row in grid.rows]),
        ),
    )  # fmt: skip


def _by_warm_up(rows) -> list:
    """The rows with the warm-up in the policy's name, where there are several."""
    if len({row.get("warmup") for row in rows}) < 2:
        return rows
    return [row | {"policy": f"{row['policy']}, {row['warmup']}"} for row in rows]


def _by_kind(rows) -> markup.Html | None:
    """Share of every kind of harm that was eliminated, and how well it is ranked."""
    kinds = tuple(dict.fromkeys((r["scenario"], r["harm"], r["kind"]) for r in rows))
    if not any("+" in harm for _, harm, _ in kinds):
        return None
    policies = tuple(dict.fromkeys(row["policy"] for row in rows))
    parts = []
    for name, title in (("recall", "share eliminated"), ("harm_auroc", "AUROC of the harm score")):
        body = []
        for kind in kinds:
            own = [r for r in rows if (r["scenario"], r["harm"], r["kind"]) == kind]
            cells = [_shaded([r for r in own if r["policy"] == p], name) for p in policies]
            body.append([kind[0], kind[2], kind[1].replace("+", " + "), *cells])
        header = ["scenario", "harm", "planted together", *policies]
        parts.append(markup.element("h2", f"Harm by harm: {title}"))
        parts.append(markup.table(header, body, class_="matrix"))
    return markup.join(parts)


def _cells(row) -> list[str]:
    return [f"{float(v):.4g}" if _is_fraction(v) else v or "–" for v in row.values()]


def _is_fraction(text) -> bool:
    return "." in text and text.replace(".", "", 1).replace("e-", "", 1).isdigit()


def _summary(grid) -> markup.Html:
    """A row per policy over all scenarios and harms."""
    names = ("recall", "false_rate", "test_fpr", "test_fnr", "test_auroc", "forward_equivalents")
    header = ["policy", "runs", "recall", "false rate", "test FPR", "test FNR", "test AUROC"]
    header += ["forward-equivalents", "seconds"]
    rows = []
    for policy in grid.policies:
        chosen = _of(grid, policy=policy)
        cells = [_mean(results.column(chosen, name), name) for name in (*names, "seconds")]
        rows.append([policy, len(chosen), *cells])
    return markup.table(header, rows)


def _matrix(grid, name, title) -> markup.Html | None:
    """Means by scenario and harm, a column per policy; None where nothing was measured."""
    if not np.isfinite(results.column(grid.rows, name)).any():
        return None
    header, rows = ["scenario", "harm", *grid.policies], []
    for scenario in grid.scenarios:
        for harm in grid.harms:
            chosen = [_of(grid, policy=p, scenario=scenario, harm=harm) for p in grid.policies]
            if any(chosen):
                rows.append([scenario, harm, *(_shaded(c, name) for c in chosen)])
    return markup.join(markup.element("h2", title), markup.table(header, rows, class_="matrix"))


def _shaded(rows, name) -> markup.Html:
    values = results.column(rows, name)
    text = _mean(values, name)
    share = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
    strength = f"--share:{round(45 * share)}%"
    return markup.element("span", text, class_="shaded", style=strength)


def _of(grid, **wanted) -> list:
    return [row for row in grid.rows if all(row[k] == v for k, v in wanted.items())]


def _mean(values, name) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return "–"
    mean, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    if name in PERCENT:
        return f"{mean:.1%} ({100 * spread:.1f})"
    if mean >= 100:
        return f"{mean:,.0f} ({spread:,.0f})"
    return f"{mean:.3f} ({spread:.3f})"


def _errors(grid):
    """Panels of scenarios (down) and metrics (across): policies as rows, runs as dots."""
    height = 46 + 30 * len(grid.policies)
    fig, axes = drawing.axes(
        860, height * len(grid.scenarios) + 34, rows=len(grid.scenarios), columns=len(ERRORS),
        squeeze=False, sharey=True, sharex="col",
    )  # fmt: skip
    for row, scenario in enumerate(grid.scenarios):
        for ax, (name, title) in zip(axes[row], ERRORS, strict=True):
            for y, policy in enumerate(grid.policies):
                _dots(ax, grid, _of(grid, scenario=scenario, policy=policy), name, y)
            ax.grid(axis="y", visible=False)
            ax.grid(axis="x", color=drawing.LINE, linewidth=0.6)
            ax.set_ylim(len(grid.policies) - 0.5, -0.5)
            ax.set_yticks(range(len(grid.policies)), grid.policies)
            ax.tick_params(axis="y", length=0, labelcolor=drawing.INK)
            if name in PERCENT:
                drawing.percent(ax.xaxis)
            if row == 0:
                ax.set_title(title, loc="left", fontsize=11, color=drawing.INK, fontweight="bold")
        axes[row][0].set_ylabel(scenario, color=drawing.INK, fontsize=11)
    marks = [drawing.mark(drawing.series(i), "o", harm) for i, harm in enumerate(grid.harms)]
    _legend(fig, marks)
    return fig


def _dots(ax, grid, rows, name, y):
    """Runs of one policy in one scenario, coloured by harm, with mean and spread."""
    values = results.column(rows, name)
    harm = np.array([grid.harms.index(row["harm"]) for row in rows], int)
    offset = (harm + 0.5) / len(grid.harms) * 0.5 - 0.25
    for kind in np.unique(harm):
        here = harm == kind
        ax.scatter(values[here], y + offset[here], s=17, color=drawing.series(int(kind)),
                   alpha=0.8, lw=0, zorder=3)  # fmt: skip
    values = values[np.isfinite(values)]
    if len(values):
        mean, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
        ax.plot([mean, mean], [y - 0.34, y + 0.34], color=drawing.INK, lw=2, zorder=4)
        ax.plot([mean - spread, mean + spread], [y, y], color=drawing.INK, lw=1, zorder=2)


def _found(grid):
    """A panel per scenario: recall over false rate, policies by colour and shape."""
    fig, axes = drawing.axes(860, 330, columns=len(grid.scenarios), squeeze=False, sharey=True)
    for ax, scenario in zip(axes[0], grid.scenarios, strict=True):
        ax.set_title(scenario, loc="left", fontsize=11, color=drawing.INK, fontweight="bold")
        for i, policy in enumerate(grid.policies):
            rows = _of(grid, scenario=scenario, policy=policy)
            _cloud(ax, results.column(rows, "false_rate"), results.column(rows, "recall"), i)
        ax.grid(color=drawing.LINE, linewidth=0.6)
        ax.set_ylim(-0.06, 1.06)
        ax.set_xlabel("good samples eliminated (false rate)")
        drawing.percent(ax.xaxis)
        drawing.percent(ax.yaxis)
    axes[0][0].set_ylabel("harmful samples eliminated (recall)")
    _legend(fig, _policy_marks(grid))
    return fig


def _cost(grid):
    """Recall and mean test error over forward-equivalents, on a logarithmic scale."""
    fig, axes = drawing.axes(860, 330, columns=2)
    cost = results.column(grid.rows, "forward_equivalents")
    error = (results.column(grid.rows, "test_fpr") + results.column(grid.rows, "test_fnr")) / 2
    panels = ((results.column(grid.rows, "recall"), "harmful samples eliminated (recall)"),
              (error, "test error (mean of both error rates)"))  # fmt: skip
    for ax, (values, title) in zip(axes, panels, strict=True):
        if (cost > 0).any():
            ax.set_xlim(cost[cost > 0].min() / 1.6, np.nanmax(cost) * 1.6)
            ax.set_xscale("log")
        for i, policy in enumerate(grid.policies):
            here = np.array([row["policy"] == policy for row in grid.rows])
            _cloud(ax, cost[here], values[here], i, geometric=True)
        ax.grid(color=drawing.LINE, linewidth=0.6)
        ax.set_xlabel("forward-equivalents (logarithmic)")
        ax.set_title(title, loc="left", fontsize=11, color=drawing.INK, fontweight="bold")
        drawing.percent(ax.yaxis)
    _legend(fig, _policy_marks(grid))
    return fig


def _cloud(ax, x, y, i, geometric=False):
    """Single runs, and their mean with a spread in both directions."""
    here = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not geometric))
    x, y = x[here], y[here]
    if not len(x):
        return
    colour, marker = drawing.series(i), MARKERS[i % len(MARKERS)]
    ax.scatter(x, y, s=13, marker=marker, color=colour, alpha=0.4, lw=0, zorder=2)
    middle = np.exp(np.log(x).mean()) if geometric else x.mean()
    ax.errorbar(middle, y.mean(), yerr=y.std(), color=colour, lw=1.2, zorder=3)
    ax.scatter(middle, y.mean(), s=85, marker=marker, color=colour, lw=0, zorder=4)


def _policy_marks(grid):
    return [drawing.mark(drawing.series(i), MARKERS[i % len(MARKERS)], policy)
            for i, policy in enumerate(grid.policies)]  # fmt: skip


def _legend(fig, marks):
    fig.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 6), frameon=False,
               labelcolor=drawing.MUTED, fontsize=9.5, handletextpad=0.2)  # fmt: skip


def _many(things, one: str, more: str = "") -> str:
    """How many there are, in words such as '1 seed' or '2 policies'."""
    return f"{len(things)} {one if len(things) == 1 else more or one + 's'}"
