"""What all experiments share on the command line."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT = """
import os
from experiments import command
command.run(lambda config, workdir: print("ran", os.environ["GLIBC_TUNABLES"]), required=())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize("chosen", [None, "glibc.malloc.hugetlb=0"])
def test_memory_comes_in_huge_pages_unless_the_environment_says_otherwise(chosen):
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if chosen:
        environment["GLIBC_TUNABLES"] = chosen
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"ran {chosen or 'glibc.malloc.hugetlb=1'}\n", done.stderr
