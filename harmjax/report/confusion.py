"""What the delivered model takes the test scans of each class for."""

from harmjax.report import head, markup, results


def section(found: results.Results) -> markup.Html | None:
    """Counts by true and by predicted class, and error rates with intervals; None without them."""
    if found.confusion is None:
        return None
    number, taken = found.confusion
    silent = number - taken.sum(axis=1)
    header = ["true class", "scans", *found.classes, "misdiagnosed", "95% interval"]
    header[-2:-2] = ["no diagnosis"] if silent.any() else []
    rows = []
    for k, name in enumerate(found.classes):
        cells = [_shaded(n, number[k], right=j == k) for j, n in enumerate(taken[k])]
        cells += [silent[k]] if silent.any() else []
        wrong = None if silent[k] else int(number[k] - taken[k, k])
        rows.append([name, number[k], *cells, *_misdiagnosed(wrong, int(number[k]))])
    words = "A row holds the test scans of one class, a column what the model takes them for."
    return markup.join(
        markup.element("h2", "Confusion: the delivered model on the test scans"),
        markup.element("p", words),
        markup.table(header, rows, class_="pinned"),
    )


def _shaded(count, scans, right: bool) -> markup.Html:
    share = round(45 * count / scans) if scans else 0
    kind = "shaded" if right else "shaded wrong"
    return markup.element("span", count, class_=kind, style=f"--share:{share}%")


def _misdiagnosed(count, scans) -> tuple[str, str]:
    """Share and its interval; unknown where a scan has no diagnosis."""
    if count is None or not scans:
        return "–", "–"
    return f"{count / scans:.1%}", head.interval(count, scans)
