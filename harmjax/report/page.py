"""The page of one run: what was run, what was found, and every suspect to look at."""

import pathlib

from harmjax import workdirs
from harmjax.report import confusion, head, markup, results, sections, style
from harmjax.runs import preparation


def write(
    workdir, study: preparation.Study, *, images: bool = True, max_samples: int = 24
) -> pathlib.Path:
    """Writes report.html into the workdir of a finished run and returns its path.

    The page shows scans (or single patients' features) and is meant for the person who holds them.

    Args:
        workdir: Of the run, with the tables that it wrote.
        study: The samples of the run.
        images: Whether to show scans or features of single samples.
        max_samples: How many suspects to show at most.

    Raises:
        ValueError: The run is not finished, or the study is of another run.
    """
    found = results.read(workdir, study.classes)
    if tuple(found.harm.subject) != tuple(study.names):
        raise ValueError(
            f"{found.workdir / 'harm.csv'} lists {len(found.harm.subject)} samples that are not "
            f"the {len(study.names)} training samples of the study: pass the run's own study"
        )
    name = results.setting(found, "policy.name", "run")
    document = markup.document(
        f"{name}: {found.workdir.name}",
        style.SHEET,
        head.head(study, found, images),
        sections.errors(found),
        sections.harm(found),
        sections.decisions(found),
        sections.suspects(study, found, images, max_samples),
        confusion.section(found),
        sections.subgroups(found),
        sections.left_out(study),
        sections.cost(study, found),
        sections.settings(found),
    )
    path = found.workdir / "report.html"
    workdirs.write(path, document.text)
    return path
