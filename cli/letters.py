"""Dead letters: the queues that hold what failed for good, what is in them, and the way back.

Which queues there are is read from the deployment's or the stack's own resources: a dead-letter queue is
what another queue's redrive policy names.
"""

import json
import os
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError, UsageError
from cli.target import ROOT, choose, data_folder, not_running

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HERE = "Magpie on this machine"
SAMCONFIG = ROOT / "samconfig.toml"

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

SIGNED_OUT = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidSignatureException",
}


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
        with _aws_troubles(self.place):
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
        with _aws_troubles(self.place):
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
        with _aws_troubles(self.place):
            older = self._move(queue).get("StartedTimestamp")
            try:
                self.sqs.start_message_move_task(**asked)
            except ClientError as error:
                if not _code(error).endswith("UnsupportedOperation"):
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
            with _aws_troubles(self.place):
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

        with _aws_troubles(self.place):
            try:
                self.sqs.purge_queue(QueueUrl=queue.url)
            except ClientError as error:
                if not _code(error).endswith("PurgeQueueInProgress"):
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
            with _aws_troubles(self.place):
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

    Args:
        stack_name: of a deployment, on AWS with the caller's own credentials.

    Raises:
        UsageError: the options contradict each other.
        CommandError: nothing runs here, AWS refuses, or no such stack is there.
    """
    if stack_name is None:
        target = choose(data, api_url)
        if target.stack is not None:
            return _here(target.stack, data_folder(data) / "logs")
        return _deployed_at(target.api_url)
    if data is not None or api_url is not None:
        raise UsageError("--stack-name says which Magpie: leave out --data and --api-url.")
    place = f"The stack {stack_name}"
    with _aws_troubles(place):
        return _deployed(stack_name, place)


def _here(stack: dict[str, Any], logs: Path) -> Letters:
    """The queues of the stack on this machine, which has no others."""
    import boto3
    from botocore.config import Config

    with _aws_troubles(HERE):
        sqs = boto3.Session(
            # Any will do here, and those of the person's own account stay out of it.
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - no secret
            region_name=stack["sign_in"]["region"],
        ).client(
            "sqs", endpoint_url=stack["aws_url"], config=Config(proxies={}, retries={"total_max_attempts": 2})
        )
        urls = [
            url for page in sqs.get_paginator("list_queues").paginate() for url in page.get("QueueUrls", [])
        ]
        named = [(url.rpartition("/")[2].removeprefix("magpie-"), url) for url in urls]
        return Letters(HERE, sqs, _dead(sqs, named), logs)


def _deployed(stack_name: str, place: str) -> Letters:
    import boto3

    session = boto3.Session(region_name=_region())
    pages = session.client("cloudformation").get_paginator("list_stack_resources")
    named = [
        (each["LogicalResourceId"], each["PhysicalResourceId"])
        for page in pages.paginate(StackName=stack_name)
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::SQS::Queue" and each.get("PhysicalResourceId")
    ]
    sqs = session.client("sqs")
    return Letters(place, sqs, _dead(sqs, named))


def _deployed_at(api_url: str) -> Letters:
    """The queues of the deployment with this API: one of the stacks that samconfig.toml names.

    Told by what the stack says of its own address, so that nobody empties the queues of another one.
    """
    import boto3
    from botocore.exceptions import ClientError

    names = _stack_names()
    with _aws_troubles(f"The stack behind {api_url}"):
        cloudformation = boto3.Session(region_name=_region()).client("cloudformation")
        for name in names:
            try:
                (found,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
            except ClientError as error:
                if _code(error) == "ValidationError":  # it is not there
                    continue
                raise
            outputs = {
                each.get("OutputKey"): each.get("OutputValue", "") for each in found.get("Outputs", [])
            }
            if outputs.get("ApiUrl", "").rstrip("/") == api_url:
                return _deployed(name, f"The stack {name}")
    raise CommandError(
        "unknown_stack",
        f"None of the stacks that samconfig.toml names ({', '.join(names) or 'none'}) says that {api_url} "
        "is its API, in this account and region: name it with --stack-name.",
    )


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


def _samconfig() -> dict[str, Any]:
    try:
        return tomllib.loads(SAMCONFIG.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _stack_names() -> list[str]:
    """Names of the stacks in samconfig.toml, the default one first."""
    names = [
        section["global"]["parameters"]["stack_name"]
        for section in _samconfig().values()
        if isinstance(section, dict) and "stack_name" in section.get("global", {}).get("parameters", {})
    ]
    return list(dict.fromkeys(map(str, names)))


def _region() -> str | None:
    """The region that `sam deploy --guided` has written down, where the environment names none."""
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    for command in ("global", "deploy"):
        region = _samconfig().get("default", {}).get(command, {}).get("parameters", {}).get("region")
        if region:
            return str(region)
    return None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _aws_troubles(place: str) -> Iterator[None]:
    """Turn what boto3 raises into a command's one sentence."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise CommandError(
            "no_credentials",
            "There are no AWS credentials: set AWS_PROFILE, or sign in with aws sso login or aws configure.",
        ) from None
    except exceptions.ProfileNotFound as error:
        raise CommandError("no_credentials", f"{error}: AWS_PROFILE names none that is configured.") from None
    except (exceptions.SSOError, exceptions.UnauthorizedSSOTokenError, exceptions.TokenRetrievalError):
        raise CommandError(
            "signed_out_of_aws", "You are not signed in to AWS any more: run aws sso login."
        ) from None
    except exceptions.NoRegionError:
        raise CommandError("no_region", "Say in which region it is deployed: set AWS_REGION.") from None
    except exceptions.ClientError as error:
        code = _code(error)
        said = str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")
        if code in SIGNED_OUT:
            raise CommandError(
                "signed_out_of_aws", f"AWS does not accept these credentials ({code}): sign in anew."
            ) from None
        if code == "ValidationError" and "does not exist" in said:
            known = ", ".join(_stack_names())
            raise CommandError(
                "unknown_stack",
                f"{place} is not there, in this account and region. samconfig.toml names: {known or 'none'}.",
            ) from None
        raise CommandError("aws_refused", f"AWS refused: {said or code} ({code}).") from None
    except exceptions.EndpointConnectionError as error:
        if place == HERE:
            raise not_running() from None
        raise CommandError("unreachable", f"AWS cannot be reached: {error}.") from None
    except exceptions.BotoCoreError as error:
        raise CommandError("aws_failed", f"AWS did not answer as it should: {error}.") from None
