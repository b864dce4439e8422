"""Diagnosing new scans with the delivered model of a run."""

import pathlib
from typing import NamedTuple

import numpy as np

from harmjax.data import begun, checks, records, tabular
from harmjax.data.scans import nifti
from harmjax.data.tables import bids, manifest
from harmjax.engine import forward
from harmjax.runs import delivered, preparation, recorded

LEFT_OUT = ("row", "subject", "place", "problem")


class Prediction(NamedTuple):
    """What a delivered model says of new scans."""

    header: tuple[str, ...]  # of predictions.csv
    rows: list[list]  # one per scan
    left_out: list[list]  # of left_out.csv
    notices: tuple[str, ...]  # what a person should know


def predict(run, scans) -> Prediction:
    """The probability of disease, or of each class, of every scan that can be read.

    Scans are read exactly as the run read its own: grid, intensities and, for tabular data, the
    standardisation learned from its training patients. `run_split` says of scans and people that
    the run knows what it used them for: a model says nothing new about those it was trained on.

    Args:
        run: Workdir of a finished run; its own scans need not be at hand, but where they are they
            must be what they were.
        scans: Manifest in the layout of the run's; diagnoses and centres are not needed.

    Raises:
        ValueError: No finished run, one whose data has changed, or a manifest that cannot be read
            at all.
    """
    config = recorded.config(run)
    data, classes = config.data, begun.named(config.data)
    made, notices = preparation.unchanged(config, run)
    listing = manifest.read(
        scans,
        columns=preparation.columns(data),
        features=tuple(data.features),
        labelled=False,
        entities=dict(data.entities),
    )
    new = tuple(r._replace(split="test") for r in listing.records)
    cohort, failures = preparation.read_scans(new, data, None, unique=False, progress=True)
    rows, unsaid = [], []
    if cohort.records:
        images = cohort.images
        if data.features:
            prepared = tabular.restore(pathlib.Path(run) / preparation.FEATURES)
            images = tabular.apply(prepared, images)
        learner, model = delivered.model(run, config, images[:1])
        logits = forward.logits(learner, config.train.verification_batch)(model, images)
        known, people = _known(made)
        for r, digest, z in zip(cohort.records, cohort.digests, logits, strict=True):
            if np.isnan(z).any():
                what = "the model gives no number: it, or the scan, is out of all bounds"
                unsaid.append(records.Problem(r.row, r.subject, r.path or "features", what))
                continue
            used = known.get(nifti.image_digest(digest)) or _split(people, r)
            rows.append([r.subject, r.session, r.centre, r.path, *_said(z, classes), used])
    trained = sum(row[-1] == "train" for row in rows)
    if trained:
        notices += (f"{trained} of {len(rows)} are of scans or people that the run trained on",)
    notices += listing.notices
    notices += (checks.table(cohort.notices),) if cohort.notices else ()
    left_out = sorted((*listing.problems, *failures, *unsaid))
    return Prediction(_header(classes), rows, [list(p) for p in left_out], notices)


def _header(classes) -> tuple[str, ...]:
    several = ("diagnosis", *(f"probability_{name}" for name in classes))
    said = several if len(classes) > 2 else ("probability", "logit")
    return "subject", "session", "centre", "path", *said, "run_split"


def _said(logits, classes) -> list:
    """Probability and logit of the disease; of more classes the diagnosis and all probabilities."""
    logits = logits.astype(float)
    probability = np.exp(logits - np.logaddexp.reduce(logits))
    if len(classes) == 2:
        return [float(probability[1]), float(logits[1] - logits[0])]
    return [classes[int(logits.argmax())], *probability.tolist()]


def _known(made) -> tuple[dict, dict]:
    """What the run used an image for, and a person: {content: split}, {subject: {scope: split}}.

    A subject is known with and without 'sub-', where that is not another's name.
    """
    contents = {}
    people: dict[str, dict[str, str]] = {}
    for r, of in zip(made.records, made.sources, strict=True):
        contents[nifti.image_digest(of.digest)] = r.split
        people.setdefault(r.subject, {})[r.scope] = r.split
    for subject, own in list(people.items()):
        bare = subject.removeprefix("sub-")
        for name in (bare, bids.prefixed(bare)):
            people.setdefault(name, own)
    return contents, people


def _split(people, r) -> str:
    """The split of a new scan's person, '' where the run has not seen them."""
    own = people.get(r.subject, {})
    if r.scope in own or "" in own:  # ids without a scope are the same person's everywhere
        return own.get(r.scope, own.get("", ""))
    return next(iter(own.values())) if len(own) == 1 and not r.scope else ""
