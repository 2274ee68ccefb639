"""What `make check` runs first; here too, so that the suite alone says whether all is well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT

BIN = Path(sys.prefix) / "bin"


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["cfn-lint"],
        ["sam", "validate", "--lint"],
    ],
    ids=" ".join,
)
@pytest.mark.timeout(180)
def test_a_linter_finds_nothing(command: list[str]) -> None:
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=ROOT,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
