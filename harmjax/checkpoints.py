"""Checkpoints of a run: the model and the policy's state after a cycle, by phase.

A checkpoint is a folder `PHASE_CCCC` that appears only when it is complete, with `model.npz` and
`state.npz`; `final` is the delivered model, without a state. Each array stands under its place in
the pytree, so that `numpy.load` reads them without harmjax. They are written at once by the calling
thread: orbax writes in threads of its own, which wait 300 s after an error before a process ends.
"""

import pathlib
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types, workdirs


def save(folder, name: str, traveller: types.Travel) -> None:
    """Writes a traveller as `folder/name`, replacing one that is there.

    Args:
        folder: Of all checkpoints of a run; made if it is missing.
        name: Of this one.
        traveller: Model and state of the policy.

    Raises:
        OSError: It cannot be written; names it. No checkpoint is changed.
    """
    _save(folder, name, {"model": traveller.model, "state": traveller.state})


def save_model(folder, name: str, model: types.Model) -> None:
    """Like `save`, of a model without a state."""
    _save(folder, name, {"model": model})


def restore(folder, name: str, like: types.Travel) -> types.Travel:
    """The traveller saved as `folder/name`, bit for bit.

    Args:
        folder: Of all checkpoints of a run.
        name: Of the checkpoint.
        like: A traveller of the same structure, shapes and dtypes; its values are not used.

    Raises:
        ValueError: No such checkpoint, one of another structure, or a damaged one; names the file.
    """
    model = restore_model(folder, name, like.model)
    return types.Travel(model, _restored(folder, name, "state", like.state))


def restore_model(folder, name: str, like: types.Model) -> types.Model:
    """The model of a checkpoint, whatever policy it was trained under; see `restore`."""
    return _restored(folder, name, "model", like)


def cycles(folder, phase: str) -> list[int]:
    """The cycles of a phase that have a complete checkpoint, in order."""
    folder = pathlib.Path(folder)
    found = (re.fullmatch(rf"{phase}_(\d{{4}})", path.name) for path in folder.glob(f"{phase}_*"))
    return sorted(int(match[1]) for match in found if match)


def name(phase: str, cycle: int) -> str:
    """The checkpoint's name after a cycle of a phase."""
    return f"{phase}_{cycle:04d}"


def prune(folder, phase: str, keep: int) -> None:
    """Deletes a phase's checkpoints of all cycles but one."""
    folder = pathlib.Path(folder)
    for cycle in cycles(folder, phase):
        if cycle != keep:
            _discard(folder / name(phase, cycle))


def _save(folder, name, items) -> None:
    folder = pathlib.Path(folder)
    part = folder / f"{name}.part"
    workdirs.remove(part)
    part.mkdir(parents=True)
    try:
        for item, tree in items.items():
            leaves = {place: np.asarray(leaf) for place, leaf in _leaves(tree)}
            with workdirs.replacing(part / f"{item}.npz") as file:
                np.savez(file, **leaves)
        _discard(folder / name)
        part.rename(folder / name)
    except OSError as error:
        workdirs.remove(part)  # on a full disk, its space is needed
        raise OSError(error.errno, error.strerror, str(folder / name)) from error


def _discard(path) -> None:
    """Deletes a checkpoint; killed half-way, what is left is no checkpoint any more."""
    if path.is_dir():
        unfinished = path.with_name(f"{path.name}.old.part")
        workdirs.remove(unfinished)
        path.rename(unfinished)
        workdirs.remove(unfinished)


def _restored(folder, name, item, like):
    place = pathlib.Path(folder).absolute() / name
    path = place / f"{item}.npz"
    if not place.is_dir():
        raise ValueError(f"no checkpoint {place}: train first, or name another workdir")
    if not path.exists():
        raise ValueError(f"{path} is missing: train anew in another workdir; an older harmjax?")
    try:
        with path.open("rb") as file, np.load(file) as stored:
            found = {key: stored[key] for key in stored.files}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): delete {place} and resume") from error
    places = dict(_leaves(jax.eval_shape(lambda: like)))
    other = sorted(found.keys() ^ places.keys())
    if other:
        raise ValueError(f"{path} is of another model or policy ({other[0]}); use a new workdir")
    return jax.tree.unflatten(
        jax.tree.structure(like), [_as(found[at], leaf, at, path) for at, leaf in places.items()]
    )


def _as(array, like, place, path):
    # NumPy writes bfloat16 as two bytes of no known type.
    if array.dtype.kind == "V" and array.dtype.itemsize == like.dtype.itemsize:
        array = array.view(like.dtype)
    if (array.shape, array.dtype) != (like.shape, like.dtype):
        raise ValueError(
            f"{path} is of another model or policy ({place} is {array.dtype}{list(array.shape)}, "
            f"expected {like.dtype}{list(like.shape)}); use a new workdir"
        )
    return jnp.asarray(array)


def _leaves(tree):
    return [(jax.tree_util.keystr(at), x) for at, x in jax.tree_util.tree_leaves_with_path(tree)]
