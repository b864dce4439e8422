"""The table and the plot of the attribution benchmark."""

import collections

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

LIBRARY, METHOD, TASK, CORRUPTION, VERIFICATION, _, AUROC, AP, RECALL, ACCURACY, SECONDS = range(11)


def means(rows, column) -> dict:
    """(library, method) -> (task, corruption, verification) -> mean and SD over the seeds."""
    gathered = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows:
        if row[column] is not None:
            gathered[row[LIBRARY], row[METHOD]][tuple(row[TASK : VERIFICATION + 1])].append(
                row[column]
            )
    return {
        method: {cell: (np.mean(v), np.std(v)) for cell, v in cells.items()}
        for method, cells in gathered.items()
    }


def text(rows, missing, machine) -> str:
    """AUROC and accuracy after removal, mean over seeds, one line per method and cell group."""
    lines = [machine]
    lines += [f"not measured, no interpreter named: {', '.join(missing)}"] if missing else []
    for title, column in (("AUROC", AUROC), ("test accuracy after removal", ACCURACY)):
        table = means(rows, column)
        for verification in sorted({row[VERIFICATION] for row in rows}):
            cells = sorted({c for v in table.values() for c in v if c[2] == verification})
            lines += ["", f"{title}, {verification} verification labels, mean over seeds"]
            heads = [f"{task[:6]} {corruption}" for task, corruption, _ in cells]
            width = max(len(" ".join(m)) for m in table) + 1
            lines.append(" " * width + " ".join(f"{h:>21}" for h in (*heads, "mean")))
            overall = {m: np.mean([v[c][0] for c in cells if c in v]) for m, v in table.items()}
            for method in sorted(table, key=lambda m: -overall[m]):  # noqa: B023
                numbers = [table[method].get(c, (np.nan, 0))[0] for c in cells]
                shown = " ".join(f"{n:21.3f}" for n in (*numbers, overall[method]))
                lines.append(f"{' '.join(method):{width}}{shown}")
    return "\n".join(lines)


def plot(rows, path):
    """AUROC of every method by task and corruption, clean verification labels."""
    table = means(rows, AUROC)
    cells = sorted({c for v in table.values() for c in v if c[2] == "clean"})
    order = sorted(table, key=lambda m: -np.mean([table[m][c][0] for c in cells if c in table[m]]))
    grid = np.array([[table[m].get(c, (np.nan, 0))[0] for c in cells] for m in order])
    figure, axes = pyplot.subplots(figsize=(1.5 + 0.75 * len(cells), 1.5 + 0.3 * len(order)))
    axes.imshow(grid, vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(cells)), [f"{t}, {c}" for t, c, _ in cells], rotation=45, ha="right")
    axes.set_yticks(range(len(order)), [" ".join(m) for m in order])
    for i, j in np.ndindex(grid.shape):
        if np.isfinite(grid[i, j]):
            colour = "black" if grid[i, j] > 0.8 else "white"
            axes.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_title("AUROC of finding corrupted training samples")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
