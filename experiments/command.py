"""What the experiments share: flags, the workdir's config.json and log.txt, errors in one line.

An experiment is a module with `main(config, workdir)`, run by `command.run(main)`. It ends with
exit code 0; 2 where a person has to change something; 1 where a file could not be read or written
or a loss was not finite; 130 where it was interrupted.
"""

import contextlib
import errno
import functools
import os
import pathlib
import re
import sys
import traceback

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from harmjax import plugins, shipped, workdirs


class _Configs(flags.ArgumentParser):
    """Of absl's flags: from the name or path of a config to the locked config."""

    def parse(self, name):
        config = shipped.get_config(name)
        for word in sys.argv[1:]:
            _check_setting(config, word)
        return config.lock()


def _check_setting(config, word) -> None:
    """Raises ValueError if a word of the command line changes a setting that there is not."""
    found = re.match(r"--?(?:no)?config\.([\w.]+)", word)
    if not found:
        return
    place = config
    for key in found[1].split("."):
        known = list(place) if isinstance(place, ml_collections.ConfigDict) else ()
        if key not in known:
            raise ValueError(f"no setting {found[1]!r}{plugins.choices(key, known)}")
        place = place[key]


CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    f"Name of a config ({', '.join(shipped.configs())}) or path of a file, perhaps with an "
    "argument after a colon; --config.KEY=VALUE changes a setting.",
)
flags.FLAGS["config"].parser = _Configs()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for everything the run writes; running again resumes."
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def run(main, *, required=("config", "workdir"), hold: bool = True) -> None:
    """Parses the command line and runs `main(config, workdir)`.

    What goes wrong ends with one line and an exit code; the traceback goes to log.txt.

    Args:
        main: Of the experiment.
        required: Flags that must be given.
        hold: Whether to make the workdir and hold it against other processes.
    """

    def checked(_):
        logging.set_verbosity(logging.FATAL)  # what fails is raised, and told in one line
        _take_memory_in_huge_pages()
        workdir = None
        try:
            if WORKDIR.value is not None:
                workdir = workdirs.whole(WORKDIR.value, "--workdir")
            config = _located(CONFIG.value)
            sys.unraisablehook = _logged(workdir)
            with _held(workdir) if hold and workdir else contextlib.nullcontext():
                _keep_compiled_programs(workdir)
                main(config, workdir)
        except (Exception, KeyboardInterrupt) as error:
            with contextlib.suppress(OSError):  # the disk may be what is wrong
                log(workdir, traceback.format_exc(), echo=False)
            code, line = _ending(error, workdir)
            if code is None:
                raise
            print(line, file=sys.stderr)
            if isinstance(error, OSError):
                _end_at_once(code)
            sys.exit(code)

    for name in ("config", "workdir"):  # so that --help tells of them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    app.run(checked, flags_parser=functools.partial(_parsed, required))


def _parsed(required, argv) -> list[str]:
    """What absl's flags leave of a command line; what is wrong with it ends like other errors."""
    try:
        name, *unexpected = flags.FLAGS(argv)
        missing = [f"--{flag}" for flag in required if flags.FLAGS[flag].value is None]
        if unexpected:
            raise flags.Error(f"unexpected arguments: {' '.join(unexpected)}")
        if missing:
            raise flags.Error(f"{' and '.join(missing)} missing; --help tells what they are")
        return [name]
    except flags.Error as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit:  # absl ends --help with 1
        sys.exit(0)


def _located(config):
    from harmjax.runs import recorded

    return config and recorded.located(config)


def log(workdir, text: str, *, echo: bool = True) -> None:
    """Appends text to the workdir's log.txt and shows it above any progress bar."""
    if workdir is not None and workdir.is_dir():
        place = workdir / "log.txt"
        try:
            with place.open("a", encoding="utf-8") as file:
                file.write(text.rstrip("\n") + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(place)) from error
    if echo:
        import tqdm

        tqdm.tqdm.write(text, file=sys.stdout)


def record(config, workdir) -> None:
    """Writes config.json, and what changed since to log.txt; see `recorded.record`."""
    from harmjax.runs import recorded

    for text in recorded.record(config, workdir):
        log(workdir, text)


@contextlib.contextmanager
def _held(workdir):
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(workdirs.held(workdir))
        except OSError as error:
            if error.errno in FULL:
                raise
            raise ValueError(
                f"--workdir={workdir}: no folder that can be written to ({error.strerror}: "
                f"{error.filename}); name another one"
            ) from error
        yield


def _logged(workdir):
    """A hook that writes to log.txt what a library raises in its threads after an error."""

    def hook(unraisable):
        with contextlib.suppress(OSError):
            log(workdir, f"in a thread: {unraisable.exc_value!r}", echo=False)

    return hook


def _end_at_once(code) -> None:
    """Ends the process without waiting for threads of libraries that still wait for the disk."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _ending(error, workdir) -> tuple[int | None, str]:
    """The exit code and the line that an error ends with; no code for an error of harmjax."""
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted: the same command goes on from here"
    if isinstance(error, ValueError):
        return 2, f"error: {error}"
    if isinstance(error, FloatingPointError):
        return 1, f"error: {error}"
    if isinstance(error, OSError):
        place = error.filename or f"a file, probably in {workdir}"
        return 1, f"error: {place}: {error.strerror or error}: {_remedy(error.errno)}"
    return None, ""


def _remedy(number) -> str:
    if number in FULL:
        return "free some space and start the same command again, it resumes"
    if number in FORBIDDEN:
        return "change its permissions, or name another path"
    if number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return "correct the path"
    return "start the same command again, it resumes"


def _keep_compiled_programs(workdir) -> None:
    """Turns on XLA's persistent compilation cache, unless the environment chose another folder."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            cache = pathlib.Path.home() / ".cache" / "harmjax"
            cache.mkdir(parents=True, exist_ok=True)
            if not os.access(cache, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable", str(cache))
        except (RuntimeError, OSError) as error:
            log(workdir, f"compiled programs are not kept for the next start: {error}")
            return
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _take_memory_in_huge_pages() -> None:
    """Starts this process anew under glibc's huge pages, unless the environment tunes glibc.

    XLA on CPU takes and returns a program's working memory at every call. Page by page that cost a
    sixth to a third of a training step's CPU time, and half of it where a step is a call.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        sys.stdout.flush()
        with contextlib.suppress(OSError):  # an interpreter that this user may not start again
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
