"""The one picture that all sample events speak of, brought to the state that each stage finds it in."""

import importlib.metadata
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from PIL import Image
from psycopg import sql

from shared import hashed_words, items, objects
from shared.embeddings import DIMENSIONS, OFFLINE, halfvec
from tests.runtime.artifact import ROOT
from tests.runtime.conftest import Aws

USER = "b4c8f4d8-1031-70ad-2c83-2d4c5e8f9a10"
ITEM = "5f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3d"
VERSION = "3HL4kqtJlcpXroDTDmjVBH40Nrjfkd"
CORRELATION = "0c6f5d0e-3b1a-4c5e-9a57-0f4e8a2d7b11"
UPLOADS = "magpie-dev-uploadsbucket-1x2y3z"
MEDIA = "magpie-dev-mediabucket-1x2y3z"

ANALYSIS = {
    "category": "landscape",
    "subcategories": ["sea"],
    "headline": "A golden sunset over the sea",
    "summary": "The sun goes down behind calm water.",
    "media_metadata": {
        "original_poster": None,
        "tagged_accounts": [],
        "location_tags": [],
        "audio_source": None,
        "hashtags": [],
    },
    "image_details": {
        "extracted_text": [],
        "objects": ["sun", "water"],
        "themes": ["evening"],
        "emotions": [],
        "vibes": ["calm"],
        "likely_source": "camera",
        "key_interest": "the sun",
        "visual_hierarchy": ["sun", "water"],
    },
}


def photograph() -> bytes:
    """A real one, which comes in a package that is never imported."""
    place = importlib.metadata.distribution("scikit-image").locate_file("skimage/data/rocket.jpg")
    return Path(str(place)).read_bytes()


def picture(size: tuple[int, int], kind: str) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, kind)
    return out.getvalue()


@dataclass
class Story:
    """The picture's row, objects and events, on a deployment whose names are not the samples'."""

    db: "psycopg.Connection[dict[str, Any]]"
    aws: Aws
    version: str = field(default=VERSION, init=False)

    def sample(self, name: str) -> Any:
        """A sample event, with this deployment's names and the version that S3 gave the original here."""
        text = (ROOT / "events" / "samples" / f"{name}.json").read_text()
        for there, here in ((UPLOADS, self.aws.uploads), (MEDIA, self.aws.media), (VERSION, self.version)):
            text = text.replace(there, here)
        return json.loads(text)

    def uploaded(self) -> None:
        """An original is in the uploads bucket."""
        key = f"{USER}/{ITEM}/original"
        put = self.aws.s3.put_object(Bucket=self.aws.uploads, Key=key, Body=photograph())
        self.version = put["VersionId"]

    def pending(self) -> None:
        """The API has minted the item."""
        self.db.execute(
            """
            INSERT INTO items (user_id, item_id, filename, object_key, correlation_id)
            VALUES (%(user)s, %(item)s, 'sunset.jpg', %(key)s, %(correlation)s)
            """,
            {"user": USER, "item": ITEM, "key": f"{USER}/{ITEM}/original", "correlation": CORRELATION},
        )

    def processed(self) -> None:
        """image_processor has done its part."""
        self.uploaded()
        self.pending()
        for key, size, kind in (
            (items.image_key(USER, ITEM), (640, 427), "JPEG"),
            (items.thumbnail_key(USER, ITEM), (512, 342), "WEBP"),
        ):
            self.aws.s3.put_object(
                Bucket=self.aws.media,
                Key=key,
                Body=picture(size, kind),
                Metadata={objects.ORIGINAL_SHA256: "ab" * 32},
            )
        self.db.execute(
            """
            UPDATE items
               SET status = 'processed', object_version = %(version)s, sha256 = %(sha256)s, format = 'JPEG',
                   width = 640, height = 427, image_width = 640, image_height = 427,
                   thumbnail_width = 512, thumbnail_height = 342
            """,
            {"version": self.version, "sha256": "ab" * 32},
        )

    def analyzed(self) -> None:
        """The analyzer has done its part."""
        self.processed()
        self.db.execute(
            """
            INSERT INTO analyses (user_id, item_id, version, object_version, category, headline, summary,
                                  raw_response, provider_used, model_used, prompt_hash)
            VALUES (%(user)s, %(item)s, 1, %(version)s, %(category)s, %(headline)s, %(summary)s, %(whole)s,
                    'offline', 'measured-1', 'none')
            """,
            {
                "user": USER,
                "item": ITEM,
                "version": self.version,
                "whole": json.dumps(ANALYSIS),
                **{name: ANALYSIS[name] for name in ("category", "headline", "summary")},
            },
        )
        self.db.execute("UPDATE items SET status = 'analyzed', analysis_version = 1")
        self.db.execute("SELECT refresh_search_document(%(user)s, %(item)s)", {"user": USER, "item": ITEM})

    def ready(self) -> None:
        """The embedder has done its part."""
        self.analyzed()
        vector = halfvec(hashed_words.embed(str(ANALYSIS["headline"])))
        self.db.execute(
            """
            INSERT INTO embeddings (user_id, item_id, model, dimensions, embedding, analysis_version,
                                    source_hash)
            VALUES (%(user)s, %(item)s, %(model)s, %(dimensions)s, %(vector)s::halfvec, 1, 'none')
            """,
            {
                "user": USER,
                "item": ITEM,
                "model": OFFLINE.name,
                "dimensions": DIMENSIONS,
                "vector": vector,
            },
        )
        self.db.execute("UPDATE items SET status = 'ready'")

    def at_work(self, run_id: str) -> str:
        """The run that the samples speak of is at work, and so is its execution, whose ARN is returned."""
        request = self.sample("scan_planner/direct")["input"]
        started = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.aws.resources.ref("Reprocess"), name=run_id, input=json.dumps(request)
        )
        arn: str = started["executionArn"]
        self.db.execute(
            """
            INSERT INTO scan_runs (user_id, run_id, kind, request, status, started_at, planned_items,
                                   execution_arn)
            VALUES (%(user)s, %(run)s, 'reprocess', %(request)s, 'running', now(), 1, %(arn)s)
            """,
            {"user": USER, "run": run_id, "request": json.dumps(request), "arn": arn},
        )
        return arn

    def row(self, table: str) -> dict[str, Any]:
        """The only row of a table."""
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
        (row,) = self.db.execute(query).fetchall()
        assert row["user_id"] == USER
        assert str(row["item_id"]) == ITEM
        return row

    def published(self) -> dict[str, Any]:
        """The only event that was published; its data speak of this picture."""
        (envelope,) = self.aws.published()
        data = envelope["detail"]["data"]
        assert (data["user_id"], data["item_id"], data["object_version"]) == (USER, ITEM, self.version)
        return envelope

    def object(self, key: str) -> Image.Image:
        body = self.aws.s3.get_object(Bucket=self.aws.media, Key=key)["Body"].read()
        return Image.open(io.BytesIO(body))
