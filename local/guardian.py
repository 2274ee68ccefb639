"""Ends every child process when the stack is gone, however it went: `kill -9` included.

A small process of its own, in its own session, that reads from a pipe which processes the stack has
started. The end of the pipe is the end of the stack: whatever is still on the list is ended then,
with the processes that it has started in turn, and files that only a running stack should leave
are removed.

Lines: `+ PGID SIGNAL`, `- PGID` and `file PATH`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PATIENCE_SECONDS = 5.0
"""From the signal that a process group has asked for to SIGKILL."""


class Guardian:
    """The stack's end of the pipe. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        ours, theirs = os.pipe()
        self._pipe = os.fdopen(theirs, "w", buffering=1)
        with os.fdopen(ours) as end:
            self._process = subprocess.Popen(  # noqa: S603 - this very file
                [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
                stdin=end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, pgid: int, with_signal: int = signal.SIGKILL) -> None:
        """Have a process group ended when the stack is gone."""
        self._say(f"+ {pgid} {int(with_signal)}")

    def forget(self, pgid: int) -> None:
        """A process group has ended; its number may soon be somebody else's."""
        self._say(f"- {pgid}")

    def remove(self, path: Path) -> None:
        """Have a file removed when the stack is gone."""
        self._say(f"file {path}")

    def stop(self) -> None:
        """Let go: whatever is still on the list is ended now."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        with self._lock:
            if not self._pipe.closed:
                self._pipe.write(f"{line}\n")


def kill_group(pgid: int, with_signal: int) -> bool:
    """Signal a process group; False when nothing of it is left."""
    try:
        os.killpg(pgid, with_signal)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Read until the pipe ends, then end what is on the list."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    files: list[str] = []
    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "+":
            pgid, with_signal = rest.split()
            groups[int(pgid)] = int(with_signal)
        elif verb == "-":
            groups.pop(int(rest), None)
        elif verb == "file":
            files.append(rest)
    # First, before a new stack on the same folder can write its own.
    for path in files:
        Path(path).unlink(missing_ok=True)
    left = [pgid for pgid, with_signal in groups.items() if kill_group(pgid, with_signal)]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left and time.monotonic() < deadline:
        left = [pgid for pgid in left if kill_group(pgid, 0)]
        time.sleep(0.02)
    for pgid in left:
        kill_group(pgid, signal.SIGKILL)


if __name__ == "__main__":
    main()
