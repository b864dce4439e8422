"""Three classes: controls and two diseases, 83 centres, every harm there is, all policies.

    harmjax make_cohort --config=classes --workdir=runs/classes83
    harmjax detect --config=classes --workdir=runs/classes

One disease shrinks putamen, caudate and midbrain and darkens the nigra, the other shrinks the
hippocampi and widens the ventricles; the patients of every centre are dealt to both. All else is
`suite83`: three axial slices as channels of a 2-D CNN, which cut through all of these structures,
and twelve harms planted together. A wrong label is either of the two others.

`:runlocal` is the same at 12 centres with four harms, in a few minutes on two cores:

    harmjax make_cohort --config=classes:runlocal --workdir=runs/classes12
    harmjax detect --config=classes:runlocal --workdir=runs/three

For figures and times see docs/results.md.
"""

from harmjax import shipped
from harmjax.cohort import plan


def get_config(arg=""):
    """The config for `arg` '' or 'runlocal'."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"classes.py:{arg}: known is runlocal")
    config = shipped.get_config(f"suite83:{arg}")
    config.cohort.diseases = 2
    config.data.classes = plan.CLASSES[2]
    config.data.manifest = f"runs/classes{12 if arg else 83}/manifest.csv"
    return config
