"""Fire the schedules of the template, as EventBridge does: at their time, with its event or their input.

What came while the stack was not running is not made up for: the next one finds what there is to do.
"""

import json
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from local.bus import envelope
from local.functions import Schedule
from local.runtime import PoolClosedError, Result
from shared import schedules

logger = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0
"""A clock that is set meanwhile is noticed within so many seconds."""

Invoke = Callable[[str, bytes], Result]
Send = Callable[[str, str], None]


class UnknownScheduleError(Exception):
    """The template has no schedule of this name."""


class Clock:
    """All schedules of a template, on one thread; what they fire runs on threads of its own.

    Args:
        invoke: runs a function, by its logical id, on a payload.
        send: puts a text into a queue, by its ARN.
    """

    def __init__(
        self, sources: Sequence[Schedule], invoke: Invoke, send: Send, *, account: str, region: str
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._invoke = invoke
        self._send = send
        self._where = {"account": account, "region": region}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Fire nothing more. What is running ends by itself."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def names(self) -> list[str]:
        """Names of all schedules, as `fire` takes them."""
        return sorted(self._sources)

    def fire(self, name: str) -> Result:
        """Fire a schedule now, whether it is enabled or not, and return what its function answered.

        Its function is run directly, past the queue that may be before it: somebody waits for the answer.

        Raises:
            UnknownScheduleError: there is none of this name.
            PoolClosedError: the stack is stopping.
        """
        try:
            source = self._sources[name]
        except KeyError:
            raise UnknownScheduleError(name) from None
        return self._invoke(source.function, self.payload(source, datetime.now(UTC)))

    def payload(self, source: Schedule, now: datetime) -> bytes:
        """Return what a schedule gives its function: its own input, or EventBridge's event."""
        if source.input is not None:
            return source.input.encode()
        rule = f"arn:aws:events:{self._where['region']}:{self._where['account']}:rule/{source.logical_id}"
        event = envelope(
            "Scheduled Event",
            "aws.events",
            {},
            resources=[rule],
            time=now,
            event_id=str(uuid.uuid4()),
            **self._where,
        )
        return json.dumps(event).encode()

    def _run(self) -> None:
        enabled = [source for source in self._sources.values() if source.enabled]
        due = {source.name: self._next(source, datetime.now(UTC)) for source in enabled}
        while not self._stopping.is_set():
            now = datetime.now(UTC)
            for name, moment in list(due.items()):
                if moment is not None and moment <= now:
                    threading.Thread(target=self._fire_quietly, args=(name,), daemon=True).start()
                    due[name] = self._next(self._sources[name], now)
            waiting = [moment for moment in due.values() if moment is not None]
            seconds = min((moment - now).total_seconds() for moment in waiting) if waiting else LONGEST_SLEEP
            self._stopping.wait(max(min(seconds, LONGEST_SLEEP), 0.01))

    def _fire_quietly(self, name: str) -> None:
        source = self._sources[name]
        try:
            if source.queue is not None:
                self._send(source.queue, self.payload(source, datetime.now(UTC)).decode())
                return
            result = self.fire(name)
        except PoolClosedError:
            return
        except Exception:
            logger.exception("schedule %s was not fired", name)
            return
        if result.error is not None:
            logger.error("schedule %s failed: %s", name, result.payload.decode(errors="replace"))

    @staticmethod
    def _next(source: Schedule, now: datetime) -> datetime | None:
        return schedules.parse(source.expression).next_after(now)
