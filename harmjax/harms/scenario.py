"""Planting harms into a cohort."""

import inspect
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from harmjax import harms, types
from harmjax.harms import plan

SLOTS = 8


def resolve(
    harm: str | Sequence[str] | Mapping[str, harms.Harm],
    kind: str,
    classes: int = 2,
    settings: Mapping[str, Mapping] | None = None,
) -> dict:
    """Returns {name: harm function}, harms given by name with their default strength.

    Args:
        harm: A name, several names, or {name: harm function} where other strengths are wanted.
        kind: 'image' or 'tabular', the data at hand.
        classes: K, for harms that take it.
        settings: {name: hyperparameters} of harms given by name, where they are not the defaults.

    Raises:
        ValueError: For an unknown harm, one for other data, or settings that it does not take.

    Example:
        >>> list(resolve(("inversion", "label_flip"), "image"))
        ['inversion', 'label_flip']
    """
    given = (harm,) if isinstance(harm, str) else harm
    for name in given:
        is_own = isinstance(given, Mapping) and name not in harms.names()
        if not is_own and name not in harms.names(kind):
            raise ValueError(
                f"harm {name!r} is for {harms.kind_of(name)} data and the samples are {kind}; "
                f"choose from {', '.join(harms.names(kind))}"
            )
    if isinstance(given, Mapping):
        return dict(given)
    return {name: _built(name, classes, (settings or {}).get(name, {})) for name in given}


def _built(name, classes, settings):
    factory = harms.get(name)
    taken = inspect.signature(factory).parameters
    offered = {"classes": classes} if "classes" in taken else {}
    unknown = settings.keys() - (taken.keys() - offered.keys())
    if unknown:
        raise ValueError(
            f"scenario.{name}: {', '.join(sorted(unknown))} is no setting of this harm; known are "
            f"{', '.join(taken.keys() - offered.keys()) or 'none'}"
        )
    return factory(**offered, **settings)


def _store(scan, dtype):
    """A float32 result as the storage holds it."""
    if np.issubdtype(dtype, np.integer):
        return np.clip(np.rint(scan), 0, 255).astype(dtype)
    return scan.astype(dtype)


def _check_raw(image):
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and 1 < high <= 255):
        raise ValueError(
            f"scenario: image intensities span {low:g} to {high:g}; image harms need raw "
            "intensities in 0..255, so plant them before any normalisation"
        )


def plant(
    samples: types.Samples,
    choice: plan.Choice,
    harm: str | Sequence[str] | Mapping[str, harms.Harm],
    *,
    seed,
    centre_names: Sequence[str] = (),
    classes: int = 2,
    settings: Mapping[str, Mapping] | None = None,
) -> tuple[types.Samples, np.ndarray, list[str]]:
    """Returns the samples with harms planted, `corrupted` bool [N], and the kind of each (or '').

    Every damaged sample draws from its own key, made of the seed and its identity, so that it comes
    out the same however many others are damaged. Donors give their untouched scans.

    Args:
        samples: Training samples as NumPy arrays; images raw 0..255 in uint8, bfloat16 or float32,
            or rows of features [N, F] in float32. Not changed; dtypes are kept, uint8 rounded and
            clipped.
        choice: What is damaged.
        harm: A name, several names (dealt round robin), or {name: harm function}.
        seed: An int or a typed key.
        centre_names: See `plan.draw`.
        classes: K, of the labels.
        settings: Hyperparameters of harms given by name, see `resolve`.

    Raises:
        ValueError: As `plan.draw` and `resolve`, or for images outside 0..255.

    Example:
        >>> image, label = np.full((40, 4, 4, 4), 55, np.uint8), np.tile([0, 1], 20)
        >>> centre, identity = np.repeat(np.arange(8), 5), np.arange(40, dtype=np.uint32)
        >>> samples = types.Samples(image, label, centre, identity)
        >>> some = plan.Choice("singles", count=3)
        >>> damaged, corrupted, kind = plant(samples, some, "inversion", seed=0)
        >>> int(corrupted.sum()), damaged.image[corrupted].min(), kind.count("inversion")
        (3, np.uint8(200), 3)
    """
    if choice.name == "none":
        harm = {}
    image, label = np.array(samples.image), np.array(samples.label)
    is_table = image.ndim == 2
    given = resolve(harm, "tabular" if is_table else "image", classes, settings)
    choice_key, harm_key = jax.random.split(plan.typed_key(seed))
    chosen = plan.draw(
        label, samples.centre, choice, len(given), seed=choice_key, centre_names=centre_names
    )
    corrupted = chosen.turn >= 0
    if corrupted.any() and not is_table:
        _check_raw(image)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(harm_key, np.asarray(samples.identity))
    source = np.asarray(samples.image), np.asarray(samples.label)
    for turn, harm_fn in enumerate(given.values()):
        run = jax.jit(jax.vmap(harm_fn))
        ids = np.flatnonzero(chosen.turn == turn)
        # A few at a time, repeated to a fixed length: one compilation, bounded memory.
        for start in range(0, len(ids), SLOTS):
            some = ids[start : start + SLOTS]
            slots = np.resize(some, SLOTS)
            scans, donors = (
                source[0][which].astype(np.float32) for which in (slots, chosen.donor[slots])
            )
            scans, labels = run(keys[slots], scans, source[1][slots], donors)
            image[some] = _store(np.asarray(scans)[: len(some)], image.dtype)
            label[some] = np.asarray(labels)[: len(some)]
    names = list(given)
    kind = [names[turn] if turn >= 0 else "" for turn in chosen.turn]
    return samples._replace(image=image, label=label), corrupted, kind
