"""SQS on this machine: queues that threads can share and that survive the stack.

moto keeps messages in lists that two threads at once can lose a message from, and forgets them with the
process. Here every change of a queue holds its lock, a message is on disk before the sender hears
that it was sent, and it leaves the disk when it is deleted. A stack that is started again finds its
queues, dead letters included, as they were; messages that were in flight are delivered again.

    DATA/queues/<name>.jsonl

Also here: moving dead letters back (`StartMessageMoveTask`), which moto does not know.
"""

import base64
import contextlib
import copy
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.patches import Patches

TRUNCATE_LINES = 1000
"""A journal of more lines is emptied as soon as its queue is empty."""
REMEMBERED_HANDLES = 10_000
"""Receipt handles of deleted messages: deleting twice is no error."""
LOOK_AGAIN_SECONDS = 1.0
"""The longest that a waiting receiver sleeps: a visibility time-out may have been shortened meanwhile."""


class MoveTaskError(Exception):
    """A request about moving messages that SQS would refuse.

    Attributes:
        code: SQS's name for it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class MoveTask:
    """One run of moving dead letters back."""

    handle: str
    source: str
    destination: str | None
    rate: int | None
    total: int
    started: int = field(default_factory=lambda: int(time.time() * 1000))
    moved: int = 0
    status: str = "RUNNING"
    failure: str | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def describe(self) -> dict[str, Any]:
        """As `ListMessageMoveTasks` shows it; the handle only while it can be cancelled."""
        shown: dict[str, Any] = {
            "Status": self.status,
            "SourceArn": self.source,
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.total,
            "StartedTimestamp": self.started,
        }
        if self.status in ("RUNNING", "CANCELLING"):
            shown["TaskHandle"] = self.handle
        if self.destination:
            shown["DestinationArn"] = self.destination
        if self.rate:
            shown["MaxNumberOfMessagesPerSecond"] = self.rate
        if self.failure:
            shown["FailureReason"] = self.failure
        return shown


class MessageStore:
    """The queues of one data folder, and moto's SQS made to use them."""

    def __init__(self, folder: Path, account: str, region: str) -> None:
        self.folder = folder
        self.account = account
        self.region = region
        self._lines: dict[str, int] = {}
        self._tasks: list[MoveTask] = []
        self._tasks_lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def backend(self) -> Any:
        from moto.sqs.models import sqs_backends

        return sqs_backends[self.account][self.region]

    def queue(self, arn: str) -> Any:
        """moto's queue of an ARN."""
        return self.backend.get_queue(arn.rsplit(":", 1)[1])

    def send(self, arn: str, text: str) -> None:
        """Put a message into a queue."""
        self.backend.send_message(arn.rsplit(":", 1)[1], text)

    def load(self) -> int:
        """Give the queues what earlier runs have kept; returns how many messages that were."""
        from moto.sqs.models import Message

        count = 0
        for queue in self.backend.queues.values():
            kept = self._read(queue.name)
            for entry in kept.values():
                message = Message(entry["id"], entry["body"], entry["system"])
                message.message_attributes = _decode(entry["attributes"])
                message.sent_timestamp = entry["sent"]
                message.dead_letter_source = entry.get("from")
                queue._messages.append(message)
            count += len(kept)
            self._rewrite(queue.name, kept)
        return count

    def install(self, patches: Patches) -> None:
        """Have moto's SQS lock its queues and keep messages here."""
        from moto.sqs.exceptions import ReceiptHandleIsInvalid
        from moto.sqs.models import Queue, SQSBackend

        def add_message(queue: Any, message: Any) -> None:
            with queue._messages_lock:
                if not queue.fifo_queue:
                    self._append(queue.name, _entry(message), durable=True)
                original_add(queue, message)

        def delete_message(queue: Any, receipt_handle: str) -> None:
            with queue._messages_lock:
                if receipt_handle in queue.deleted_messages:
                    return
                for message in queue._messages:
                    if message.had_receipt_handle(receipt_handle):
                        break
                else:
                    raise ReceiptHandleIsInvalid
                if len(queue.deleted_messages) > REMEMBERED_HANDLES:
                    queue.deleted_messages.clear()
                queue.deleted_messages.update(message.all_receipt_handles)
                self._remove(queue, message)

        def receive_message(
            backend: Any,
            queue_name: str,
            count: int,
            wait_seconds_timeout: int,
            visibility_timeout: int,
            message_attribute_names: list[str] | None = None,
        ) -> list[Any]:
            queue = backend.get_queue(queue_name)
            if queue.fifo_queue:
                with queue._messages_lock:
                    return original_receive(  # type: ignore[no-any-return]
                        backend,
                        queue_name,
                        count,
                        wait_seconds_timeout,
                        visibility_timeout,
                        message_attribute_names,
                    )
            deadline = time.monotonic() + (wait_seconds_timeout or 0)
            while True:
                taken = self.receive(queue, count, visibility_timeout)
                if taken or time.monotonic() >= deadline:
                    for message in taken:
                        _keep_attributes(message, message_attribute_names or [])
                    return taken
                self.wait(queue, deadline - time.monotonic())

        def change_message_visibility(
            backend: Any, queue_name: str, receipt_handle: str, visibility_timeout: int
        ) -> None:
            queue = backend.get_queue(queue_name)
            with queue._messages_lock:
                original_change(backend, queue_name, receipt_handle, visibility_timeout)
                queue._messages_lock.notify_all()

        def purge_queue(backend: Any, queue_name: str) -> None:
            queue = backend.get_queue(queue_name)
            with queue._messages_lock:
                original_purge(backend, queue_name)
                self._truncate(queue, always=True)

        original_add = patches.replace(Queue, "add_message", add_message)
        patches.replace(Queue, "delete_message", delete_message)
        original_receive = patches.replace(SQSBackend, "receive_message", receive_message)
        original_change = patches.replace(SQSBackend, "change_message_visibility", change_message_visibility)
        original_purge = patches.replace(SQSBackend, "purge_queue", purge_queue)

    # Receiving

    def receive(self, queue: Any, count: int, visibility_timeout: int) -> list[Any]:
        """Take up to `count` messages, each hidden from others for `visibility_timeout` seconds.

        A message that was received too often goes to the dead letters instead, as on SQS when it
        would have been received once more.
        """
        taken: list[Any] = []
        dead: list[Any] = []
        expired: list[Any] = []
        with queue._messages_lock:
            now = time.time()
            policy = queue.redrive_policy if queue.dead_letter_queue is not None else None
            for message in queue._messages:
                if len(taken) == count:
                    break
                if not message.visible or message.delayed:
                    continue
                if message.sent_timestamp / 1000 + queue.message_retention_period <= now:
                    expired.append(message)
                elif policy and message.approximate_receive_count >= policy["maxReceiveCount"]:
                    dead.append(message)
                else:
                    queue.pending_messages.add(message)
                    message.mark_received(visibility_timeout=visibility_timeout)
                    taken.append(copy.copy(message))
            for message in dead:
                letter = copy.copy(message)
                letter.visible_at = 0.0
                letter.receipt_handle, letter._old_receipt_handles = None, []
                letter.dead_letter_source = queue.queue_arn
                queue.dead_letter_queue.add_message(letter)
            for message in [*dead, *expired]:
                self._remove(queue, message)
        return taken

    def wait(self, queue: Any, seconds: float) -> None:
        """Sleep until there may be something to receive, at most `seconds`."""
        with queue._messages_lock:
            hidden = [max(message.visible_at, message.delayed_until) for message in queue._messages]
            soonest = min(hidden) / 1000 - time.time() if hidden else seconds
            # moto calls a message visible when its time has passed, not when it has come.
            timeout = min(seconds, LOOK_AGAIN_SECONDS, soonest + 0.002)
            if timeout > 0:
                queue._messages_lock.wait(timeout)

    def _remove(self, queue: Any, message: Any) -> None:
        """Take one message out of a queue, by its identity. Called with the queue's lock held."""
        for position, other in enumerate(queue._messages):
            if other is message:
                del queue._messages[position]
                break
        queue.pending_messages.discard(message)
        self._append(queue.name, {"op": "delete", "id": message.id}, durable=False)
        self._truncate(queue)

    # Moving dead letters back

    def start_move(self, source: str, destination: str | None, rate: int | None) -> str:
        """Begin to move dead letters, each to where it came from or all to one queue.

        Returns:
            The task's handle.

        Raises:
            MoveTaskError: the source is no dead-letter queue, or is being emptied already.
        """
        try:
            queue = self.queue(source)
        except Exception as error:
            raise MoveTaskError(
                "ResourceNotFoundException",
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            ) from error
        if not self.backend.list_dead_letter_source_queues(queue.name):
            raise MoveTaskError(
                "InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue."
            )
        if destination is not None:
            try:
                self.queue(destination)
            except Exception as error:
                raise MoveTaskError(
                    "ResourceNotFoundException",
                    "The resource that you specified for the DestinationArn parameter doesn't exist.",
                ) from error
        with self._tasks_lock:
            if any(task.source == source and task.status == "RUNNING" for task in self._tasks):
                raise MoveTaskError(
                    "UnsupportedOperation",
                    "There is already a task running. Only one active task is allowed"
                    " for a source queue arn at a given time.",
                )
            identity = json.dumps({"taskId": str(uuid.uuid4()), "sourceArn": source})
            task = MoveTask(
                handle=base64.b64encode(identity.encode()).decode(),
                source=source,
                destination=destination,
                rate=rate,
                total=queue.approximate_number_of_messages,
            )
            self._tasks.append(task)
        threading.Thread(target=self._move, args=(queue, task), daemon=True).start()
        return task.handle

    def list_moves(self, source: str, limit: int) -> list[dict[str, Any]]:
        """Describe the latest tasks of a dead-letter queue, newest first."""
        with self._tasks_lock:
            tasks = [task for task in self._tasks if task.source == source]
        return [task.describe() for task in reversed(tasks)][:limit]

    def cancel_move(self, handle: str) -> int:
        """Stop a running task and return how many messages it has moved.

        Raises:
            MoveTaskError: no such task is running.
        """
        with self._tasks_lock:
            for task in self._tasks:
                if task.handle == handle and task.status == "RUNNING":
                    task.status = "CANCELLING"
                    task.cancelled.set()
                    return task.moved
        raise MoveTaskError("ResourceNotFoundException", "Task does not exist.")

    def _move(self, queue: Any, task: MoveTask) -> None:
        with queue._messages_lock:
            letters = [letter for letter in queue._messages if letter.visible and not letter.delayed]
        for letter in letters:
            if task.cancelled.wait(1 / task.rate) if task.rate else task.cancelled.is_set():
                task.status = "CANCELLED"
                return
            to = task.destination or getattr(letter, "dead_letter_source", None)
            if to is None:
                task.status, task.failure = "FAILED", "CouldNotDetermineMessageSource"
                return
            with queue._messages_lock:
                if all(letter is not other for other in queue._messages) or not letter.visible:
                    continue  # somebody else has taken it meanwhile
                letter.change_visibility(60)
            # A new message: new id, new age, never received. There first, then gone here.
            self.backend.send_message(
                self.queue(to).name,
                letter.body,
                message_attributes=letter.message_attributes,
                system_attributes=letter.system_attributes,
                delay_seconds=0,
            )
            with queue._messages_lock:
                self._remove(queue, letter)
            task.moved += 1
        task.status = "COMPLETED"

    # The journal

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def _append(self, name: str, entry: Mapping[str, Any], *, durable: bool) -> None:
        with self._path(name).open("ab") as journal:
            journal.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            if durable:
                journal.flush()
                os.fsync(journal.fileno())
        self._lines[name] = self._lines.get(name, 0) + 1

    def _truncate(self, queue: Any, *, always: bool = False) -> None:
        if not queue._messages and (always or self._lines.get(queue.name, 0) > TRUNCATE_LINES):
            self._path(queue.name).write_bytes(b"")
            self._lines[queue.name] = 0

    def _read(self, name: str) -> dict[str, dict[str, Any]]:
        kept: dict[str, dict[str, Any]] = {}
        for entry in self._lines_of(name):
            if entry["op"] == "add":
                kept[entry["id"]] = entry
            else:
                kept.pop(entry["id"], None)
        return kept

    def _lines_of(self, name: str) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError), self._path(name).open("rb") as journal:
            for line in journal:
                # A line that is cut off was never answered for.
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    def _rewrite(self, name: str, kept: Mapping[str, Mapping[str, Any]]) -> None:
        temporary = self._path(name).with_suffix(".part")
        with temporary.open("w", encoding="utf-8") as journal:
            for entry in kept.values():
                journal.write(json.dumps(entry, separators=(",", ":")) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        temporary.replace(self._path(name))
        self._lines[name] = len(kept)


def _entry(message: Any) -> dict[str, Any]:
    entry = {
        "op": "add",
        "id": message.id,
        "body": message.body,
        "attributes": _encode(message.message_attributes),
        "system": message.system_attributes,
        "sent": message.sent_timestamp,
    }
    if source := getattr(message, "dead_letter_source", None):
        entry["from"] = source
    return entry


def _encode(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Message attributes for JSON: binary values in base64."""
    return {
        name: {
            key: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
            for key, value in attribute.items()
        }
        for name, attribute in attributes.items()
    }


def _decode(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            key: base64.b64decode(value["base64"]) if isinstance(value, dict) else value
            for key, value in attribute.items()
        }
        for name, attribute in attributes.items()
    }


def _keep_attributes(message: Any, names: list[str]) -> None:
    """Leave a received message only the attributes that were asked for: `All`, `a` or `a.*`."""
    prefixes = tuple(name[:-2] for name in names if name.endswith(".*"))
    message.message_attributes = {
        name: value
        for name, value in message.message_attributes.items()
        if "All" in names or name in names or (prefixes and name.startswith(prefixes))
    }
