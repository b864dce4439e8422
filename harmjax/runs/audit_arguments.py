"""What `audit.audit` is given, read or refused: every error is a `ValueError` of one line.

An error names the argument, the value, where it stands and what would be right. Nothing is guessed:
a mask that may be a list of positions, or a centre that may be a gap, is refused.
"""

import math
import numbers
import os
import pathlib
import reprlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import scorers, types
from harmjax.data import records
from harmjax.data.tables import classes
from harmjax.models import module
from harmjax.runs import training

GAPS = ("", "nan", "none", "nat", "<na>")  # what a missing name reads as text
LARGEST_SEED = 2**32 - 1
_shown = reprlib.repr


def images(given) -> np.ndarray:
    """[N, ...] uint8 or float32, finite, with one to three more axes."""
    array = _array("images", given)
    if array.ndim not in (2, 3, 4) or not array.size:
        raise ValueError(f"images: shape {array.shape}; expected [N, ...] with 1 to 3 more axes")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "biufO":
        raise ValueError(f"images: dtype {array.dtype}; give real numbers")
    try:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"images: not numbers ({error}); give an array of them") from error
    lost = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if lost.any():
        raise ValueError(
            f"images: NaN or infinite values in {lost.sum()} samples, the first at position "
            f"{np.argmax(lost)}; leave those out, or fill in what is missing"
        )
    return array


def labels(given, number: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """([N] int32 from 0, names of the classes in order), two or more samples of every class.

    Texts are classes in sorted order, whole numbers are classes as they are; 0 and 1 have no names.
    """
    values = _one_each("labels", given, number).tolist()
    are_texts = any(isinstance(value, str) for value in values)
    place, names = _classes(values) if are_texts else _numbers(values)
    counts = np.bincount(place)
    if np.count_nonzero(counts) < 2:
        raise ValueError(f"labels: values {_shown(values[:1])} only; samples of both are needed")
    if 0 in counts:
        gap = counts.tolist().index(0)
        at = int(np.argmax(place > gap))
        raise ValueError(
            f"labels: {_shown(values[at])} at position {at}, and {gap} nowhere; number the classes "
            "from 0 without a gap, or give texts"
        )
    if 1 in counts:
        at = place.tolist().index(counts.tolist().index(1))
        raise ValueError(
            f"labels: {_shown(values[at])} at position {at} and nowhere else; two samples of every "
            "class are needed, one to train on and one to verify with"
        )
    return place, names


def _classes(values) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of each text its place among all in sorted order, and these."""
    read = [_text(value) if isinstance(value, str) else None for value in values]
    if None in read:
        at = read.index(None)
        raise ValueError(
            f"labels: {_shown(values[at])} at position {at}; give every sample a text, or every "
            "sample a whole number"
        )
    found, place = np.unique(np.array(read, object), return_inverse=True)
    try:
        names = classes.names(found) if len(found) > 1 else ()
    except records.ManifestError as error:
        raise ValueError(f"labels: {str(error).removeprefix('data.classes: ')}") from error
    return place.astype(np.int32), names


def _numbers(values) -> tuple[np.ndarray, tuple[str, ...]]:
    """Whole numbers from 0, and their names; none where they are 0 and 1."""
    right = [_is_number(value) and 0 <= value < len(values) and value % 1 == 0 for value in values]
    if not all(right):
        at = right.index(False)
        raise ValueError(
            f"labels: {_shown(values[at])} at position {at}; give whole numbers from 0 without a "
            "gap (0 or 1, 1 for disease), or texts"
        )
    place = np.array([int(value) for value in values], np.int32)
    return place, tuple(map(str, range(place.max() + 1))) if place.max() > 1 else ()


def texts(name: str, given, number: int) -> np.ndarray:
    """[N] str, none of which is a gap."""
    array = _one_each(name, given, number)
    read = [_text(value) for value in array.tolist()]
    if None in read:
        at = read.index(None)
        raise ValueError(
            f"{name}: {_shown(array.tolist()[at])} at position {at}; give a text or a whole number"
        )
    return np.array(read, str)


def names(given, number: int) -> np.ndarray:
    """[N] str, each another one; the positions if nothing is given."""
    array = texts("names", range(number) if given is None else given, number)
    known, first, count = np.unique(array, return_index=True, return_counts=True)
    if (count > 1).any():
        again = int(np.argmax(count > 1))
        raise ValueError(
            f"names: {_shown(str(known[again]))} at position {first[again]} and "
            f"{count[again] - 1} times more; give every sample another name"
        )
    return array


def verification(given, label, names=()) -> np.ndarray:
    """[N] bool, with samples of all classes inside and outside."""
    array = _one_each("verification", given, len(label))
    if not all(isinstance(value, (bool, np.bool_)) for value in array.tolist()):
        raise ValueError(
            f"verification: {_shown(array.tolist()[0])} at position 0 is no bool; give a mask, "
            "as numpy.isin(numpy.arange(N), positions)"
        )
    mask = array.astype(bool)
    called = names or ("0", "1")
    every = "both classes" if len(called) == 2 else "every class"
    for chosen, what in ((mask, "in"), (~mask, "outside")):
        counts = np.bincount(label[chosen], minlength=len(called)).tolist()
        if 0 not in counts:
            continue
        missing = [name for name, count in zip(called, counts, strict=True) if not count]
        told = f"{counts} of {' and '.join(called)}"
        if len(called) > 2:
            told = f"none of {records.listed(map(_shown, missing), 3)}"
        raise ValueError(
            f"verification: samples of {every} are needed {what} it, and there are {told}; "
            "name some of each"
        )
    return mask


def families(given) -> tuple[str, ...]:
    """Names of scorers, each once."""
    if isinstance(given, str) or not isinstance(given, Sequence) or not len(given):
        raise ValueError(
            f"families: {_shown(given)}; give a list of names: {', '.join(scorers.names())}"
        )
    wrong = [name for name in given if not isinstance(name, str)]
    twice = [name for name in given if list(given).count(name) > 1]
    if wrong or twice:
        raise ValueError(
            f"families: {_shown((wrong + twice)[0])}; give names of scorers, each once"
        )
    for name in given:
        if scorers.get(name)().measure is None:
            raise ValueError(f"families: {_shown(name)} tries updates out; choose another scorer")
    return tuple(given)


def whole(name: str, given, least: int, most: int) -> int:
    """A whole number in a range, both ends included."""
    if not isinstance(given, (int, np.integer)) or isinstance(given, (bool, np.bool_)):
        raise ValueError(f"{name}: {_shown(given)}; give a whole number from {least} to {most}")
    if not least <= given <= most:
        raise ValueError(f"{name}: {_shown(given)}; give a whole number from {least} to {most}")
    return int(given)


def between(name: str, given, least: float, most: float) -> float:
    """A number in a range, both ends excluded."""
    if not _is_number(given) or isinstance(given, (bool, np.bool_)) or not least < given < most:
        raise ValueError(
            f"{name}: {_shown(given)}; give a number above {least:g} and below {most:g}"
        )
    return float(given)


def folder(given) -> pathlib.Path | None:
    """A folder that can be made and written to, or None."""
    if given is None:
        return None
    try:
        path = pathlib.Path(given).expanduser().absolute()
        path.mkdir(parents=True, exist_ok=True)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise ValueError(f"workdir: {given!r}: {error}; name a folder to write to") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"workdir: {path} cannot be written to; name another folder")
    return path


def classifier(given, image, num_classes: int = 2) -> types.Classifier | None:
    """A classifier that gives logits of every class for images like `image` [1, *S]."""
    if given is None:
        return None
    if isinstance(given, type) or not callable(getattr(given, "apply", None)):
        raise ValueError(
            f"classifier: {_shown(given)}; give an instance of a Flax linen module, or a "
            "types.Classifier"
        )
    try:
        found = given if isinstance(given, types.Classifier) else module.of_module(given)
        batch = jnp.asarray(np.concatenate([image, image]))
        logits = jax.eval_shape(lambda key: training.logits(found, key, batch), jax.random.key(0))
    except Exception as error:  # whatever somebody's own module raises
        said = str(error).strip().split("\n")[0]
        raise ValueError(
            f"classifier: fails on images of shape {image.shape[1:]} "
            f"({type(error).__name__}: {said}); see models.module"
        ) from error
    if logits.shape != (len(batch), num_classes):
        raise ValueError(
            f"classifier: logits of shape {logits.shape} for {len(batch)} images; give "
            f"{num_classes} each, one for every class"
        )
    return found


def _array(name, given) -> np.ndarray:
    try:
        return np.asarray(given)
    except Exception as error:  # whatever somebody's own container raises
        raise ValueError(f"{name}: no array ({error}); give one shape for all samples") from error


def _one_each(name, given, number) -> np.ndarray:
    """[N] of objects as they were given: an array would turn a gap among texts into a text."""
    array = _array(name, given if hasattr(given, "dtype") else _listed(name, given))
    if array.shape != (number,):
        raise ValueError(f"{name}: shape {array.shape}; expected ({number},)")
    return array


def _listed(name, given) -> np.ndarray:
    if isinstance(given, (str, bytes, dict)) or not hasattr(given, "__iter__"):
        raise ValueError(f"{name}: {_shown(given)}; give one value for each sample")
    items = list(given)
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def _text(value) -> str | None:
    """A name as text, None where it is none: a gap, bytes, a number with a fraction."""
    if isinstance(value, str):
        return None if value.strip().casefold() in GAPS else value
    if isinstance(value, (bool, np.bool_)) or not _is_number(value):
        return None
    return str(int(value)) if value == int(value) else None


def _is_number(value) -> bool:
    try:
        return isinstance(value, (numbers.Real, np.bool_)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False
