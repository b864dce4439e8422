"""CSV tables of a run: written whole and atomically, read back as rows of text."""

import csv
import io
import math
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from harmjax import workdirs


def write(path, header: Sequence[str], rows: Iterable[Iterable], *, delimiter: str = ",") -> None:
    """Writes a table; a kill leaves the old one or the new one, never half of either.

    Floats are written so that they read back exactly, rounded to nine significant digits; NaN and
    None become empty fields.

    Args:
        path: Of the CSV file.
        header: Column names.
        rows: The values of one row each, in the header's order.
        delimiter: Between fields.

    Raises:
        OSError: It cannot be written; names the file, whose old content stays.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    workdirs.write(path, text.getvalue())


def read(path) -> list[dict[str, str]]:
    """The rows of a table as dictionaries; none if the file is not there."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def typed(
    row: Mapping[str, str], *, texts: Collection[str] = (), whole: Collection[str] = ()
) -> dict:
    """A row that was read, as the record that was written: numbers as numbers, NaN where empty.

    Args:
        row: From `read`.
        texts: Columns that hold text.
        whole: Columns that hold whole numbers; all others hold floats.

    Raises:
        ValueError: A field is cut off, or no number; names its column.

    Example:
        >>> typed({"run": "a", "n": "3", "loss": "1", "auroc": ""}, texts=["run"], whole=["n"])
        {'run': 'a', 'n': 3, 'loss': 1.0, 'auroc': nan}
    """

    def value(name, text):
        if name in texts and text is not None:
            return text
        try:
            return math.nan if text == "" else (int if name in whole else float)(text)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}={text!r}: expected a number") from error

    return {name: value(name, text) for name, text in row.items()}


def stored(value):
    """A value as `typed` gives it back after `write`: nine digits of a float, NaN for None.

    Example:
        >>> stored(1 / 3), stored(None), stored(2)
        (0.333333333, nan, 2)
    """
    if value is None:
        return math.nan
    return float(f"{value:.9g}") if isinstance(value, float) else value


def aligned(header: Sequence[str], rows: Iterable[Iterable]) -> str:
    """A table as text in aligned columns, numbers to the right.

    Example:
        >>> print(aligned(["policy", "recall"], [["none", 0.0], ["oracle", 1.0]]))
        policy  recall
        none         0
        oracle       1
    """
    values = [list(row) for row in rows]
    cells = [[_short(value) for value in row] for row in values]
    width = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [all(not isinstance(row[i], str) for row in values) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(w) if right else cell.ljust(w)
            for cell, w, right in zip(line, width, numeric, strict=True)
        ).rstrip()
        for line in [list(header), *cells]
    ]
    return "\n".join(lines)


def cell(value):
    """A value as a table shows it, see `write`."""
    if value is None or value != value:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value


def _short(value) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
