"""Quality control for people who only have arrays: one call, one table."""

import pathlib
import tempfile
import warnings

import numpy as np

from harmjax import defaults, metrics, preparation, tables, training, types
from harmjax.data import records, splits
from harmjax.models import module, sfcn

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

    Trains the travelling model over the centres on the data as they are, under the policy `screen`.

    Args:
        images: [N, X, Y, Z], [N, X, Y, C], [N, X, Y] or [N, F]; intensities 0..255 are what the
            defaults are made for, features should be standardised.
        labels: [N] 0 or 1.
        centres: [N] str or int, who holds each sample.
        classifier: A Flax linen module (see `models.module`) or a `types.Classifier`; by default
            the SFCN for volumes, a CNN for slices, an MLP for features.
        verification: [N] bool, samples known to be good, which the others are measured against and
            which are not audited; by default 30% of every centre, stratified, taken on trust.
        names: [N] str; by default the positions.
        alpha: Expected fraction of good samples that are eliminated.
        families: Of evidence, see `policies.screen`.
        cycles: In all.
        warmup_cycles: Of these, before samples are judged.
        learning_rate: Of Adam.
        seed: Of model, itineraries and the default verification samples.
        workdir: Folder that keeps the run's tables and checkpoints; by default a temporary one.
        progress: Whether to draw a progress bar.

    Raises:
        ValueError: Arrays whose shapes or values do not fit.

    Warns:
        UserWarning: The policy cannot judge these samples; one of `types.ALARMS`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(120, 4)).astype(np.float32)
        >>> y, where = (x[:, 0] > 0).astype(int), np.arange(120) % 3
        >>> rows = audit(x, y, where, cycles=2, warmup_cycles=1, progress=False)
        >>> len(rows), rows[0]["verdict"]
        (84, 'kept')
    """
    study = _study(images, labels, centres, verification, names, seed)
    config = defaults.get_config()
    config.seed, config.report = seed, False
    config.model.name = _default_model(np.shape(images))
    if config.model.name == "mlp":
        config.model.norm, config.model.dropout = "none", 0.0
    config.model.momentum = 0.9
    config.train.learning_rate, config.train.cycles = learning_rate, cycles
    config.train.warmup_cycles, config.train.warmup_on = warmup_cycles, "as_is"
    config.train.deliver = "last"
    config.policy.name = "screen"
    config.policy.screen.alpha, config.policy.screen.families = alpha, tuple(families)
    if classifier is not None and not isinstance(classifier, types.Classifier):
        classifier = module.of_module(classifier)
    with tempfile.TemporaryDirectory() as spare:
        folder = pathlib.Path(workdir or spare)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = training.train(
            config, folder, study=study, classifier=classifier, progress=progress
        )
        alarm = types.ALARMS[int(outcome.verdicts.alarm)]
        if alarm:
            warnings.warn(alarm, stacklevel=2)
        return tables.read(folder / "harm.csv")


def _default_model(shape) -> str:
    if len(shape) == 2:
        return "mlp"
    is_volume = len(shape) == 4 and min(shape[1:]) >= sfcn.SMALLEST_SIDE
    return "sfcn" if is_volume else "cnn2d"


def _study(images, labels, centres, verification, names, seed) -> preparation.Study:
    """The arrays as a study; the verification samples also stand in for a test split.

    Raises:
        ValueError: Arrays whose shapes or values do not fit.
    """
    images, labels, centres = np.asarray(images), np.asarray(labels), np.asarray(centres, str)
    if images.ndim not in (2, 3, 4) or not len(images):
        raise ValueError(f"images: shape {images.shape}; expected [N, ...] with 1 to 3 more axes")
    for what, given in {"labels": labels, "centres": centres}.items():
        if given.shape != (len(images),):
            raise ValueError(f"{what}: shape {given.shape}; expected ({len(images)},)")
    if sorted(set(labels.tolist())) != [0, 1]:
        raise ValueError(f"labels: values {sorted(set(labels.tolist()))[:5]}; expected 0 and 1")
    if not np.isfinite(images.astype(np.float32)).all():
        raise ValueError("images: NaN or infinite values; leave out or fill in those samples first")
    names = np.asarray(names if names is not None else np.arange(len(images)), str)
    found = [
        records.Record(row, name, "", centre, int(label))
        for row, (name, centre, label) in enumerate(zip(names, centres, labels, strict=True))
    ]
    if verification is None:
        drawn = splits.assign(found, SHARES, seed=seed)
        verification = np.array([r.split == "verification" for r in drawn])
    verification = np.asarray(verification, bool)
    if len(set(labels[verification].tolist())) < 2:
        raise ValueError("verification: samples of both classes are needed; name some of each")
    known, place = np.unique(centres, return_inverse=True)
    stored = images if images.dtype == np.uint8 else images.astype(np.float32)

    def samples(chosen):
        identity = [records.identity(r) for r, used in zip(found, chosen, strict=True) if used]
        return types.Samples(
            image=stored[chosen],
            label=labels[chosen].astype(np.int32),
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
        keep=nobody,
        drop=nobody,
        text="",
    )
