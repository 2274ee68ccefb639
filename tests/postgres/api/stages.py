"""The stages behind the API, in this process: what they do with what the API has published or allowed."""

import io
import json
from typing import Any
from uuid import UUID

import psycopg
from PIL import Image

from functions.image_processor.handler import lambda_handler as image_processor
from shared import items
from tests.conftest import Aws, LambdaContext

Database = psycopg.Connection[dict[str, Any]]


def jpeg(colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 42), colour).save(out, "JPEG")
    return out.getvalue()


class Pipeline:
    """Uploads, and the events that S3 would send of them."""

    def __init__(self, aws: Aws, db: Database) -> None:
        self.aws, self.db = aws, db
        self.sequencer = 0x0062E99A88DC407460

    def put(self, key: str, body: bytes) -> dict[str, Any]:
        """Put an object, and return the detail of `Object Created`."""
        stored = self.aws.s3.put_object(Bucket=self.aws.uploads, Key=key, Body=body)
        self.sequencer += 0x10
        return {
            "bucket": {"name": self.aws.uploads},
            "object": {
                "key": key,
                "size": len(body),
                "version-id": stored["VersionId"],
                "sequencer": f"{self.sequencer:018X}",
            },
        }

    def upload(self, user_id: str, item_id: str, body: bytes | None = None) -> dict[str, Any]:
        return self.put(items.uploads_key(user_id, UUID(item_id)), jpeg() if body is None else body)

    def deliver(self, detail: dict[str, Any]) -> dict[str, Any]:
        """Have image_processor hear of an object; what it said. It raises what a queue would give back."""
        envelope = {"id": "e", "detail-type": "Object Created", "source": "aws.s3", "detail": detail}
        return image_processor(json.loads(json.dumps(envelope)), LambdaContext())  # type: ignore[arg-type]

    def stored(self, owner: str = "") -> list[tuple[str, str]]:
        """Every version and delete marker of both buckets: bucket and key, of one user or of all."""
        found = []
        for bucket in (self.aws.uploads, self.aws.media):
            listed = self.aws.s3.list_object_versions(Bucket=bucket, Prefix=owner)
            found += [(bucket, each["Key"]) for each in listed.get("Versions", [])]
            found += [(bucket, each["Key"]) for each in listed.get("DeleteMarkers", [])]
        return found

    def rows(self, user_id: str) -> dict[str, int]:
        """How many rows of each table speak of a user's items."""
        counts = {}
        for table in (
            "items",
            "item_events",
            "analyses",
            "embeddings",
            "search_documents",
            "corrections",
            "model_replies",
        ):
            query = f"SELECT count(*) AS n FROM {table} WHERE user_id = %s"  # noqa: S608
            (row,) = self.db.execute(query, (user_id,)).fetchall()  # type: ignore[arg-type]
            counts[table] = row["n"]
        return counts
