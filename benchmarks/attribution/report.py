"""The text and the plot of the attribution benchmark."""

import collections

import matplotlib
import numpy as np

from harmjax import tables

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

LIBRARY, METHOD, TASK, CORRUPTION, VERIFICATION, SEED, AUROC, AP, RECALL, ACCURACY, LDS = range(11)
SECONDS, FORWARD, GRADIENT, JVP = range(11, 15)
MEASURES = {
    "auroc": AUROC,
    "average_precision": AP,
    "recall": RECALL,
    "accuracy_after": ACCURACY,
    "lds": LDS,
}
OURS = "harmjax"
COMPARED = ("verification", "task", "corruption", "seeds", "peer", "auroc")
COMPARED += ("single", "auroc", "ahead", "sd", "combination", "auroc", "ahead", "sd", "behind")


def by_cell(rows, column) -> dict:
    """(library, method) -> (task, corruption, verification) -> seed -> value."""
    found = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in rows:
        if row[column] is not None:
            cell = tuple(row[TASK : VERIFICATION + 1])
            found[row[LIBRARY], row[METHOD]][cell][row[SEED]] = row[column]
    return found


def comparison(rows) -> list[list]:
    """A row per task, corruption and verification: COMPARED.

    The best method of a kind is that with the largest mean over the seeds, found on these seeds;
    methods with fewer seeds than others are left out.
    `ahead` is the best peer less harmjax's best, mean over the seeds that both have; `sd` is the
    standard deviation of that difference; `behind` names the kinds of which `ahead` exceeds it.
    """
    table = by_cell(rows, AUROC)
    cells = list(dict.fromkeys(cell for seen in table.values() for cell in seen))
    found = []
    for cell in sorted(cells, key=lambda cell: (cell[2], cells.index(cell))):
        kinds = collections.defaultdict(dict)
        for (library, method), seen in table.items():
            if cell in seen and library:
                kind, name = _kind(library, method)
                kinds[kind][name] = seen[cell]
        most = max(len(seeds) for some in kinds.values() for seeds in some.values())
        kinds = {
            kind: {name: seeds for name, seeds in some.items() if len(seeds) == most}
            for kind, some in kinds.items()
        }
        best = {
            k: max(some.items(), key=lambda s: _mean(s[1])) for k, some in kinds.items() if some
        }
        if len(best) < 3:
            continue
        peer, seeds = best["peer"]
        row, behind = [cell[2], *cell[:2], len(seeds), peer, _round(_mean(seeds))], []
        for kind in ("single", "combination"):
            name, ours = best[kind]
            gaps = [seeds[seed] - ours[seed] for seed in seeds if seed in ours]
            ahead, spread = np.mean(gaps), np.std(gaps, ddof=min(1, len(gaps) - 1))
            row += [name, _round(_mean(ours)), _round(ahead), _round(spread)]
            behind += [kind] if ahead > spread else []
        found.append([*row, ", ".join(behind)])
    return found


def _kind(library, method):
    if library != OURS:
        return "peer", f"{library} {method}"
    return "combination" if method.startswith("combined") else "single", method


def summary(rows) -> list[list]:
    """Method, seeds, and the mean over cells of every measure's mean over seeds, best AUROC first.

    A method that lacks a cell has no mean.
    """
    tables_of = {column: by_cell(rows, column) for column in MEASURES.values()}
    cells = {tuple(row[TASK : VERIFICATION + 1]) for row in rows}
    found = []
    for library, method in dict.fromkeys((row[LIBRARY], row[METHOD]) for row in rows):
        means = []
        for table in tables_of.values():
            seen = table.get((library, method), {})
            whole = cells <= seen.keys()
            means.append(_round(np.mean([_mean(v) for v in seen.values()])) if whole else None)
        seeds = min(map(len, tables_of[ACCURACY][library, method].values()))
        found.append([f"{library} {method}".strip(), seeds, *means])
    return sorted(found, key=lambda row: -(row[2] or 0))


def overview(rows) -> list[list]:
    """Method, seeds, and AUROC with its standard deviation over seeds per cell, best mean first."""
    table = by_cell(rows, AUROC)
    cells = list(dict.fromkeys(c for seen in table.values() for c in seen))
    found = []
    for (library, method), seen in table.items():
        values = [list(seen[cell].values()) for cell in cells if cell in seen]
        if len(values) < len(cells):
            continue
        number = min(map(len, values))
        means = [f"{np.mean(v):.3f} ({np.std(v, ddof=min(1, len(v) - 1)):.3f})" for v in values]
        overall = np.mean([np.mean(v) for v in values])
        found.append([f"{library} {method}", number, *means, f"{overall:.3f}", overall])
    return [row[:-1] for row in sorted(found, key=lambda row: -row[-1])]


def cost(rows) -> list[list]:
    """Method, median seconds and passes in samples over all cells."""
    found = []
    for library, method in dict.fromkeys((row[LIBRARY], row[METHOD]) for row in rows):
        mine = [row for row in rows if (row[LIBRARY], row[METHOD]) == (library, method)]
        columns = []
        for column in (SECONDS, FORWARD, GRADIENT, JVP):
            known = [row[column] for row in mine if row[column] is not None]
            columns.append(f"{np.median(known):.3g}" if known else "")
        if columns[0]:
            found.append([f"{library} {method}", *columns])
    return found


def text(rows, missing, machine, versions) -> str:
    """Everything there is to say, as tables in text."""
    parts = [machine, ", ".join(f"{name} {number}" for name, number in versions.items())]
    parts += [f"not measured: {', '.join(missing)}"] if missing else []
    parts += ["", "AUROC: the best of each kind", tables.aligned(COMPARED, comparison(rows))]
    for verification in dict.fromkeys(row[VERIFICATION] for row in rows):
        some = [row for row in rows if row[VERIFICATION] == verification]
        labels = f"{verification} verification labels"
        parts += ["", f"{labels}: means over cells and seeds"]
        parts.append(tables.aligned(("method", "seeds", *MEASURES), summary(some)))
        cells = dict.fromkeys(f"{row[TASK]} {row[CORRUPTION]}" for row in some)
        parts += ["", f"{labels}: AUROC, mean (SD) over seeds"]
        parts.append(tables.aligned(("method", "seeds", *cells, "mean"), overview(some)))
    parts += ["", "median cost of a cell: seconds, and passes in samples"]
    parts.append(tables.aligned(("method", "seconds", "forward", "gradient", "jvp"), cost(rows)))
    return "\n".join(parts)


def plot(rows, path):
    """AUROC of every method by task and corruption, clean verification labels."""
    table = by_cell([row for row in rows if row[VERIFICATION] == "clean"], AUROC)
    table = {m: {c: _mean(v) for c, v in seen.items()} for m, seen in table.items()}
    cells = list(dict.fromkeys(cell for seen in table.values() for cell in seen))
    order = sorted(table, key=lambda m: -np.mean(list(table[m].values())))
    grid = np.array([[table[m].get(c, np.nan) for c in cells] for m in order])
    figure, axes = pyplot.subplots(figsize=(3 + 0.75 * len(cells), 2 + 0.3 * len(order)))
    axes.imshow(grid, vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(cells)), [f"{t}, {c}" for t, c, _ in cells], rotation=45, ha="right")
    axes.set_yticks(range(len(order)), [" ".join(m) for m in order])
    for i, j in np.ndindex(grid.shape):
        if np.isfinite(grid[i, j]):
            colour = "black" if grid[i, j] > 0.8 else "white"
            axes.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_title("AUROC of finding corrupted training samples, clean verification labels")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _mean(seeds) -> float:
    return float(np.mean(list(seeds.values())))


def _round(value) -> float:
    return round(float(value), 4)
