"""`./bootstrap`: what a newcomer meets first, in a folder of its own with lock files that ask for nothing."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TOOLS = ("cat", "cksum", "date", "dirname", "grep", "mv", "rm", "sh", "tail")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "bootstrap", folder)
    for name in ("local", "dev", "photos"):
        (folder / "requirements" / f"{name}.txt").write_text(f"# {name} asks for nothing==0\n")
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the tools that every system has, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return folder


def give_python(path: Path, name: str, *, venv: bool = True, version: str = "") -> None:
    """Put a Python on the PATH: this one, or one that says it is another or lacks a part."""
    script = path / name
    lacking = "" if venv else 'case "$2" in *ensurepip*) exit 1 ;; esac\n'
    old = f'case "$2" in *version_info*) exit {version} ;; esac\n' if version else ""
    real = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    script.write_text(f'#!/bin/sh\n{lacking}{old}exec "{real}" "$@"\n')
    script.chmod(0o755)


def start(project: Path, what: str, path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["./bootstrap", what],
        cwd=project,
        env={**os.environ, "PATH": str(path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(project: Path, what: str, path: Path) -> tuple[int, str]:
    """Exit code and what was said, which is all on stderr."""
    process = start(project, what, path)
    out, err = process.communicate(timeout=120)
    assert out == ""
    return process.returncode, err


def test_without_python_it_says_how_to_get_one(project: Path, path: Path) -> None:
    code, said = run(project, "local", path)
    assert code == 1
    assert said.count("\n") == 1
    assert "apt-get install python3 python3-venv" in said


def test_with_a_python_that_cannot_make_environments_it_says_what_is_missing(
    project: Path, path: Path
) -> None:
    give_python(path, "python3.11", venv=False)
    code, said = run(project, "local", path)
    assert code == 1
    assert (
        said
        == "magpie: python3.11 cannot make virtual environments; mend it with: apt-get install python3-venv\n"
    )


def test_a_name_on_the_path_that_is_too_old_or_does_not_run_is_passed_over(project: Path, path: Path) -> None:
    give_python(path, "python3.14", version="127")
    give_python(path, "python3.13", version="1")
    give_python(path, "python3")
    assert run(project, "local", path)[0] == 0
    assert (project / ".venv" / "bin" / "python").exists()


def test_what_is_asked_for_has_a_name(project: Path, path: Path) -> None:
    assert run(project, "everything", path) == (2, "magpie: usage: ./bootstrap local|dev\n")


def test_it_works_once_and_is_then_silent(project: Path, path: Path) -> None:
    give_python(path, "python3")
    code, said = run(project, "dev", path)
    assert code == 0
    assert said.count("\n") == 2
    assert run(project, "dev", path) == (0, "")
    assert run(project, "local", path) == (0, ""), "what suffices for testing suffices for running"
    (project / "requirements" / "local.txt").write_text("# something newer==1\n")
    assert run(project, "dev", path) == (0, "")
    (project / "requirements" / "dev.txt").write_text("# something newer==1\n")
    code, said = run(project, "dev", path)
    assert (code, said.count("\n")) == (0, 2)


def test_two_at_once_do_the_work_once(project: Path, path: Path) -> None:
    give_python(path, "python3")
    both = [start(project, "local", path) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("setting up" in each for each in said) == 1


def test_what_a_killed_run_left_behind_is_not_trusted(project: Path, path: Path) -> None:
    give_python(path, "python3")
    # As it is in the middle of things: an environment, and no word that it is whole.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)
    (project / ".venv" / "half").touch()
    killed = start(project, "local", path)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=10)
    assert run(project, "local", path)[0] == 0
    assert not (project / ".venv" / "half").exists()
    assert run(project, "local", path) == (0, "")


def test_packages_that_cannot_be_installed_are_an_error_that_shows_why(project: Path, path: Path) -> None:
    give_python(path, "python3")
    (project / "requirements" / "local.txt").write_text("there-is-no-hash==1\n")
    code, said = run(project, "local", path)
    assert code == 1
    assert "hash" in said.lower()
    assert said.endswith("the whole log is in .venv/install.log\n")
    assert not (project / ".venv" / "installed").exists()
