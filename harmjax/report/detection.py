"""The page of a detection grid: who was found, who was wrongly dropped, what it cost."""

import pathlib
import re

import numpy as np

from harmjax import tables, workdirs
from harmjax.report import compared, detection_charts, drawing, markup, results, style
from harmjax.sweeps import sweep

MATRICES = (
    ("recall", "Recall: share of planted harmful samples that were eliminated"),
    ("false_rate", "False rate: share of good samples that were eliminated"),
    ("auroc", "AUROC of the harm score: how well it ranks planted above good samples"),
    ("average_precision", "Average precision of the harm score"),
)


def write(workdir) -> pathlib.Path:
    """Writes detection.html and its pictures, PNGs, into the workdir of a grid; returns its path.

    Args:
        workdir: Folder with detection.csv and, beside it, harms.csv and precision_recall.csv.

    Raises:
        ValueError: There is no such table, or it is empty.
    """
    workdir = pathlib.Path(workdir)
    rows = tables.read(workdir / "detection.csv")
    if not rows:
        raise ValueError(f"{workdir} holds no rows of detection.csv: run `harmjax detect` first")
    rows = compared.with_lowest(_by_warm_up(rows))
    grid = detection_charts.Grid(rows, *(tuple(dict.fromkeys(r[n] for r in rows))
                        for n in ("policy", "scenario", "harm")))  # fmt: skip
    curves = _by_warm_up(tables.read(workdir / "precision_recall.csv"))
    figures = {
        "detection_errors": (
            detection_charts.errors(grid),
            "Test errors by policy, one dot per run",
        ),
        "detection_found": (detection_charts.found(grid), "Recall against false rate, by policy"),
        "detection_ranking": (
            detection_charts.ranking(grid, curves),
            "Precision of the harm score against recall, by policy",
        ),
        "detection_cost": (
            detection_charts.cost(grid),
            "Quality against cost in forward-equivalents, by policy",
        ),
    }
    drawn = {name: drawing.svg(fig, name, words) for name, (fig, words) in figures.items()}
    for name, (fig, _) in figures.items():
        drawing.png(fig, workdir / f"{name}.png")
    path = workdir / "detection.html"
    workdirs.write(path, _page(workdir, grid, drawn).text)
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
        markup.element("h2", "Precision and recall of the harm score"),
        markup.element("p", "Lines: how many of the samples that a policy ranks highest were "
                       "planted, mean over runs. Marks: what it eliminated."),
        wide("detection_ranking"),
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
    rates = sweep.rates(tuple(grid.rows[0]))
    names = ("recall", "false_rate", *rates, "test_auroc", "forward_equivalents")
    header = ["policy", "runs", "recall", "false rate", *map(_title, rates), "test AUROC"]
    header += ["forward-equivalents", "seconds"]
    rows = []
    for policy in grid.policies:
        chosen = detection_charts.of(grid, policy=policy)
        cells = [_mean(results.column(chosen, name), name) for name in (*names, "seconds")]
        rows.append([policy, len(chosen), *cells])
    return markup.table(header, rows)


def _title(rate) -> str:
    if rate in ("test_fpr", "test_fnr"):
        return f"test {rate[-3:].upper()}"
    name = re.sub("^test_sensitivity_", "", rate)
    return f"test sensitivity: {name}" if name != rate else "test balanced accuracy"


def _matrix(grid, name, title) -> markup.Html | None:
    """Means by scenario and harm, a column per policy; None where nothing was measured."""
    if not np.isfinite(results.column(grid.rows, name)).any():
        return None
    header, rows = ["scenario", "harm", *grid.policies], []
    for scenario in grid.scenarios:
        for harm in grid.harms:
            chosen = [
                detection_charts.of(grid, policy=p, scenario=scenario, harm=harm)
                for p in grid.policies
            ]
            if any(chosen):
                rows.append([scenario, harm, *(_shaded(c, name) for c in chosen)])
    return markup.join(markup.element("h2", title), markup.table(header, rows, class_="matrix"))


def _shaded(rows, name) -> markup.Html:
    values = results.column(rows, name)
    text = _mean(values, name)
    share = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
    strength = f"--share:{round(45 * share)}%"
    return markup.element("span", text, class_="shaded", style=strength)


def _mean(values, name) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return "–"
    mean, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    if compared.is_share(name):
        return f"{mean:.1%} ({100 * spread:.1f})"
    if mean >= 100:
        return f"{mean:,.0f} ({spread:,.0f})"
    return f"{mean:.3f} ({spread:.3f})"


def _many(things, one: str, more: str = "") -> str:
    """How many there are, in words such as '1 seed' or '2 policies'."""
    return f"{len(things)} {one if len(things) == 1 else more or one + 's'}"
