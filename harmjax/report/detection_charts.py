"""The pictures of a detection grid: errors, who was found, ranking, cost."""

from typing import NamedTuple

import numpy as np

from harmjax.report import compared, drawing, results

AUROC = ("test_auroc", "AUROC, test")
MARKERS = "osD^vP"


class Grid(NamedTuple):
    """detection.csv; names are in the order in which it first mentions them.

    Where warm-ups are compared, a policy after another warm-up counts as a policy of its own.
    """

    rows: list  # of text, from `compared.with_lowest`
    policies: tuple[str, ...]
    scenarios: tuple[str, ...]
    harms: tuple[str, ...]


def of(grid, **wanted) -> list:
    return [row for row in grid.rows if all(row[k] == v for k, v in wanted.items())]


def errors(grid):
    """Panels of scenarios (down) and metrics (across): policies as rows, runs as dots."""
    height = 46 + 30 * len(grid.policies)
    panels = (*compared.drawn(grid.rows), AUROC)
    fig, axes = drawing.axes(
        860, height * len(grid.scenarios) + 34, rows=len(grid.scenarios), columns=len(panels),
        squeeze=False, sharey=True, sharex="col",
    )  # fmt: skip
    for row, scenario in enumerate(grid.scenarios):
        for ax, (name, title) in zip(axes[row], panels, strict=True):
            for y, policy in enumerate(grid.policies):
                _dots(ax, grid, of(grid, scenario=scenario, policy=policy), name, y)
            ax.grid(axis="y", visible=False)
            ax.grid(axis="x", color=drawing.LINE, linewidth=0.6)
            ax.set_ylim(len(grid.policies) - 0.5, -0.5)
            ax.set_yticks(range(len(grid.policies)), grid.policies)
            ax.tick_params(axis="y", length=0, labelcolor=drawing.INK)
            if compared.is_share(name):
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


def found(grid):
    """A panel per scenario: recall over false rate, policies by colour and shape."""
    labels = "good samples eliminated (false rate)", "harmful samples eliminated (recall)"
    fig, panels = _panels(grid, grid.scenarios, *labels)
    for ax, scenario in panels:
        for i, policy in enumerate(grid.policies):
            rows = of(grid, scenario=scenario, policy=policy)
            _cloud(ax, results.column(rows, "false_rate"), results.column(rows, "recall"), i)
    return fig


def ranking(grid, curves):
    """A panel per planted scenario: precision over recall of the policies, mean over runs.

    Args:
        grid: The runs.
        curves: Rows of precision_recall.csv, with the grid's names of policies.
    """
    planted = {row["scenario"] for row in grid.rows if float(row["planted"])}
    scenarios = [s for s in grid.scenarios if s in planted] or grid.scenarios
    labels = "planted samples found (recall)", "of these, planted (precision)"
    fig, panels = _panels(grid, scenarios, *labels)
    for ax, scenario in panels:
        ax.set_xlim(-0.03, 1.05)
        for i, policy in enumerate(grid.policies):
            own = [r for r in curves if (r["scenario"], r["policy"]) == (scenario, policy)]
            recall, precision = results.column(own, "recall"), results.column(own, "precision")
            levels = np.unique(recall)
            means = [precision[recall == level].mean() for level in levels]
            ax.plot(levels, means, color=drawing.series(i), lw=1.6, zorder=3)
            rows = of(grid, scenario=scenario, policy=policy)
            hits, gone, bad = (
                results.column(rows, name).sum() for name in ("hits", "eliminated", "planted")
            )
            if gone and bad:
                ax.scatter(hits / bad, hits / gone, s=70, marker=MARKERS[i % len(MARKERS)],
                           color=drawing.series(i), lw=0, zorder=4)  # fmt: skip
    return fig


def _panels(grid, scenarios, x: str, y: str):
    """A figure of two fractions, and pairs of a panel and its scenario."""
    fig, axes = drawing.axes(860, 330, columns=len(scenarios), squeeze=False, sharey=True)
    for ax, scenario in zip(axes[0], scenarios, strict=True):
        ax.set_title(scenario, loc="left", fontsize=11, color=drawing.INK, fontweight="bold")
        ax.grid(color=drawing.LINE, linewidth=0.6)
        ax.set_ylim(-0.06, 1.06)
        ax.set_xlabel(x)
        drawing.percent(ax.xaxis)
        drawing.percent(ax.yaxis)
    axes[0][0].set_ylabel(y)
    _legend(fig, _policy_marks(grid))
    return fig, list(zip(axes[0], scenarios, strict=True))


def cost(grid):
    """Recall and mean test error over forward-equivalents, on a logarithmic scale."""
    fig, axes = drawing.axes(860, 330, columns=2)
    cost = results.column(grid.rows, "forward_equivalents")
    error, called = compared.error(grid.rows)
    panels = ((results.column(grid.rows, "recall"), "harmful samples eliminated (recall)"),
              (error, f"test error ({called})"))  # fmt: skip
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
