"""Diagnosing new scans with the delivered model of a run."""

import numpy as np

from harmjax import preparation, programs, runs
from harmjax.data import manifest, tabular

HEADER = ("subject", "session", "path", "probability", "logit")
LEFT_OUT = ("row", "subject", "place", "problem")


def predict(run, scans) -> tuple[list[list], list[list]]:
    """Rows of predictions.csv, one per scan, and rows of left_out.csv.

    Scans are read exactly as the run read its own: grid, intensities and, for tabular data, the
    standardisation learned from its training patients.

    Args:
        run: Workdir of a finished run.
        scans: Manifest in the layout of the run's; diagnoses and centres are not needed.

    Raises:
        ValueError: No finished run, or a manifest that cannot be read at all.
    """
    config = runs.config(run)
    data = config.data
    found, problems = manifest.read(
        scans,
        columns=preparation.columns(data),
        features=tuple(data.features),
        labelled=False,
    )
    found = tuple(r._replace(split="test") for r in found)
    cohort, failures = preparation.read_scans(found, data, None, progress=True)
    rows = []
    if cohort.records:
        images = cohort.images
        if data.features:
            images = tabular.apply(tabular.restore(f"{run}/features.npz"), images)
        learner, model = runs.model(run, config, images[:1])
        logits = programs.logits(learner, config.train.verification_batch)(model, images)
        probability = 1 / (1 + np.exp(-logits.astype(float)))
        rows = [
            [r.subject, r.session, r.path, float(p), float(z)]
            for r, p, z in zip(cohort.records, probability, logits, strict=True)
        ]
    return rows, [list(p) for p in sorted((*problems, *failures))]
