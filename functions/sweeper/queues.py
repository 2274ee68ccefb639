"""The stages' queues, and the stages themselves."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from functions.sweeper.rows import Stuck
from shared import clients
from shared.errors import TransientError
from shared.events import Metadata, Stage
from shared.settings import Settings


class StagesEnv(Settings):
    """Where each stage waits for messages, and what it is called."""

    image_processor_queue: str = Field(alias="IMAGE_PROCESSOR_QUEUE")
    analyzer_queue: str = Field(alias="ANALYZER_QUEUE")
    embedder_queue: str = Field(alias="EMBEDDER_QUEUE")
    image_processor: str = Field(alias="IMAGE_PROCESSOR_FUNCTION")
    analyzer: str = Field(alias="ANALYZER_FUNCTION")
    embedder: str = Field(alias="EMBEDDER_FUNCTION")


def is_empty(stage: Stage) -> bool:
    """Say whether a stage's queue holds no message, in flight or delayed ones included.

    Raises:
        TransientError: SQS did not answer.
    """
    try:
        answer = clients.sqs().get_queue_attributes(QueueUrl=_queue(stage), AttributeNames=["All"])
    except (ClientError, BotoCoreError) as error:
        raise TransientError("SQS did not answer") from error
    held = answer["Attributes"]
    return not (
        int(held.get("ApproximateNumberOfMessages", "0"))
        or int(held.get("ApproximateNumberOfMessagesNotVisible", "0"))
        or int(held.get("ApproximateNumberOfMessagesDelayed", "0"))
    )


def send(stage: Stage, item: Stuck) -> None:
    """Put an item into its stage's queue, in the form that a rule gives messages.

    Raises:
        TransientError: SQS did not take it.
    """
    now = datetime.now(UTC)
    correlation_id = item.correlation_id or str(uuid4())
    data: dict[str, Any] = {"user_id": item.user_id, "item_id": str(item.item_id)}
    if item.object_version and stage != "image_processor":
        data["object_version"] = item.object_version
    message = {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "Swept",
        "source": "magpie.sweeper",
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "resources": [],
        "detail": {
            "metadata": Metadata(correlation_id=correlation_id[:128], occurred_at=now).model_dump(
                mode="json"
            ),
            "data": data,
        },
    }
    try:
        clients.sqs().send_message(QueueUrl=_queue(stage), MessageBody=json.dumps(message))
    except (ClientError, BotoCoreError) as error:
        raise TransientError("SQS did not take a message") from error


def ask(stage: Stage, item: Stuck) -> str | None:
    """Run a stage on an item and wait; returns the name of its error, None where it did its work.

    Raises:
        TransientError: Lambda did not answer.
    """
    payload = {"user_id": item.user_id, "item_id": str(item.item_id)}
    name: str = getattr(StagesEnv.load(), stage)
    try:
        answer = clients.functions().invoke(FunctionName=name, Payload=json.dumps(payload).encode())
        told = json.loads(answer["Payload"].read())
    except (ClientError, BotoCoreError, ValueError) as error:
        raise TransientError("a stage could not be asked") from error
    if "FunctionError" not in answer:
        return None
    return str(told.get("errorType", "Error"))[:100] if isinstance(told, dict) else "Error"


def _queue(stage: Stage) -> str:
    url: str = getattr(StagesEnv.load(), f"{stage}_queue")
    return url
