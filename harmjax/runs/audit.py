"""Quality control for people who only have arrays: one call, one table."""

import math
import pathlib
import tempfile
import warnings

import numpy as np

from harmjax import defaults, metrics, types, workdirs
from harmjax.data import records, splits
from harmjax.models import sfcn
from harmjax.runs import audit_arguments, logbook, preparation, training

SHARES = (0.7, 0.3, 0.0)  # training, verification, test


def audit(
    images,
    labels,
    centres,
    *,
    classifier=None,
    verification=None,
    names=None,
    alpha: float = 0.01,
    families=("margin", "appearance"),
    cycles: int = 12,
    warmup_cycles: int = 4,
    learning_rate: float = 1e-3,
    seed: int = 0,
    workdir=None,
    progress: bool = True,
) -> list[dict]:
    """The rows of `harm.csv`, one per audited sample: harm, evidence, p-value, verdict.

    Names, centres and verdicts are texts, all else numbers, NaN where nothing is known.

    Trains the travelling model over the centres on the data as they are, under the policy `screen`.

    Args:
        images: [N, X, Y, Z], [N, X, Y, C], [N, X, Y] or [N, F]; intensities 0..255 are what the
            defaults are made for, features should be standardised.
        labels: [N] 0 or 1, as whole numbers, floats or bools; of more classes, whole numbers from 0
            without a gap; or texts, which are classes in sorted order.
        centres: [N] str or int, who holds each sample; no gaps.
        classifier: A Flax linen module (see `models.module`) or a `types.Classifier`; by default
            the SFCN for volumes, a CNN for slices, an MLP for features. It gives a logit for every
            class; of two classes one will do.
        verification: [N] bool, samples known to be good, which the others are measured against and
            which are not audited; by default 30% of every centre, stratified, taken on trust.
        names: [N] str or int, each another one; by default the positions.
        alpha: Expected fraction of good samples that are eliminated.
        families: Of evidence, see `policies.screen`.
        cycles: In all.
        warmup_cycles: Of these, before samples are judged; fewer than `cycles`.
        learning_rate: Of Adam.
        seed: Of model, itineraries and the default verification samples.
        workdir: Folder that keeps the run's tables and checkpoints; by default a temporary one.
            The same call resumes there, another call is refused. Training needs one for its
            checkpoints; nothing is read back from it but to resume.
        progress: Whether to draw a progress bar.

    Raises:
        ValueError: An argument that does not fit; names it, the value, and what would be right.
        FloatingPointError: The loss is not finite; names cycle, centre and stop.

    Warns:
        UserWarning: The policy cannot judge these samples; one for each of `suspicion.ALARMS` on.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(120, 4)).astype(np.float32)
        >>> y, where = (x[:, 0] > 0).astype(int), np.arange(120) % 3
        >>> rows = audit(x, y, where, cycles=2, warmup_cycles=1, progress=False)
        >>> len(rows), rows[0]["verdict"]
        (84, 'kept')
    """
    images = audit_arguments.images(images)
    labels, classes = audit_arguments.labels(labels, len(images))
    classifier = audit_arguments.classifier(classifier, images[:1], len(classes) or 2)
    config = defaults.get_config()
    config.data.classes = classes
    config.seed = audit_arguments.whole("seed", seed, 0, audit_arguments.LARGEST_SEED)
    config.report = False
    config.model.name = _default_model(images.shape)
    if config.model.name == "mlp":
        config.model.norm, config.model.dropout = "none", 0.0
    config.model.momentum = 0.9
    config.train.learning_rate = audit_arguments.between(
        "learning_rate", learning_rate, 0, math.inf
    )
    config.train.cycles = audit_arguments.whole("cycles", cycles, 1, 10_000)
    config.train.warmup_cycles = audit_arguments.whole(
        "warmup_cycles", warmup_cycles, 0, cycles - 1
    )
    config.train.warmup_on = "as_is"
    config.train.deliver = "last"
    config.policy.name = "screen"
    config.policy.screen.alpha = audit_arguments.between("alpha", alpha, 0, 1)
    config.policy.screen.families = audit_arguments.families(families)
    study = _study(images, labels, classes, centres, verification, names, config.seed)
    workdir = audit_arguments.folder(workdir)
    with tempfile.TemporaryDirectory() as spare:
        folder = workdir or pathlib.Path(spare)
        with workdirs.held(folder):
            outcome = training.train(
                config, folder, study=study, classifier=classifier, progress=progress
            )
        for alarm in training.alarms(outcome.verdicts):
            warnings.warn(alarm, stacklevel=2)
        return logbook.harm_rows(study, outcome.verdicts, outcome.mask)


def _default_model(shape) -> str:
    if len(shape) == 2:
        return "mlp"
    is_volume = len(shape) == 4 and min(shape[1:]) >= sfcn.SMALLEST_SIDE
    return "sfcn" if is_volume else "cnn2d"


def _study(images, labels, classes, centres, verification, names, seed) -> preparation.Study:
    """The arrays as a study; the verification samples also stand in for a test split.

    Raises:
        ValueError: Arrays whose shapes or values do not fit.
    """
    centres = audit_arguments.texts("centres", centres, len(images))
    names = audit_arguments.names(names, len(images))
    found = [
        records.Record(row, name, "", centre, int(label))
        for row, (name, centre, label) in enumerate(zip(names, centres, labels, strict=True))
    ]
    if verification is None:
        drawn = splits.assign(found, SHARES, seed=seed)
        verification = np.array([r.split == "verification" for r in drawn])
    verification = audit_arguments.verification(verification, labels, classes)
    known, place = np.unique(centres, return_inverse=True)

    def samples(chosen):
        identity = [records.identity(r) for r, used in zip(found, chosen, strict=True) if used]
        return types.Samples(
            image=images[chosen],
            label=labels[chosen],
            centre=place[chosen].astype(np.int32),
            identity=np.array(identity, np.uint32),
        )

    audited, held_out = ~verification, samples(verification)
    nobody = np.zeros(int(audited.sum()), bool)
    groups = list(metrics.groups([""] * len(held_out.label), [np.nan] * len(held_out.label)))
    return preparation.Study(
        train=samples(audited),
        verification=held_out,
        test=held_out,
        names=tuple(names[audited].tolist()),
        centres=tuple(known.tolist()),
        groups={"verification": groups, "test": groups},
        simulated=False,
        corrupted=nobody,
        kind=("",) * len(nobody),
        word=nobody.astype(np.int8),
        text="",
        classes=classes or records.CLASSES,
    )
