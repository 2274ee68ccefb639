"""The suite in several processes: files stay whole, and quiet tests are alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT

NOTING = """
import json, os, time
from pathlib import Path

import pytest

def note(name):
    began = time.monotonic()
    time.sleep(0.05)
    ran = {"name": name, "process": os.getpid(), "began": began, "ended": time.monotonic()}
    with Path(__file__).with_name("log").open("a") as log:
        log.write(json.dumps(ran) + "\\n")
"""


@pytest.mark.heavy
def test_a_file_stays_in_one_process_and_a_quiet_test_is_alone(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.parallel"]\n')
    for letter in "abcd":
        tests = "".join(
            f"{'@pytest.mark.quiet' if number == 1 and letter in 'ac' else ''}\n"
            f"def test_{letter}{number}():\n    note('{letter}{number}')\n"
            for number in range(4)
        )
        (tmp_path / f"test_{letter}.py").write_text(NOTING + tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-c", ROOT / "pyproject.toml"]
        + ["--rootdir", tmp_path, "-p", "no:cacheprovider", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 passed" in done.stdout
    ran = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len({each["process"] for each in ran}) == 2
    for letter in "abcd":
        assert len({each["process"] for each in ran if each["name"].startswith(letter)}) == 1
    for quiet in (each for each in ran if each["name"] in ("a1", "c1")):
        others = [each for each in ran if each is not quiet]
        assert [
            each for each in others if each["began"] < quiet["ended"] and each["ended"] > quiet["began"]
        ] == []
