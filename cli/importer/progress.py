"""How far an import or an export is, on stderr: bars on a terminal, else now and then a line."""

import threading
import time
from typing import TYPE_CHECKING

from cli.output import Output, size

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

NOTE_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Rows that went and bytes with them, then items that have come to their end.

    Args:
        doing: what is done to the rows, such as `Sending`.
        total: rows there are.
        then: what comes after, such as `Finishing`; '' where nothing does.
    """

    def __init__(self, out: Output, doing: str, total: int, then: str = "") -> None:
        self._out = out
        self._doing, self._then = doing, then
        self._total = total
        self._rows = self._bytes = 0
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said_at = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._out.errors.is_terminal:
            self._bars = self._out.bars()
            for name in filter(None, (self._doing, self._then)):
                self._tasks[name] = self._bars.add_task(name, total=max(self._total, 1), done="")
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def went(self, rows: int) -> None:
        """Count rows that are done with."""
        with self._lock:
            self._rows += rows
            self._show(self._doing, self._rows, self._total, size(self._bytes) if self._bytes else "")

    def sent(self, count: int) -> None:
        """Count bytes on their way."""
        with self._lock:
            self._bytes += count
            self._show(self._doing, self._rows, self._total, size(self._bytes))

    def ended(self, items: int, total: int) -> None:
        """Say how many items have come to their end."""
        with self._lock:
            self._show(self._then or self._doing, items, total, "")

    def _show(self, what: str, done: int, total: int, more: str) -> None:
        said = f"{done:,} of {total:,}" + (f", {more}" if more else "")
        if self._bars:
            self._bars.update(self._tasks[what], completed=done, total=max(total, 1), done=said)
        elif time.monotonic() - self._said_at >= NOTE_EVERY:
            self._said_at = time.monotonic()
            self._out.note(f"{what}: {said}")
