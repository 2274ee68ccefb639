"""Dead letters: the queues that hold what failed for good, what is in them, and the way back.

Which queues there are is read from the deployment's or the stack's own resources: a dead-letter queue is
what another queue's redrive policy names.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import places
from cli.errors import CommandError
from cli.places import aws_troubles, error_code

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from cli.places import Place

LOOKED_AT = 50
"""Messages of a queue that are looked at for the age of the oldest."""
HIDDEN_SECONDS = 30
"""For so long nobody else sees what we look at, if we are killed before we put it back."""
FIRST_LOOK, SLOWEST_LOOK = 0.2, 3.0
"""Seconds between two looks at a move."""
LISTED_SECONDS = 30.0
"""For so long a move that was started may be missing in SQS's list of moves."""
SETTLE_SECONDS = 15.0
"""For so long a count after a move is not believed unless it says that nothing is left."""
MOVING = {"RUNNING", "CANCELLING"}


@dataclass(frozen=True)
class Letter:
    """A message in a dead-letter queue.

    Attributes:
        receives: how often it was received, by functions and by whoever looked at it.
        error: what EventBridge says of an event that it could not deliver; None of what a function failed on.
    """

    message_id: str
    body: str
    sent_at: float | None
    receives: int | None
    error: str | None

    @property
    def envelope(self) -> dict[str, Any]:
        """The event that it holds; empty where it holds none."""
        try:
            read = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return read if isinstance(read, dict) else {}

    @property
    def correlation_id(self) -> str | None:
        """The id that the functions' logs know it by."""
        detail = self.envelope.get("detail")
        metadata = detail.get("metadata") if isinstance(detail, dict) else None
        known = metadata.get("correlation_id") if isinstance(metadata, dict) else self.envelope.get("id")
        return known if isinstance(known, str) else None

    @property
    def about(self) -> dict[str, Any]:
        """What the event says: its data, without its metadata."""
        detail = self.envelope.get("detail")
        if not isinstance(detail, dict):
            return {}
        data = detail.get("data")
        return data if isinstance(data, dict) else detail


@dataclass
class Queue:
    """A dead-letter queue.

    Attributes:
        name: of the resource in the template, such as `AnalyzerDeadLetters`.
        sources: ARNs of the queues whose dead letters it takes.
        waiting, hidden: messages that can be received, and that somebody is just looking at.
    """

    name: str
    url: str
    arn: str
    sources: list[str]
    waiting: int = 0
    hidden: int = 0

    @property
    def count(self) -> int:
        return self.waiting + self.hidden

    @property
    def stage(self) -> str:
        """What a person calls it: `Analyzer`."""
        return self.name.removesuffix("DeadLetters") or self.name


@dataclass
class Letters:
    """The dead-letter queues of one Magpie.

    Attributes:
        place: what a person calls that Magpie, such as `The stack magpie-dev`.
        logs: the folder of the functions' logs, where it is on this machine.
    """

    place: str
    sqs: "SQSClient"
    queues: list[Queue]
    logs: Path | None = None
    pause: Callable[[float], None] = field(default=time.sleep)

    def chosen(self, name: str | None) -> list[Queue]:
        """Return the queue of this name, or all of them.

        Any of `AnalyzerDeadLetters`, `Analyzer` and `analyzer` will do, or the queue's own name.

        Raises:
            CommandError: `unknown_queue`, and which there are.
        """
        if name is None:
            return self.queues
        wanted = _plain(name)
        for queue in self.queues:
            own = queue.arn.rpartition(":")[2]
            if wanted in {_plain(each) for each in (queue.name, queue.stage, own)}:
                return [queue]
        known = ", ".join(queue.stage for queue in self.queues)
        raise CommandError(
            "unknown_queue", f"{self.place} has no dead-letter queue {name!r}. There are: {known}."
        )

    def log(self, queue: Queue) -> str:
        """Say where the function behind a queue writes down why it fails."""
        return f"the log of {queue.stage}" if self.logs is None else str(self.logs / f"{queue.stage}.log")

    def count(self, queue: Queue) -> int:
        """Count a queue's messages anew. SQS itself calls these numbers approximate."""
        with aws_troubles(self.place):
            known = self.sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=COUNTS)["Attributes"]
        queue.waiting = int(known.get("ApproximateNumberOfMessages", 0))
        queue.hidden = int(known.get("ApproximateNumberOfMessagesNotVisible", 0))
        return queue.count

    def look(self, queue: Queue, most: int) -> list[Letter]:
        """Return messages, the oldest first, and leave them all where they are.

        SQS has no way to look at a message but to receive it. So each is received and put back at once; it
        counts as a receive, which no dead-letter queue acts upon.
        """
        seen: dict[str, MessageTypeDef] = {}
        with aws_troubles(self.place):
            try:
                while len(seen) < most:
                    got = self.sqs.receive_message(
                        QueueUrl=queue.url,
                        MaxNumberOfMessages=min(10, most - len(seen)),
                        VisibilityTimeout=HIDDEN_SECONDS,
                        AttributeNames=["All"],
                        MessageAttributeNames=["All"],
                    ).get("Messages", [])
                    if not got:
                        break
                    seen.update({message["ReceiptHandle"]: message for message in got})
            finally:
                for handle in seen:
                    self.sqs.change_message_visibility(
                        QueueUrl=queue.url, ReceiptHandle=handle, VisibilityTimeout=0
                    )
        letters = {message["MessageId"]: _letter(message) for message in seen.values()}
        return sorted(letters.values(), key=lambda letter: letter.sent_at or 0)

    def redrive(self, queue: Queue, rate: int | None) -> Iterator[dict[str, Any]]:
        """Send a queue's messages round again, and yield how far that is, the end last.

        A move that is going on already is followed instead of a second one, which SQS would refuse.

        Yields:
            `{"status", "moved", "total"}`.

        Raises:
            CommandError: SQS refuses, or the move failed.
        """
        from botocore.exceptions import ClientError

        asked: dict[str, Any] = {"SourceArn": queue.arn}
        if len(queue.sources) == 1:
            # To be named: what EventBridge could not deliver never had another queue to go back to.
            asked["DestinationArn"] = queue.sources[0]
        if rate is not None:
            asked["MaxNumberOfMessagesPerSecond"] = rate
        with aws_troubles(self.place):
            older = self._move(queue).get("StartedTimestamp")
            try:
                self.sqs.start_message_move_task(**asked)
            except ClientError as error:
                if not error_code(error).endswith("UnsupportedOperation"):
                    raise
                older = None  # the move that is going on already is the one to follow
        task = self._listed(queue, older)
        pause = FIRST_LOOK
        while True:
            status = str(task.get("Status"))
            yield {
                "status": status.lower(),
                "moved": int(task.get("ApproximateNumberOfMessagesMoved", 0)),
                "total": task.get("ApproximateNumberOfMessagesToMove"),
            }
            if status not in MOVING:
                break
            self.pause(pause)
            pause = min(pause * 1.3, SLOWEST_LOOK)
            with aws_troubles(self.place):
                task = self._move(queue)
        if status == "FAILED":
            reason = str(task.get("FailureReason") or "for an unknown reason")
            raise CommandError("move_failed", f"{queue.name}: the move failed, {reason}.")

    def left(self, queue: Queue) -> int:
        """Count what is left after a move, patiently: SQS's counts lag behind what happened."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.count(queue) and time.monotonic() < deadline:
            self.pause(min(SETTLE_SECONDS / 5, SLOWEST_LOOK))
        return queue.count

    def purge(self, queue: Queue) -> None:
        """Delete every message of a queue for good.

        Raises:
            CommandError: SQS refuses, as it does a second time within a minute.
        """
        from botocore.exceptions import ClientError

        with aws_troubles(self.place):
            try:
                self.sqs.purge_queue(QueueUrl=queue.url)
            except ClientError as error:
                if not error_code(error).endswith("PurgeQueueInProgress"):
                    raise
                raise CommandError(
                    "purge_in_progress",
                    f"{queue.name} was purged within the last minute, and SQS allows one purge a minute: "
                    "wait for it to pass.",
                ) from None

    def _listed(self, queue: Queue, older: Any) -> dict[str, Any]:
        """The move that was just started, as soon as SQS lists it; before, the latest is an older one."""
        deadline = time.monotonic() + LISTED_SECONDS
        while True:
            with aws_troubles(self.place):
                task = self._move(queue)
            if task and task.get("StartedTimestamp") != older:
                return task
            if time.monotonic() > deadline:
                raise CommandError(
                    "move_unknown",
                    f"SQS took the order to move what is in {queue.name}, and does not tell how far it is: "
                    "./magpie dlq list tells what is left.",
                )
            self.pause(FIRST_LOOK)

    def _move(self, queue: Queue) -> dict[str, Any]:
        """The latest move out of a queue; empty where there was none."""
        found = self.sqs.list_message_move_tasks(SourceArn=queue.arn, MaxResults=1).get("Results", [])
        return dict(found[0]) if found else {}


COUNTS: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


def find(data: Path | None, api_url: str | None, stack_name: str | None) -> Letters:
    """Return the dead-letter queues of the Magpie that options and environment name.

    Raises: as `places.find`.
    """
    place = places.find(data, api_url, stack_name)
    with aws_troubles(place.name):
        return Letters(place.name, place.client("sqs"), _dead(place.client("sqs"), _named(place)), place.logs)


def _named(place: "Place") -> list[tuple[str, str]]:
    """Every queue's name in the template, and its address."""
    if place.stack_name is not None:
        return list(place.resources("AWS::SQS::Queue").items())
    urls = [  # the stack on this machine has no others
        url
        for page in place.client("sqs").get_paginator("list_queues").paginate()
        for url in page.get("QueueUrls", [])
    ]
    return [(url.rpartition("/")[2].removeprefix("magpie-"), url) for url in urls]


def _dead(sqs: "SQSClient", named: Sequence[tuple[str, str]]) -> list[Queue]:
    """Return those of the queues that others send their dead letters to."""
    wanted: Any = ["QueueArn", "RedrivePolicy", *COUNTS]
    found = {}
    sources: dict[str, list[str]] = {}
    for name, url in named:
        known = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
        found[known["QueueArn"]] = Queue(
            name,
            url,
            known["QueueArn"],
            [],
            int(known.get("ApproximateNumberOfMessages", 0)),
            int(known.get("ApproximateNumberOfMessagesNotVisible", 0)),
        )
        if policy := known.get("RedrivePolicy"):
            sources.setdefault(json.loads(policy)["deadLetterTargetArn"], []).append(known["QueueArn"])
    for arn, queue in found.items():
        queue.sources = sources.get(arn, [])
    return sorted((queue for queue in found.values() if queue.sources), key=lambda queue: queue.name)


def _letter(message: "MessageTypeDef") -> Letter:
    known: dict[str, str] = {str(name): value for name, value in message.get("Attributes", {}).items()}
    said = {name: each.get("StringValue", "") for name, each in message.get("MessageAttributes", {}).items()}
    sent, receives = known.get("SentTimestamp", ""), known.get("ApproximateReceiveCount", "")
    return Letter(
        message_id=message["MessageId"],
        body=message.get("Body", ""),
        sent_at=int(sent) / 1000 if sent.isdigit() else None,
        receives=int(receives) if receives.isdigit() else None,
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
        error=": ".join(filter(None, (said.get("ERROR_CODE"), said.get("ERROR_MESSAGE")))) or None,
    )


def _plain(name: str) -> str:
    return "".join(each for each in name.lower() if each.isalnum()).removesuffix("deadletters")
