"""Feed functions from queues, as Lambda's pollers do.

A batch that fails stays where it is and is seen again when its visibility time-out is over; one that
succeeds is deleted; with `ReportBatchItemFailures` the function says itself which messages failed, and an
answer that makes no sense counts as a failure of all.

A batching window ends before its time when nothing else is on its way: Lambda cannot know that no more is to
come, and waits; here everything that could still send something is in sight.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

import base64
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from local.functions import QueueSource
from local.messages import MessageStore
from local.runtime import PayloadTooLargeError, PoolClosedError, Result

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES = 6 * 1024 * 1024 - 64 * 1024
"""Of the bodies of one batch: with what is written around them the event stays under Lambda's 6 MB."""


class Poller:
    """Takes messages from one queue and gives them to one function, as many batches at once as allowed.

    Args:
        invoke: runs the function on a payload.
        concurrency: batches at once.
        more_to_come: whether a window is worth its while: something is at work that may send more. Whoever
            says so calls `wake` when it no longer is.
        idle: is called whenever there is nothing left to work on.
    """

    def __init__(
        self,
        source: QueueSource,
        store: MessageStore,
        invoke: Callable[[bytes], Result],
        concurrency: int,
        *,
        more_to_come: Callable[[], bool] = lambda: True,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.source = source
        self._store = store
        self._queue = store.queue(source.queue_arn)
        self._invoke = invoke
        self._more_to_come = more_to_come
        self._idle = idle
        self._free = threading.Semaphore(concurrency)
        self._workers = ThreadPoolExecutor(concurrency, thread_name_prefix=source.logical_id)
        self._taken = 0
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=source.logical_id, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def backlog(self) -> int:
        """Messages that wait, are hidden or are being worked on."""
        return len(self._queue._messages)

    def at_work(self) -> bool:
        """Whether anything waits to be taken, or is worked on; not what is hidden until its next try."""
        return self._taken > 0 or any(each.visible and not each.delayed for each in self._queue._messages)

    def stop(self) -> None:
        """Take no more messages. Batches at work end when their function does."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Look again at whether there is anything to wait for."""
        with self._queue._messages_lock:
            self._queue._messages_lock.notify_all()

    def join(self) -> None:
        if self._thread.is_alive():
            self._free.release()  # whoever waits for a free worker sees that it is over
            self._thread.join()
        self._workers.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._free.acquire()
            batch = self._gather()
            if batch:
                self._workers.submit(self._work, batch)
            else:
                self._free.release()

    def _gather(self) -> list[Any]:
        """Wait for messages: until the batch is full, or its window is over once one is there."""
        batch: list[Any] = []
        size = 0
        until: float | None = None
        while not self._stopping.is_set():
            room = self.source.batch_size - len(batch)
            received = self._store.receive(self._queue, room, self._queue.visibility_timeout)
            self._count(len(received))
            batch += received
            size += sum(map(_bytes, received))
            now = time.monotonic()
            if batch and until is None:
                until = now + self.source.window
            if batch and (
                len(batch) >= self.source.batch_size or size > MAX_BATCH_BYTES or now >= (until or now)
            ):
                break
            # With the lock, so that nobody can say between the question and the wait that nothing comes.
            with self._queue._messages_lock:
                if batch and not self._more_to_come():
                    break
                self._store.wait(self._queue, until - now if until else 60.0)
        return batch

    def _work(self, batch: list[Any]) -> None:
        try:
            for part in _fitting(batch):
                self._deliver(part)
        except PoolClosedError:
            pass  # the messages are still there, and are seen again
        except Exception:
            logger.exception("a batch was not delivered")
        finally:
            self._count(-len(batch))
            self._free.release()
            if not self.at_work():
                self._idle()

    def _count(self, messages: int) -> None:
        with self._counting:
            self._taken += messages

    def _deliver(self, batch: list[Any]) -> None:
        event = {"Records": [record(message, self.source.queue_arn) for message in batch]}
        try:
            result = self._invoke(json.dumps(event).encode())
        except PayloadTooLargeError:
            logger.exception("a batch is too large")
            return
        if result.error is not None:
            logger.warning("%s failed: %s", self.source.logical_id, result.payload.decode(errors="replace"))
        failed = failures(result, [message.id for message in batch], partial=self.source.partial)
        for message in batch:
            if message.id not in failed:
                self._queue.delete_message(message.receipt_handle)


def failures(result: Result, ids: list[str], *, partial: bool) -> set[str]:
    """Return which messages of a batch are to be seen again, by Lambda's rules.

    An answer to `ReportBatchItemFailures` is a success of all when it is empty, null or has an empty
    or null list, and a failure of all when it is not JSON of that form or names an unknown message.
    """
    everything = set(ids)
    if result.error is not None:
        return everything
    if not partial:
        return set()
    try:
        answer = result.json()
    except ValueError:
        return everything
    if answer in (None, {}, ""):
        return set()
    if not isinstance(answer, dict):
        return everything
    listed = answer.get("batchItemFailures")
    if listed is None:
        return set()
    if not isinstance(listed, list):
        return everything
    failed = set()
    for item in listed:
        identifier = item.get("itemIdentifier") if isinstance(item, dict) else None
        if identifier not in everything:
            return everything
        failed.add(identifier)
    return failed


def _fitting(batch: list[Any]) -> list[list[Any]]:
    """Split a batch so that each part fits into one event."""
    parts: list[list[Any]] = [[]]
    size = 0
    for message in batch:
        length = _bytes(message)
        if parts[-1] and size + length > MAX_BATCH_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(message)
        size += length
    return parts


def _bytes(message: Any) -> int:
    """What a message's body takes in an event, where it is a text in JSON, with quotes escaped."""
    return len(json.dumps(message.body))


def record(message: Any, queue_arn: str) -> dict[str, Any]:
    """A received message as Lambda shows it to a function.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
    """
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
    }
    if source := getattr(message, "dead_letter_source", None):
        attributes["DeadLetterQueueSourceArn"] = source
    for name, value in (message.system_attributes or {}).items():
        attributes[name] = value["string_value"] if isinstance(value, dict) else value
    return {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {
            name: _message_attribute(value) for name, value in message.message_attributes.items()
        },
        "md5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }


def _message_attribute(attribute: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute["DataType"],
    }
    if "StringValue" in attribute:
        shown["stringValue"] = attribute["StringValue"]
    if "BinaryValue" in attribute:
        binary = attribute["BinaryValue"]
        shown["binaryValue"] = base64.b64encode(binary).decode() if isinstance(binary, bytes) else binary
    return shown
