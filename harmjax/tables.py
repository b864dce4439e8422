"""CSV tables of a run: written whole and atomically, read back as rows of text."""

import csv
import io
import pathlib
from collections.abc import Iterable, Sequence

from harmjax import workdirs


def write(path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes a table; a kill leaves the old one or the new one, never half of either.

    Floats are written so that they read back exactly, rounded to nine significant digits; NaN and
    None become empty fields.

    Args:
        path: Of the CSV file.
        header: Column names.
        rows: One sequence per row, in the header's order.

    Raises:
        OSError: It cannot be written; names the file, whose old content stays.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_text(value) for value in row] for row in rows)
    with workdirs.replacing(path) as file:
        file.write(text.getvalue().encode())


def read(path) -> list[dict[str, str]]:
    """The rows of a table as dictionaries; none if the file is not there."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def aligned(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table as text in aligned columns, numbers to the right.

    Example:
        >>> print(aligned(["policy", "recall"], [["none", 0.0], ["oracle", 1.0]]))
        policy  recall
        none         0
        oracle       1
    """
    rows = [list(row) for row in rows]
    cells = [[_short(value) for value in row] for row in rows]
    width = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [all(not isinstance(row[i], str) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(w) if right else cell.ljust(w)
            for cell, w, right in zip(line, width, numeric, strict=True)
        ).rstrip()
        for line in [list(header), *cells]
    ]
    return "\n".join(lines)


def _text(value):
    if value is None or value != value:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value


def _short(value) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
