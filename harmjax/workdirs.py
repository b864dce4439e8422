"""Folders that runs write to: one process at a time, and whole files only.

A folder is held by a lock on its file `.lock`, which ends with the process that took it, however
that ends. Files take their names when they are complete; what a kill leaves ends in `.part`, is
never read, and goes when the folder is held again.
"""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import socket
import threading
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED = (
    *(".*.[0-9]*.part", "retrained/*/.*.[0-9]*.part"),
    *("checkpoints/*.part", "checkpoints/*.part.orbax-checkpoint-tmp*"),
)
_HELD: dict[str, list[int]] = {}  # path of a folder -> its thread, and how many times it holds it


@contextlib.contextmanager
def held(folder) -> Iterator[None]:
    """Holds a folder for the calling thread; makes it if it is missing.

    It may be held again inside, as by a run of a sweep; the outermost one lets go. A child process
    does not hold it, unless it was forked without another program.

    Args:
        folder: That one process at a time may write to.

    Raises:
        ValueError: It is held by another process or thread; names the folder and who holds it.
        OSError: It cannot be made, or not be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as spare, held(spare), held(spare):
        ...     sorted(os.listdir(spare))
        ['.lock']
    """
    folder, me = pathlib.Path(folder), threading.get_ident()
    folder.mkdir(parents=True, exist_ok=True)
    place = os.path.realpath(folder)
    holder = _HELD.setdefault(place, [me, 0])
    if holder[0] != me:
        raise _in_use(folder, "another thread of this process")
    if holder[1]:
        holder[1] += 1
        try:
            yield
        finally:
            holder[1] -= 1
        return
    try:
        with (folder / ".lock").open("a+", encoding="utf-8") as file:
            _lock(file, folder)
            holder[1] = 1
            _tidy(folder)
            yield
    finally:
        del _HELD[place]


def _lock(file, folder) -> None:
    """Locks an open file for as long as it is open, and writes into it who did."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise _in_use(folder, file.read().strip() or "another process") from None
    with contextlib.suppress(OSError):  # on a full disk, the lock counts without its text
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())


def _in_use(folder, holder) -> ValueError:
    return ValueError(
        f"{folder} is in use by {holder}: wait until it has ended, or name another workdir"
    )


def _tidy(folder) -> None:
    """Deletes what a kill or a full disk left unfinished."""
    for pattern in UNFINISHED:
        for path in folder.glob(pattern):
            remove(path)


def remove(path) -> None:
    """Deletes a file, or a folder with all that is in it; one that is not there is fine."""
    path = pathlib.Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path) -> Iterator:
    """A binary file that takes the place of `path` when it is complete and on the disk.

    Two processes may replace a file at once: each has a part of its own.

    Raises:
        OSError: It cannot be written; names `path`. What was there before is still there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as spare:
        ...     with replacing(f"{spare}/a.txt") as file:
        ...         _ = file.write(b"whole")
        ...     sorted(os.listdir(spare))
        ['a.txt']
    """
    path = pathlib.Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        number = error.errno or errno.EIO
        raise OSError(number, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write(path, content: str | bytes) -> None:
    """Writes a whole file, see `replacing`; text as UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path, content) -> None:
    """Writes a JSON file, whole; see `replacing`."""
    write(path, json.dumps(content, indent=1, sort_keys=False) + "\n")


def whole(text: str | None, name: str) -> pathlib.Path:
    """A path that a person gave, with `~` expanded, independent of the current folder.

    `..` stays as it is, because behind a linked folder it is the system that knows where it leads.

    Args:
        text: As it was given.
        name: Of the flag or setting, for the error.

    Raises:
        ValueError: It is empty, or there is no home folder for its `~`.
    """
    if not text:
        raise ValueError(f"{name} is empty: name a file or folder")
    try:
        return pathlib.Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{name}={text}: {error} Write the path without ~") from error
