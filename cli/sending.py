"""Sending files and seeing each through to its end: what `add` and `demo` share.

Several files are on their way at once, each read piece by piece. While they are being sent, the items
are looked at together: one page of the newest items a time, not one request per item.
"""

import io
import queue
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.client import PAGE, Api, ApiError, UnreachableError
from cli.errors import CommandError
from cli.output import Output, size
from cli.pictures import Trouble, send_name, trouble

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

FINAL = ("ready", "rejected", "failed", "over_quota")
"""Statuses after which nothing more happens to an item by itself, or only when there is room again."""
REFUSALS = {"empty": "rejected", "too_large": "rejected", "over_quota": "over_quota"}
"""Codes that API or storage pronounce before any function has seen the file, and what it ends as."""

FIRST_LOOK = 0.3
"""Seconds between two looks while something happens."""
SLOWEST_LOOK = 5.0
LOOK_PAGES = 2
"""Pages of the newest items that one look reads; older items are then asked for one by one."""
LOOK_ALONE = 10
"""Items that one look asks for one by one."""
LOOK_FAILURES = 5
"""Looks that may fail in a row before waiting ends."""
NOTE_EVERY = 5.0
"""Seconds between two lines about progress where there is no terminal."""


@dataclass
class Sent:
    """One file, and what became of it.

    Attributes:
        status: `waiting` (not sent yet), then the item's status; `failed` too for what could not be
            sent.
        code: why it is not ready: a rejection's code, or one of our own (`missing`, `unreadable`,
            `upload_failed`, `unreachable`, `still_waiting`, ...).
        item: the item as the API last told it.
    """

    path: Path
    size: int = 0
    item_id: str | None = None
    status: str = "waiting"
    code: str | None = None
    message: str | None = None
    item: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.status in FINAL

    def record(self) -> dict[str, Any]:
        """Return what `--json` says about it."""
        record: dict[str, Any] = {"path": str(self.path), "item_id": self.item_id, "status": self.status}
        if self.code:
            record |= {"code": self.code, "message": self.message}
        for name in ("category", "headline", "provider", "model", "duplicate_of"):
            if self.item.get(name) is not None:
                record[name] = self.item[name]
        return record

    def fail(self, code: str, message: str) -> None:
        """End it here: nothing more will be known of it."""
        self.status, self.code, self.message = "failed", code, message

    def update(self, item: dict[str, Any]) -> bool:
        """Take over what the API says of the item; returns whether that is news."""
        status = item.get("status")
        if not isinstance(status, str) or status == self.status:
            return False
        self.status, self.item = status, item
        error = item.get("error")
        self.code = self.message = None
        if isinstance(error, dict):
            # The code of what waits for room is the meter, which its message tells.
            self.code = "over_quota" if status == "over_quota" else error.get("code")
            self.message = error.get("message")
        return True


def failed(problem: Trouble) -> Sent:
    """Return the record of a path of which nothing could be sent."""
    sent = Sent(problem.path)
    sent.fail(problem.code, problem.message)
    return sent


class Sending:
    """Files on their way.

    Args:
        parallel: files sent at once.
        patience: seconds without any news after which waiting ends.
        wait: whether to see the items through to their end.
        look: called several times a second; what it raises ends everything.
    """

    def __init__(
        self,
        api: Api,
        files: Sequence[Path],
        *,
        parallel: int = 4,
        patience: float = 600,
        wait: bool = True,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self.sent = [Sent(path) for path in files]
        self._api = api
        self._parallel = max(1, min(parallel, len(self.sent)))
        self._patience = patience
        self._wait = wait
        self._look_out = look
        self._arrivals: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        self._bytes = 0
        self._counting = threading.Lock()

    def run(self, out: Output) -> list[Sent]:
        """Send everything, wait for it if asked to, and return one record per file in their order.

        Raises:
            CommandError: nobody is signed in. Whatever else goes wrong is in the records.
            KeyboardInterrupt: `sent` says how far it came.
        """
        total = sum(_size(each.path) for each in self.sent)
        with _Progress(out, len(self.sent), total, self._wait) as progress:
            # The first request settles what would stop them all: who is signed in, and whether
            # anything is there.
            self._api.items(limit=1)
            waiting: queue.SimpleQueue[Sent] = queue.SimpleQueue()
            for each in self.sent:
                waiting.put(each)
            for _ in range(self._parallel):
                # Daemons, so that Ctrl-C does not wait for a large file on a slow line.
                threading.Thread(target=self._send_each, args=(waiting,), daemon=True).start()
            self._follow(progress)
        return self.sent

    # Sending

    def _send_each(self, waiting: "queue.SimpleQueue[Sent]") -> None:
        while True:
            try:
                sent = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._send(sent)
            except CommandError as error:
                sent.fail(error.code, error.message)
                sent.status = REFUSALS.get(error.code, sent.status)
            except OSError as error:
                problem = trouble(sent.path, error)
                sent.fail(problem.code, problem.message)
            except Exception as error:  # noqa: BLE001 - one file's surprise must not lose the others
                sent.fail("upload_failed", f"It could not be sent: {type(error).__name__}: {error}")
            self._arrivals.put(sent)

    def _send(self, sent: Sent) -> None:
        status = sent.path.stat()
        if not stat.S_ISREG(status.st_mode):
            # A pipe or a device would be read for ever.
            sent.fail("not_a_file", "This is neither a file nor a folder.")
            return
        sent.size = status.st_size
        with _Counted(sent.path, self._count) as file:
            created = self._api.new_item(send_name(sent.path), sent.size, str(uuid.uuid4()))
            sent.item_id = created["item_id"]
            self._api.upload(created["upload"], file)
        sent.status = "pending"

    def _count(self, count: int) -> None:
        with self._counting:
            self._bytes += count

    # Waiting

    def _follow(self, progress: "_Progress") -> None:
        awaited: dict[str, Sent] = {}
        arrived = failures = 0
        pause = FIRST_LOOK
        last_news = last_look = time.monotonic()
        while arrived < len(self.sent) or awaited:
            self._look_out()
            news = False
            for sent in self._arrivals_within(min(pause, FIRST_LOOK)):
                arrived += 1
                news = True
                if self._wait and sent.item_id and not sent.final:
                    awaited[sent.item_id] = sent
            if awaited and time.monotonic() - last_look >= pause:
                try:
                    news = self._look(awaited, arrived) or news
                    failures = 0
                except CommandError as error:
                    failures += 1
                    if _hopeless(error) or failures >= LOOK_FAILURES:
                        _give_up(awaited, error.code, error.message)
                last_look = time.monotonic()
                pause = FIRST_LOOK if news else min(pause * 1.3, SLOWEST_LOOK)
            if news:
                last_news = time.monotonic()
            elif arrived == len(self.sent) and time.monotonic() - last_news > self._patience:
                _give_up(
                    awaited,
                    "still_waiting",
                    f"Nothing happened to it for {self._patience:g} s. It may end yet: ./magpie show tells.",
                )
            progress.update(self._bytes, self.sent)

    def _arrivals_within(self, seconds: float) -> Iterator[Sent]:
        """Yield the files that are sent by now, waiting a moment for the first."""
        try:
            yield self._arrivals.get(timeout=seconds)
            while True:
                yield self._arrivals.get_nowait()
        except queue.Empty:
            return

    def _look(self, awaited: dict[str, Sent], arrived: int) -> bool:
        """Ask how the awaited items are, dropping those that came to their end; returns any news."""
        news = False
        unseen = set(awaited)
        cursor: str | None = None
        for _ in range(LOOK_PAGES):
            page = self._api.items(limit=min(PAGE, arrived + self._parallel), cursor=cursor)
            for item in page["items"]:
                if item.get("item_id") in unseen:
                    unseen.discard(item["item_id"])
                    news = awaited[item["item_id"]].update(item) or news
            cursor = page.get("next_cursor")
            if not unseen or not cursor:
                break
        for item_id in [item_id for item_id in awaited if item_id in unseen][:LOOK_ALONE]:
            # To the end of the line, so that the next look asks for others.
            sent = awaited[item_id] = awaited.pop(item_id)
            try:
                news = sent.update(self._api.item(item_id)) or news
            except ApiError as error:
                if error.status != 404:
                    raise
                sent.fail("gone", "The item was deleted meanwhile.")
                news = True
        for item_id in [item_id for item_id, sent in awaited.items() if sent.final]:
            del awaited[item_id]
        return news


def _hopeless(error: CommandError) -> bool:
    """Whether asking again would change nothing: the client itself has asked for a minute already."""
    return isinstance(error, UnreachableError) or error.code in {
        "signed_out",
        "sign_in_refused",
        "not_running",
    }


def _give_up(awaited: dict[str, Sent], code: str, message: str) -> None:
    """Stop waiting; the items keep the status that was last seen."""
    for sent in awaited.values():
        sent.code, sent.message = code, message
    awaited.clear()


def counts(sent: Sequence[Sent]) -> dict[str, int]:
    """Return how many files ended in which way; `waiting` are those whose end was not seen."""
    ended = {status: sum(each.status == status for each in sent) for status in FINAL}
    return {**ended, "waiting": len(sent) - sum(ended.values())}


class _Counted(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, count: Callable[[int], None]) -> None:
        super().__init__(path)
        self._count = count

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._count(len(data))
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        before = self.tell()
        # Sent again from the beginning: what was counted before no longer is.
        position = super().seek(offset, whence)
        self._count(position - before)
        return position


class _Progress:
    """How far it is, on stderr: a bar on a terminal, else now and then a line."""

    def __init__(self, out: Output, files: int, total: int, wait: bool) -> None:
        self._out = out
        self._files = files
        self._total = total
        self._wait = wait
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._line = self._said = ""
        self._said_at = time.monotonic()

    def __enter__(self) -> "_Progress":
        if self._out.errors.is_terminal:
            self._bar = self._out.bars()
            self._tasks["sent"] = self._bar.add_task("Sending", total=max(self._total, 1), done="")
            if self._wait:
                self._tasks["ended"] = self._bar.add_task("Finishing", total=self._files, done="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif self._wait:
            self._say()

    def update(self, sent_bytes: int, sent: Sequence[Sent]) -> None:
        ended = counts(sent)
        waiting = ended.pop("waiting")
        words = ", ".join(f"{count} {status}" for status, count in ended.items() if count)
        finished = len(sent) - waiting
        said = f"{finished} of {self._files}" + (f": {words}" if words else "")
        if self._bar:
            self._bar.update(
                self._tasks["sent"],
                completed=sent_bytes if self._total else 1,
                done=f"{size(sent_bytes)} of {size(self._total)}",
            )
            if self._wait:
                self._bar.update(self._tasks["ended"], completed=finished, done=said)
            return
        self._line = f"Finished {said}"
        if finished and time.monotonic() - self._said_at >= NOTE_EVERY:
            self._say()

    def _say(self) -> None:
        if self._line and self._line != self._said:
            self._out.note(self._line)
        self._said, self._said_at = self._line, time.monotonic()


def _size(path: Path) -> int:
    """Bytes of a file, for the bar; one that cannot be asked is reported when it is sent."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
