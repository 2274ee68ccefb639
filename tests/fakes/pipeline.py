"""The three stages behind their queues, in this process: one message after the other, some of them lost."""

import importlib
import io
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
from PIL import Image

from shared import items
from tests.conftest import Aws, LambdaContext, client

STAGES = {
    "ImageProcessorQueue": "image_processor",
    "AnalyzerQueue": "analyzer",
    "EmbedderQueue": "embedder",
}


class Pipeline:
    """Gives the stages what their queues hold."""

    def __init__(
        self, aws: Aws, db: "psycopg.Connection[dict[str, Any]]", stages: dict[str, str] | None = None
    ) -> None:
        self._aws = aws
        self._db = db
        self._stages = stages or STAGES

    def upload(self, user_id: str, number: int) -> UUID:
        """An item with its original; S3 says so by an event."""
        item_id = uuid4()
        key = items.uploads_key(user_id, item_id)
        self._db.execute(
            "INSERT INTO items (user_id, item_id, filename, object_key) VALUES (%s, %s, 'a.jpg', %s)",
            (user_id, item_id, key),
        )
        out = io.BytesIO()
        Image.new("RGB", (32, 24), (number * 40 % 256, 80, 120)).save(out, "JPEG")
        self._aws.s3.put_object(Bucket=self._aws.uploads, Key=key, Body=out.getvalue())
        return item_id

    def ask(self, stage: str, item: Any) -> str | None:
        """Run a stage directly, in place of Lambda's Invoke; returns the name of its error."""
        handler = importlib.import_module(f"functions.{stage}.handler").lambda_handler
        try:
            handler({"user_id": item.user_id, "item_id": str(item.item_id)}, LambdaContext())
        except Exception as error:  # noqa: BLE001 - told as Lambda tells it
            return type(error).__name__
        return None

    def run(self, lose: Callable[[], bool]) -> None:
        """Work until the queues are empty; each message is lost where `lose` says so."""
        sqs = client("sqs")
        worked = True
        while worked:
            worked = False
            for queue, stage in self._stages.items():
                url = self._aws.resources.ref(queue)
                handler = importlib.import_module(f"functions.{stage}.handler").lambda_handler
                for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    worked = True
                    if lose():
                        continue
                    record = {
                        "messageId": message["MessageId"],
                        "receiptHandle": message["ReceiptHandle"],
                        "body": message["Body"],
                        "attributes": {"ApproximateReceiveCount": "1"},
                        "eventSourceARN": self._aws.resources.attribute(queue, "Arn"),
                    }
                    answer = handler({"Records": [record]}, LambdaContext())
                    assert answer == {"batchItemFailures": []}, json.dumps(answer)
