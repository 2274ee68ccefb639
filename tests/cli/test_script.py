"""The `magpie` script: from any folder, through a link, with stdout for the result only."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder that has nothing to do with the project."""
    folder = tmp_path / "some where"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_it_runs_from_any_folder(outside, home):
    ran = run(str(ROOT / "magpie"), "list", "--data", "nowhere", "--json")

    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"]["code"] == "not_running"


def test_it_runs_through_links(outside, home):
    (outside / "first").symlink_to(os.path.relpath(ROOT / "magpie", outside))
    (outside / "second").symlink_to("first")

    ran = run("./second", "--help")

    assert ran.returncode == 0
    assert "search" in ran.stdout


def test_paths_mean_what_they_mean_to_the_user(outside, here, magpie, picture):
    picture("a.png").rename(outside / "a.png")

    ran = run(str(ROOT / "magpie"), "add", "a.png", "--json")

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["items"][0]["path"] == "a.png"
