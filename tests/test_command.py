"""What all experiments share on the command line."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from experiments import command
from harmjax import defaults, workdirs
from harmjax.runs import recorded

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT = """
import os
from experiments import command
command.run(lambda config, workdir: print("ran", os.environ["GLIBC_TUNABLES"]), required=())
"""
ENDS = """
import errno, os, sys
from experiments import command

def main(config, workdir):
    {body}

command.run(main, required=())
"""


def run(body, *flags, env=None, cwd=ROOT):
    """An experiment of one statement, ended: its exit code, and the lines on stderr."""
    environment = {"PYTHONPATH": str(ROOT), "GLIBC_TUNABLES": "", **(env or os.environ)}
    done = subprocess.run(
        [sys.executable, "-c", ENDS.format(body=body), *map(str, flags)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr.splitlines(), done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize("chosen", [None, "glibc.malloc.hugetlb=0"])
def test_memory_comes_in_huge_pages_unless_the_environment_says_otherwise(chosen, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if chosen:
        environment["GLIBC_TUNABLES"] = chosen
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"--workdir={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"ran {chosen or 'glibc.malloc.hugetlb=1'}\n", done.stderr


@pytest.mark.parametrize(
    "body, code, line",
    [
        ("raise ValueError('a=1: too small')", 2, "error: a=1: too small"),
        ("raise FloatingPointError('cycle 3')", 1, "error: cycle 3"),
        ("open('/nowhere/x')", 1, "error: /nowhere/x: No such file or directory: correct the path"),
        (
            "raise OSError(errno.ENOSPC, 'No space left on device', 'a.csv')",
            1,
            "error: a.csv: No space left on device: free some space and start the same command "
            "again, it resumes",
        ),
        (
            "raise OSError(errno.EIO, 'Input/output error')",
            1,
            "error: a file, probably in {workdir}: Input/output error: start the same command "
            "again, it resumes",
        ),
        ("raise KeyboardInterrupt", 130, "interrupted: the same command goes on from here"),
    ],
)
def test_every_end_is_one_line_and_an_exit_code_and_the_traceback_is_in_the_log(
    tmp_path, body, code, line
):
    assert run(body, f"--workdir={tmp_path}")[:2] == (
        code,
        [line.replace("{workdir}", str(tmp_path))],
    )
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    with workdirs.held(tmp_path):  # whatever happened, nobody holds it any more
        pass


def test_an_error_of_harmjax_keeps_its_traceback(tmp_path):
    code, lines, _ = run("{}['x']", f"--workdir={tmp_path}")
    assert code == 1 and lines[-1] == "KeyError: 'x'"


def test_control_c_ends_a_run(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", ENDS.format(body="print('on', flush=True); input()"),
         f"--workdir={tmp_path}"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate()[1] and process.returncode == 130


def test_workdirs_that_cannot_be_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run", "/proc/nothing/run"):
        code, (line,), _ = run("pass", f"--workdir={place}")
        assert code == 2 and line.startswith(f"error: --workdir={place}: no folder that can be")
    assert run("pass", "--workdir=")[:2] == (
        2,
        ["error: --workdir is empty: name a file or folder"],
    )


def test_a_second_start_is_refused_while_the_first_goes_on(tmp_path):
    with workdirs.held(tmp_path):
        code, (line,), _ = run("pass", f"--workdir={tmp_path}")
    assert code == 2 and f"in use by process {os.getpid()} on " in line


def test_a_home_that_is_none_costs_the_cache_and_nothing_else(tmp_path):
    unset = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    code, lines, said = run(
        "print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))",
        f"--workdir={tmp_path}",
        env=unset | {"HOME": "/proc/nothing"},
    )
    assert (code, lines) == (0, []) and "compiled programs are not kept" in said
    assert said.endswith("None\n")
    code, lines, said = run(
        "print(os.environ['JAX_COMPILATION_CACHE_DIR'])",
        f"--workdir={tmp_path}",
        env=unset | {"HOME": str(tmp_path)},
    )
    assert (code, lines, said) == (0, [], f"{tmp_path}/.cache/harmjax\n")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    home = os.environ | {"HOME": str(tmp_path)}
    assert run("print(workdir)", "--workdir=~/run", env=home)[2] == f"{tmp_path}/run\n"
    monkeypatch.setenv("HOME", str(tmp_path))
    config = defaults.get_config()
    config.data.manifest, config.data.keep, config.data.drop = "~/a.csv", "b.csv", ""
    found = recorded.located(config).data
    assert (found.manifest, found.keep, found.drop) == (
        f"{tmp_path}/a.csv",
        f"{os.getcwd()}/b.csv",
        "",
    )
    assert config.data.manifest == "~/a.csv"
    config.data.manifest = "package:x.csv"
    assert recorded.located(config).data.manifest == "package:x.csv"
    with pytest.raises(ValueError, match=r"--run=~no-such-person/x: .*without ~"):
        workdirs.whole("~no-such-person/x", "--run")
    swept = recorded.located_setting({"data.manifest": "~/b.csv", "seed": 1})
    assert swept == {"data.manifest": f"{tmp_path}/b.csv", "seed": 1}


def test_two_dots_behind_a_linked_folder_lead_where_the_system_says(tmp_path):
    (tmp_path / "real" / "study").mkdir(parents=True)
    (tmp_path / "real" / "a.csv").write_text("right")
    (tmp_path / "a.csv").write_text("wrong")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "study")
    assert workdirs.whole(f"{tmp_path}/link/../a.csv", "--scans").read_text() == "right"


def test_a_relative_manifest_is_the_same_file_from_everywhere(tmp_path, monkeypatch):
    config = defaults.get_config()
    config.data.manifest = "people.csv"
    for folder in ("one", "two", "run"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    command.record(config, tmp_path / "run")
    written = recorded.read(tmp_path / "run")
    assert written["config"]["data"]["manifest"] == f"{tmp_path}/one/people.csv"
    assert written["format"] == recorded.FORMAT
    command.record(config, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "two")
    with pytest.raises(
        ValueError, match=r"manifest was '.*one/people.csv' and is now '.*two/peopl"
    ):
        command.record(config, tmp_path / "run")


def test_all_settings_that_differ_are_named_and_only_the_drop_list_may(tmp_path):
    config = defaults.get_config()
    command.record(config, tmp_path)
    config.data.drop = "/lists/withdrawn.csv"
    command.record(config, tmp_path)
    assert (
        "data.drop was '' and is now '/lists/withdrawn.csv'" in (tmp_path / "log.txt").read_text()
    )
    before = json.loads((tmp_path / "config.json").read_text())
    assert before["config"]["data"]["drop"] == "/lists/withdrawn.csv"
    config.data.drop, config.seed, config.train.cycles = "", 4, 31
    with pytest.raises(ValueError, match="other settings: ") as refused:
        command.record(config, tmp_path)
    said = str(refused.value)
    assert "seed was 0 and is now 4; train.cycles was 30 and is now 31" in said
    assert "data.drop" not in said
    assert json.loads((tmp_path / "config.json").read_text()) == before


def test_a_workdir_of_an_older_harmjax_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"config": {}}')
    with pytest.raises(ValueError, match="older harmjax .*: train anew in another workdir"):
        command.record(defaults.get_config(), tmp_path)


def test_remedies_fit_the_errors():
    said = {number: command._remedy(number).split()[0] for number in errno.errorcode}
    assert said[errno.ENOSPC] == said[errno.EDQUOT] == "free"
    assert said[errno.EACCES] == said[errno.EROFS] == "change"
    assert said[errno.ENOENT] == "correct" and said[errno.EIO] == "start"
