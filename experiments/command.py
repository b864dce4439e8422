"""What the experiments share: flags, the workdir's config.json and log.txt, errors in one line.

An experiment is a module with `main(config, workdir)`, run by `command.run(main)`.
"""

import json
import os
import pathlib
import platform
import sys
import traceback

from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file; --config.key=value overrides a setting."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for everything the run writes; running again resumes."
)


def run(main, *, required=("config", "workdir")) -> None:
    """Parses the command line and runs `main(config, workdir)`.

    Data or settings that cannot work end with their message on one line and exit code 2; the
    traceback goes to log.txt. A loss that is not finite ends with exit code 1.
    """

    def checked(argv):
        logging.set_verbosity(logging.WARNING)
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        workdir = pathlib.Path(WORKDIR.value) if WORKDIR.value else None
        try:
            if workdir is not None:
                workdir.mkdir(parents=True, exist_ok=True)
            _keep_compiled_programs()
            _take_memory_in_huge_pages()
            main(CONFIG.value, workdir)
        except (ValueError, FloatingPointError) as error:
            log(workdir, traceback.format_exc(), echo=False)
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2 if isinstance(error, ValueError) else 1)

    flags.mark_flags_as_required(list(required))
    app.run(checked)


def log(workdir, text: str, *, echo: bool = True) -> None:
    """Appends text to the workdir's log.txt and shows it above any progress bar."""
    if workdir is not None and workdir.is_dir():
        with (workdir / "log.txt").open("a", encoding="utf-8") as file:
            file.write(text.rstrip("\n") + "\n")
    if echo:
        import tqdm

        tqdm.tqdm.write(text, file=sys.stdout)


def record(config, workdir) -> None:
    """Writes config.json: the resolved config, versions and devices.

    Raises:
        ValueError: The workdir holds a run with other settings; names one of them.
    """
    import jax

    import harmjax

    path = workdir / "config.json"
    settings = json.loads(config.to_json_best_effort())
    if path.exists():
        other = _difference(json.loads(path.read_text(encoding="utf-8"))["config"], settings)
        if other:
            raise ValueError(
                f"{workdir} holds a run with another setting: {other}; name another --workdir, or "
                "delete this one"
            )
    versions = {"harmjax": harmjax.__version__, "jax": jax.__version__}
    versions["python"] = platform.python_version()
    content = {
        "config": settings,
        "versions": versions,
        "devices": [str(device) for device in jax.devices()],
        "command": sys.argv[1:],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _difference(old, new, place="") -> str:
    for name in sorted({*old, *new}):
        here = f"{place}{name}"
        one, two = old.get(name), new.get(name)
        if isinstance(one, dict) and isinstance(two, dict):
            found = _difference(one, two, f"{here}.")
            if found:
                return found
        elif one != two:
            return f"{here} was {one!r} and is now {two!r}"
    return ""


def _keep_compiled_programs() -> None:
    """Turns on XLA's persistent compilation cache, unless the environment chose another folder."""
    cache = pathlib.Path.home() / ".cache" / "harmjax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _take_memory_in_huge_pages() -> None:
    """Starts this process anew under glibc's huge pages, unless the environment tunes glibc.

    XLA on CPU takes and returns a program's working memory at every call. Page by page that cost a
    sixth to a third of a training step's CPU time, and half of it where a step is a call.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
