"""Federations whose centres are sites of this process, reached by messages alone."""

import numpy as np

from harmjax import types
from harmjax.federations import layout, loopback, site
from harmjax.runs import preparation, training
from tests import classes


def of_centre(samples, c):
    """What one centre holds, on the host."""
    own = np.asarray(samples.centre) == c
    return types.Samples(*(np.asarray(x)[own] for x in samples))


def sites(learner, train, held_out, key, *, chunk=64, minimum=5, groups=None):
    """One site a centre, over the samples that a federation in memory would read.

    Args:
        learner, train, key, chunk, minimum: As `memory.memory` takes them.
        held_out: Split -> samples; 'verification' is one of them.
        groups: Split -> pairs of a subgroup's name and its members; none by default.
    """
    groups = groups or {split: [] for split in held_out}
    centre = np.asarray(train.centre)
    holders = [centre, *(np.asarray(samples.centre) for samples in held_out.values())]
    width = layout.width(held_out["verification"].centre, chunk)
    return [
        site.site(
            learner,
            of_centre(train, c),
            {split: of_centre(samples, c) for split, samples in held_out.items()},
            {
                split: [
                    (name, np.asarray(who)[np.asarray(held_out[split].centre) == c])
                    for name, who in of_split
                ]
                for split, of_split in groups.items()
            },
            key,
            fold=np.flatnonzero(centre == c) % 2,
            width=width,
            minimum=minimum,
        )
        for c in range(1 + max(int(each.max()) for each in holders))
    ]


def messages(learner, train, held_out, key, **options):
    """The answers of `memory.memory` over the same samples, each from a message and back."""
    each = sites(learner, train, {"verification": held_out}, key, **options)
    names = classes.NAMES[learner.task.num_classes]
    factory = loopback.loopback(each, names)
    return factory(learner, train, held_out, key, **options)


def without_rows(study):
    """What a server knows of a study whose centres keep their scans and labels."""
    return preparation.rowless(
        study.centres,
        study.train.centre,
        study.verification.centre,
        shape=study.train.image.shape[1:],
        dtype=study.train.image.dtype,
        classes=study.classes,
        names=study.names,
    )


def of_study(config, study):
    """A factory of the federation of sites that hold what is in the study."""
    each = sites(
        training.build_learner(config),
        study.train,
        {"verification": study.verification, "test": study.test},
        training.course(config, study).key,
        chunk=config.train.verification_batch,
        minimum=config.train.minimum_group,
        groups=study.groups,
    )
    return loopback.loopback(each, study.classes)
