"""The child ends within its bounds, and the parent always knows how."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from functions.image_processor.sandbox import Bounds, SandboxError, run
from shared.errors import RejectedError, TransientError

BOUNDS = Bounds(memory_bytes=64 * 2**20, cpu_seconds=1, wall_seconds=5)


def spin() -> None:
    while True:
        pass


def rejected(work: Callable[[], object], bounds: Bounds = BOUNDS) -> str:
    with pytest.raises(RejectedError) as caught:
        run(work, bounds)
    return caught.value.code


def test_what_the_work_returns_comes_back() -> None:
    assert run(lambda: {"pixels": b"x" * 3_000_000, "pid": os.getpid()}, BOUNDS)["pid"] != os.getpid()
    assert len(run(lambda: b"x" * 20_000_000)) == 20_000_000


def test_a_rejection_comes_back_with_its_code_and_sentence() -> None:
    def work() -> None:
        raise RejectedError("truncated", "It ends.")

    with pytest.raises(RejectedError, match=r"It ends\.") as caught:
        run(work, BOUNDS)
    assert caught.value.code == "truncated"


def test_a_bug_is_no_rejection() -> None:
    with pytest.raises(SandboxError, match="ZeroDivisionError"):
        run(lambda: 1 / 0, BOUNDS)
    with pytest.raises(SandboxError, match="without an answer, with 3"):
        run(lambda: os._exit(3), BOUNDS)


def test_memory_has_an_end() -> None:
    assert rejected(lambda: len(bytearray(200 * 2**20))) == "too_many_pixels"


def test_cpu_time_has_an_end() -> None:
    started = time.monotonic()
    assert rejected(spin) == "timed_out"
    assert time.monotonic() - started < 4


def test_patience_has_an_end() -> None:
    started = time.monotonic()
    assert rejected(lambda: time.sleep(60), Bounds(wall_seconds=0.3)) == "timed_out"
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL]
)
def test_a_crash_is_survived_and_means_a_corrupt_file(number: signal.Signals) -> None:
    def work() -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    assert rejected(work) == "corrupt"


def test_a_wild_pointer_is_survived() -> None:
    def work() -> None:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # pytest would print where we are
        ctypes.string_at(0)

    assert rejected(work) == "corrupt"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_that_is_ended_from_outside_is_worth_another_try(number: signal.Signals) -> None:
    with pytest.raises(TransientError, match=number.name):
        run(lambda: os.kill(os.getpid(), number), BOUNDS)


def test_the_child_writes_no_files(tmp_path: Path) -> None:
    def work() -> int:
        with (tmp_path / "file").open("wb", buffering=0) as file:
            return file.write(b"x" * 100)

    with pytest.raises(SandboxError, match="File too large"):
        run(work, BOUNDS)


def test_no_child_is_left_behind() -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    before = children()
    run(lambda: 1, BOUNDS)
    rejected(lambda: time.sleep(60), Bounds(wall_seconds=0.2))
    assert children() == before


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = f"""
import os, time
from pathlib import Path
from functions.image_processor.sandbox import run
reader, writer = os.pipe()
if os.fork() == 0:
    def work():
        os.write(writer, str(os.getpid()).encode())
        time.sleep(60)
    run(work)
pid = os.read(reader, 20).decode()
Path({str(note)!r}).write_text(pid)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30, start_new_session=True)
    grandchild = Path("/proc") / note.read_text()
    assert (grandchild / "stat").exists()
    middle = int((grandchild / "stat").read_text().rpartition(")")[2].split()[1])
    os.kill(middle, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (grandchild / "stat").exists() and "Z" not in (grandchild / "stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "it lives on"
