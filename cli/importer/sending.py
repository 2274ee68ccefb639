"""Send what can be sent, and see it through to its end. The server remembers; nothing is kept here.

Killed at any point, the same command does the rest: a row that was taken is answered as it was then, and an
image that has come is not asked for again.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cli.client import Api
from cli.errors import CommandError
from cli.importer.progress import Progress
from cli.importer.rows import Coming, Reader, batches, fail_item
from cli.importer.scratch import IMAGES, Scratch
from cli.sending import FINAL
from functions.api.import_answers import MOST_ROWS

PARALLEL = 8
"""Images on their way at once."""
ROUNDS = 3
"""Tries of an image, each with a new form: those of a slow line expire."""
FIRST_LOOK, SLOWEST_LOOK = 0.3, 5.0
"""Seconds between two looks at how far the items are."""

STATUSES = {"imported": "imported", "exists": "exists", "skipped": "skipped", "refused": "failed"}
"""What the reconciliation calls what the API says of a row."""


class Sending:
    """One run over the source.

    Args:
        patience: seconds without any news after which waiting ends.
    """

    def __init__(
        self, api: Api, scratch: Scratch, import_id: str, progress: Progress, patience: float
    ) -> None:
        self._api = api
        self._scratch = scratch
        self._import_id = import_id
        self._progress = progress
        self._patience = patience

    def send(self, reader: Reader) -> None:
        """Send every item that can be sent, with its image.

        Raises:
            CommandError: the API cannot be reached, or nobody is signed in.
        """
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="upload") as pool:
            try:
                for batch in batches(self._read(reader), MOST_ROWS):
                    self._send(batch, pool)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _read(self, reader: Reader) -> Iterator[Coming]:
        for kept in self._scratch.rows("items"):
            coming = reader.read(kept)
            if coming is None:
                self._progress.went(1)
            else:
                yield coming

    def _send(self, batch: list[Coming], pool: ThreadPoolExecutor) -> None:
        left = batch
        failures: dict[int, CommandError] = {}
        for _ in range(ROUNDS):
            told = self._api.add_import_items(self._import_id, [each.body for each in left])
            forms = [
                (coming, taken["upload"])
                for coming, taken in zip(left, told, strict=True)
                if self._note(coming, taken) and taken.get("upload")
            ]
            failures = {}
            results = pool.map(lambda pair: self._upload(*pair), forms)
            for (coming, _), failure in zip(forms, results, strict=True):
                if failure is not None:
                    failures[coming.place] = failure
            left = [coming for coming, _ in forms if coming.place in failures]
            if not left:
                break
        for coming in left:
            failure = failures[coming.place]
            self._scratch.fail(IMAGES, coming.place, failure.code, failure.message)
            fail_item(self._scratch, coming.place, coming.item_id, failure.code, failure.message)
        self._progress.went(len(batch))

    def _upload(self, coming: Coming, form: dict[str, Any]) -> CommandError | None:
        assert coming.image is not None  # noqa: S101 - there is no form without one
        try:
            with coming.image.path.open("rb") as file:
                self._api.upload(form, file)
        except CommandError as error:
            if error.code in {"unreachable", "signed_out"}:
                raise
            return error
        except OSError as error:
            why = error.strerror or type(error).__name__
            return CommandError("unreadable_image", f"The image cannot be read: {why}.")
        self._progress.sent(coming.image.size)
        return None

    def _note(self, coming: Coming, taken: dict[str, Any]) -> bool:
        """Note what the API says of an item; returns whether it was taken."""
        scratch, status = self._scratch, taken["status"]
        parts = taken.get("analyses") or []
        for place, part in zip(coming.analyses, parts, strict=False):
            scratch.note("analyses", place, STATUSES[part["status"]], part["code"], part["message"])  # type: ignore[arg-type]
        part = taken.get("embedding")
        if part and coming.embedding is not None:
            scratch.note(
                "embeddings",
                coming.embedding,
                STATUSES[part["status"]],  # type: ignore[arg-type]
                part["code"],
                part["message"],
            )
        if status == "refused":
            fail_item(scratch, coming.place, coming.item_id, taken["code"], taken["message"])
            return False
        scratch.note("items", coming.place, STATUSES[status])  # type: ignore[arg-type]
        if status == "exists" and coming.image is not None:
            scratch.note(IMAGES, coming.place, "exists", size=coming.image.size)
        return bool(status == "imported")

    # Waiting

    def wait(self) -> None:
        """See everything that was sent to its end, or until nothing happens any more.

        Raises:
            CommandError: the API cannot be reached.
        """
        pause, last_news, seen = FIRST_LOOK, time.monotonic(), None
        pausing = threading.Event()
        while True:
            counts = self._api.get_import(self._import_id)["items"]
            at_end = sum(counts[status] for status in FINAL)
            self._progress.ended(at_end, counts["total"])
            if not counts["working"] and (not counts["waiting"] or not self._awaited()):
                return
            news = counts != seen
            seen = counts
            if news:
                last_news = time.monotonic()
            elif time.monotonic() - last_news > self._patience:
                return
            pause = FIRST_LOOK if news else min(pause * 1.5, SLOWEST_LOOK)
            pausing.wait(pause)

    def _awaited(self) -> bool:
        """Say whether an item waits for an image that was sent; others wait for images that never will be."""
        sent = {item_id for _, item_id, _ in self._scratch.images()}
        return any(
            item["status"] == "pending" and item["item_id"] in sent
            for page in self._api.import_items(self._import_id)
            for item in page
        )

    def remember(self) -> None:
        """Ask the server for all that this import has brought."""
        for page in self._api.import_items(self._import_id):
            self._scratch.remember(page)

    def verify(self) -> dict[str, int]:
        """Compare what is there with what was sent; returns how the checksums compare.

        What ended otherwise than ready is a failure of its row.
        """
        self.remember()
        for place, item_id in self._scratch.imported_items():
            item = self._scratch.brought(item_id)
            if item is None:
                self._fail(place, item_id, "gone", "The item was deleted meanwhile.")
            elif item["status"] in FINAL and item["status"] != "ready":
                error = item["error"] or {"code": item["status"], "message": "It could not be processed."}
                held = item["status"] == "over_quota"
                self._fail(place, item_id, "over_quota" if held else error["code"], error["message"])
            elif item["status"] != "ready":
                self._fail(place, item_id, "still_waiting", f"It is {item['status']}, and may yet end.")
        compared = {"compared": 0, "same": 0, "different": 0}
        for place, item_id, sha256 in self._scratch.images():
            item = self._scratch.brought(item_id)
            stored = item and item["stored"]
            if not stored:
                continue
            same = stored["sha256"] == sha256
            compared["compared"] += 1
            compared["same" if same else "different"] += 1
            if not same:
                message = "What is stored has another SHA-256 than the file."
                self._scratch.fail(IMAGES, place, "sha256_differs", message)
        return compared

    def _fail(self, place: int, item_id: str, code: str, message: str) -> None:
        if self._scratch.outcome(IMAGES, place) == "imported":
            self._scratch.fail(IMAGES, place, code, message)
        self._scratch.note("items", place, "failed", code, message)


def undo(api: Api, import_id: str, progress: Progress) -> int:
    """Remove what an import brought; returns how many items that were."""
    removed = 0
    while True:
        answer = api.undo_import(import_id)
        removed += answer["removed"]
        progress.ended(removed, removed + answer["left"])
        if not answer["left"]:
            return removed
