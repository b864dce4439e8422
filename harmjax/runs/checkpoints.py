"""Checkpoints of a run, through orbax: the model and the policy's state after a cycle, by phase.

A checkpoint is a folder `PHASE_CCCC` that appears only when it is complete, with the items `model`
and `state`; `final` is the delivered model, without a state. They are written at once by the
calling thread: orbax's asynchronous checkpointer waits 300 s after an error before a process ends.
"""

import contextlib
import errno
import pathlib
import re

import jax
import orbax.checkpoint as ocp

from harmjax import types, workdirs


def save(folder, name: str, traveller: types.Travel) -> None:
    """Writes a traveller as `folder/name`, replacing one that is there.

    Args:
        folder: Of all checkpoints of a run; made if it is missing.
        name: Of this one.
        traveller: Model and state of the policy.

    Raises:
        OSError: It cannot be written; names the folder. No checkpoint is changed.
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
        ValueError: No such checkpoint, one of another structure, or a damaged one; names the
            folder.
    """
    return types.Travel(*_restored(folder, name, {"model": like.model, "state": like.state}))


def restore_model(folder, name: str, like: types.Model) -> types.Model:
    """The model of a checkpoint, whatever policy it was trained under; see `restore`."""
    (model,) = _restored(folder, name, {"model": like})
    return model


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


def discard(folder, name: str) -> None:
    """Deletes one checkpoint; one that is not there is fine."""
    _discard(pathlib.Path(folder) / name)


def _save(folder, name, items) -> None:
    folder = pathlib.Path(folder).absolute()
    path, part = folder / name, folder / f"{name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    workdirs.remove(part)
    # orbax takes no single array as a tree.
    asked = {item: ocp.args.StandardSave((tree,)) for item, tree in items.items()}
    try:
        _try_folders(part, items)
        with _checkpointer() as checkpointer:
            checkpointer.save(part, ocp.args.Composite(**asked))
        _discard(path)
        part.rename(path)
    except Exception as error:  # threads of orbax raise what they like
        for left in folder.glob(f"{name}.part*"):  # on a full disk, its space is needed
            with contextlib.suppress(OSError):  # they may still write; the next start removes it
                workdirs.remove(left)
        raise OSError(*_reason(error), str(path)) from error


def _try_folders(part, items) -> None:
    """Raises OSError where the folders of a checkpoint cannot be made; leaves none.

    Where that fails within orbax, its threads wait 300 s for them before a process can end.
    """
    for item in items:
        (part / item / item).mkdir(parents=True)
        (part / item / "file").write_bytes(b"")
    workdirs.remove(part)


def _reason(error):
    """Number and text of what the system said; orbax passes it on in words alone."""
    if isinstance(error, OSError) and error.errno:
        return error.errno, error.strerror
    said = re.search(r"([^:]*) \[os_error_code='(\d+)'\]", str(error))
    return (int(said[2]), said[1].strip()) if said else (errno.EIO, str(error))


def _discard(path) -> None:
    """Deletes a checkpoint; killed half-way, what is left is no checkpoint any more."""
    if path.is_dir():
        unfinished = path.with_name(f"{path.name}.old.part")
        workdirs.remove(unfinished)
        path.rename(unfinished)
        workdirs.remove(unfinished)


def _restored(folder, name, like):
    path = pathlib.Path(folder).absolute() / name
    if not path.is_dir():
        raise ValueError(f"no checkpoint {path}: train first, or name another workdir")
    asked = {
        item: ocp.args.StandardRestore(jax.eval_shape(lambda tree=tree: (tree,)))
        for item, tree in like.items()
    }
    try:
        with _checkpointer() as checkpointer:
            found = checkpointer.restore(path, ocp.args.Composite(**asked))
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"checkpoint {path} is of another model or policy, or damaged ({error}); use a new "
            "workdir, or delete it and resume"
        ) from error
    return tuple(found[item][0] for item in like)


def _checkpointer():
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())
