"""The command `harmjax`, which runs the experiments by name; `python -m experiments` in a checkout.

Every experiment is started as `python -m` starts it, with its own flags.
"""

import contextlib
import pathlib
import runpy
import sys

import harmjax
from harmjax import plugins, shipped

HELP = """Finds and eliminates harmful training data while hospitals train a model together.

usage: harmjax COMMAND --config=CONFIG --workdir=FOLDER [--config.KEY=VALUE ...]

commands, with `harmjax COMMAND --help` for each:
{commands}

CONFIG is one of those that follow, with an argument as in `suite83:runlocal`, or the path of your
own file with the ending .py; `--config.KEY=VALUE` changes any setting, as in
`--config.train.cycles=16`.
{configs}

example: harmjax train --config=heart --workdir=heart"""


def main() -> None:
    """Runs the command that the command line names."""
    commands = shipped.described(pathlib.Path(__file__).parent, "main")
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h"):
        with contextlib.suppress(BrokenPipeError):  # whoever reads it may have read enough
            print(HELP.format(commands=_table(commands), configs=_table(shipped.configs())))
    elif name == "--version":
        print(f"harmjax {harmjax.__version__}")
    elif name in commands:
        del sys.argv[1]
        runpy.run_module(f"{__package__}.{name}", run_name="__main__", alter_sys=True)
    else:
        print(f"error: no command {name!r}{plugins.choices(name, commands)}", file=sys.stderr)
        sys.exit(2)


def _table(lines: dict[str, str]) -> str:
    width = max(map(len, lines), default=0)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in lines.items())


if __name__ == "__main__":
    main()
