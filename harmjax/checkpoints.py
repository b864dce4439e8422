"""Checkpoints of a run: the whole traveller after a cycle, by phase, through orbax.

A checkpoint is a folder `PHASE_CCCC` that appears only when it is complete. `final` is the
delivered model.
"""

import pathlib
import re
import shutil

import jax
import orbax.checkpoint as ocp


def save(folder, name: str, tree) -> None:
    """Writes a pytree of arrays as `folder/name`, replacing one that is there.

    Args:
        folder: Of all checkpoints of a run.
        name: Of this one.
        tree: Any pytree of arrays.
    """
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(pathlib.Path(folder).resolve() / name, tree, force=True)
    checkpointer.wait_until_finished()
    checkpointer.close()


def restore(folder, name: str, like):
    """The pytree saved as `folder/name`, bit for bit.

    Args:
        folder: Of all checkpoints of a run.
        name: Of the checkpoint.
        like: A pytree of the same structure and shapes; its values are not used.

    Raises:
        ValueError: No such checkpoint, or one of another structure; names the folder.
    """
    path = pathlib.Path(folder).resolve() / name
    if not path.is_dir():
        raise ValueError(f"no checkpoint {path}: train first, or name another workdir")
    checkpointer = ocp.StandardCheckpointer()
    try:
        return checkpointer.restore(path, jax.eval_shape(lambda: like))
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"checkpoint {path} is of another model or policy ({error}); use a new workdir"
        ) from error
    finally:
        checkpointer.close()


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
    for cycle in cycles(folder, phase):
        if cycle != keep:
            shutil.rmtree(pathlib.Path(folder) / name(phase, cycle))
