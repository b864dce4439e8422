"""What is wrong with a cohort, found before training and shown in one table."""

import collections
import itertools
from typing import NamedTuple

from harmjax import tables
from harmjax.data import records

# With the published threshold of 0.02 per scan, one error among fewer already exceeds it.
FEWEST_VERIFICATION = 50
SEVERAL = {records.CLASSES: ("controls", "patients")}
ManifestError = records.ManifestError


class Findings(NamedTuple):
    """What to tell a person before training starts."""

    problems: tuple[records.Problem, ...]  # scans and centres that are left out
    warnings: tuple[str, ...]  # what still trains, but finds or shows less
    text: str  # counts, problems, notices and warnings as aligned text; '' lines separate them


def check(
    scans,
    problems=(),
    *,
    notices=(),
    listed=(),
    classes=records.CLASSES,
    strict=False,
    heading="",
):
    """Returns the `Findings` about the scans that are left.

    Args:
        scans: Records that can be used, with splits.
        problems: Problems found so far, by the manifest's reader and while loading.
        notices: Problems of scans that are used all the same, see `ingest.Cohort`.
        listed: Records as the manifest lists them; a centre whose scans were all left out is
            noticed only with them.
        classes: Names in order.
        strict: Whether any problem refuses the cohort as a whole.
        heading: How the manifest was read, in words.

    Raises:
        ManifestError: With the text, if a class has no training scan, or if `strict` and there is
            any problem.

    Example:
        >>> scans = [records.Record(2 + i, f"s{i}", "", "A", i, "train") for i in range(2)]
        >>> print(check(scans).warnings[0])
        verification has no controls: false positives cannot be seen
    """
    counts = collections.Counter((r.split, r.label) for r in scans)
    problems = (*problems, *_centres(scans, listed))
    warnings = tuple(_warnings(counts, classes))
    parts = [heading] if heading else []
    parts.append(summary(scans, classes))
    if problems:
        parts.append(f"{len(problems)} left out:\n{table(problems)}")
    if notices:
        parts.append(f"{len(notices)} used, but look at them:\n{table(notices)}")
    called = _several(classes)
    missing = [name for label, name in enumerate(called) if not counts["train", label]]
    parts += [f"warning: {text}" for text in warnings] if not missing else []
    text = "\n\n".join(parts)
    if missing:
        raise ManifestError(
            f"{text}\n\nno training scan of {' or '.join(missing)} is left: repair the scans "
            f"above, or correct {_setting(classes)}, data.fractions or Split"
        )
    if strict and problems:
        raise ManifestError(
            f"{text}\n\nrefused because of data.strict: repair the {len(problems)} problems above, "
            "or set data.strict=False to leave them out"
        )
    return Findings(problems, warnings, text)


def table(problems):
    """Returns problems as aligned text, one a line under a header.

    Example:
        >>> print(table([records.Problem(7, "s1", "age", "'x' is not a number")]))
        row  subject  place  problem
          7  s1       age    'x' is not a number
    """
    rows = [(p.row or None, p.subject or "-", p.place, p.what) for p in problems]
    return tables.aligned(("row", "subject", "place", "problem"), rows)


def summary(scans, classes=records.CLASSES):
    """Returns the number of scans by split and class as aligned text.

    Example:
        >>> print(summary([records.Record(2, "a", "", "A", 1, "train")]))
        split         controls  patients  centres
        train                0         1        1
        verification         0         0        0
        test                 0         0        0
    """
    rows = []
    for split in records.SPLITS:
        chosen = [r for r in scans if r.split == split]
        counts = collections.Counter(r.label for r in chosen)
        numbers = (*(counts[k] for k in range(len(classes))), len({r.centre for r in chosen}))
        rows.append((split, *numbers))
    return tables.aligned(("split", *_several(classes), "centres"), rows)


def by_centre(scans, classes=records.CLASSES):
    """Returns the number of scans of every centre by split and class as aligned text.

    Example:
        >>> print(by_centre([records.Record(2, "a", "", "A", 1, "train")]))
        centre  train  verification  test
        A       0 + 1  0 + 0         0 + 0
        controls + patients
    """
    counts = collections.Counter((r.centre, r.split, r.label) for r in scans)
    rows = []
    for centre in sorted({r.centre for r in scans}):
        cells = [
            [str(counts[centre, split, label]) for label in range(len(classes))]
            for split in records.SPLITS
        ]
        rows.append((centre, *map(" + ".join, cells)))
    table = tables.aligned(("centre", *records.SPLITS), rows)
    return f"{table}\n{' + '.join(_several(classes))}"


def _several(classes):
    """What the scans of every class are called."""
    return SEVERAL.get(tuple(classes), tuple(classes))


def _setting(classes):
    """Where a person says which words mean which class."""
    return "data.columns.positive and .negative" if len(classes) == 2 else "data.words"


def _centres(scans, listed):
    training = {r.centre for r in scans if r.split == "train"}
    what = "no training scan is left: the model does not visit this centre"
    for centre in sorted({r.centre for r in (*listed, *scans)} - training):
        yield records.Problem(0, "", f"centre {centre}", what)


def _warnings(counts, classes):
    called = _several(classes)
    kinds = ("false positives", "false negatives") if len(classes) == 2 else ()
    for label, errors in itertools.zip_longest(range(len(classes)), kinds, fillvalue="its errors"):
        number = counts["verification", label]
        if not number:
            yield f"verification has no {called[label]}: {errors} cannot be seen"
        elif number < FEWEST_VERIFICATION:
            yield (
                f"verification has {number} {called[label]}, fewer than {FEWEST_VERIFICATION}: a "
                "single error exceeds the published threshold, so a good scan is easily called "
                "harmful"
            )
    for label, name in enumerate(called):
        if not counts["test", label]:
            yield f"test has no {name}: AUROC is undefined there"
