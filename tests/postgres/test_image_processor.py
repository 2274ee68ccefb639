"""The image processor from event to row: once for each version, nothing lost, nothing shared.

Everything is real but AWS (moto).
"""

import hashlib
import io
import json
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import psycopg
import pytest
from PIL import Image

from functions.image_processor import catalogue, handler
from functions.image_processor.catalogue import Original
from functions.image_processor.upload import Upload
from shared import clients, database, items, objects
from shared.errors import InvalidEventError, TransientError
from tests.conftest import Aws, LambdaContext
from tests.fakes import money
from tests.unit.image_processor import pictures

ROOT = Path(__file__).resolve().parents[2]
ANNA, BEN = "anna", "ben"
ITEM = UUID("5f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3d")
OTHER = UUID("6f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3e")
THIRD = UUID("7f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3f")
PENDING, PROCESSED, READY = "pending", "processed", "ready"


def jpeg(colour: str = "teal", size: tuple[int, int] = (640, 420), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", **options)
    return out.getvalue()


class Stage:
    """The image processor in its environment, and what a test does with it."""

    def __init__(self, aws: Aws, db: "psycopg.Connection[dict[str, Any]]", context: LambdaContext) -> None:
        self.aws, self.db, self.context = aws, db, context
        self.sequencer = 0x0062E99A88DC407460

    def put(self, key: str, body: bytes) -> dict[str, Any]:
        """Put an object, and return the detail of the event that S3 would send."""
        stored = self.aws.s3.put_object(Bucket=self.aws.uploads, Key=key, Body=body)
        self.sequencer += 0x10
        return {
            "version": "0",
            "bucket": {"name": self.aws.uploads},
            "object": {
                "key": key,
                "size": len(body),
                "etag": stored["ETag"].strip('"'),
                "version-id": stored["VersionId"],
                "sequencer": f"{self.sequencer:018X}",
            },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "198.51.100.17",
            "reason": "PutObject",
        }

    def upload(self, body: bytes, user: str = ANNA, item: UUID = ITEM) -> dict[str, Any]:
        return self.put(items.uploads_key(user, item), body)

    def envelope(self, detail: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "123456789012",
            "time": "2026-11-20T09:15:00Z",
            "region": "us-east-1",
            "resources": [f"arn:aws:s3:::{self.aws.uploads}"],
            "detail": detail,
        }

    def deliver(self, detail: dict[str, Any], attempt: int = 1) -> bool:
        """Deliver the event by its queue; say whether the message may go."""
        record = {
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "none",
            "body": json.dumps(self.envelope(detail)),
            "attributes": {"ApproximateReceiveCount": str(attempt)},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:nowhere",
            "awsRegion": "us-east-1",
        }
        answer = handler.lambda_handler({"Records": [record]}, self.context)  # type: ignore[arg-type]
        return answer == {"batchItemFailures": []}

    def invoke(self, **payload: Any) -> dict[str, Any]:
        """Call the function with a direct payload."""
        return handler.lambda_handler({"user_id": ANNA, "item_id": str(ITEM), **payload}, self.context)  # type: ignore[arg-type]

    def pending(self, user: str = ANNA, item: UUID = ITEM, filename: str = "Coffee_at-home.jpg") -> None:
        """Arrange what the API leaves."""
        self.db.execute(
            """
            INSERT INTO items (user_id, item_id, filename, object_key, correlation_id)
            VALUES (%s, %s, %s, %s, 'from-the-api')
            """,
            (user, item, filename, items.uploads_key(user, item)),
        )

    def ready(self, user: str = ANNA, item: UUID = ITEM, run_id: str = "") -> None:
        """Arrange what the later stages leave."""
        version = self.row(user, item)["object_version"]
        number = (self.row(user, item)["analysis_version"] or 0) + 1
        self.db.execute(
            """
            INSERT INTO analyses (user_id, item_id, version, object_version, category, headline, summary,
                                  raw_response, provider_used, model_used, prompt_hash, run_id)
            VALUES (%s, %s, %s, %s, 'food', 'A cup', 'A cup of coffee', '{"headline": "A cup"}',
                    'offline', 'm', 'p', %s)
            """,
            (user, item, number, version, run_id),
        )
        self.db.execute(
            """
            INSERT INTO embeddings (user_id, item_id, model, dimensions, embedding, analysis_version,
                                    source_hash)
            VALUES (%s, %s, 'm', 1024, array_fill(0.1, ARRAY[1024])::halfvec, %s, 'h')
            ON CONFLICT DO NOTHING
            """,
            (user, item, number),
        )
        self.db.execute(
            "UPDATE items SET status = 'ready', analysis_version = %s WHERE user_id = %s AND item_id = %s",
            (number, user, item),
        )
        self.db.execute("SELECT refresh_search_document(%s, %s)", (user, item))

    def rows(self) -> list[dict[str, Any]]:
        return self.db.execute("SELECT * FROM items ORDER BY user_id, item_id").fetchall()

    def row(self, user: str = ANNA, item: UUID = ITEM) -> dict[str, Any]:
        (row,) = [row for row in self.rows() if (row["user_id"], row["item_id"]) == (user, item)]
        return row

    def everything(self) -> dict[str, Any]:
        """All that a delivery could change: tables, and versions of the derivatives."""
        found: dict[str, Any] = {
            table: self.db.execute(f"SELECT * FROM {table} ORDER BY user_id, item_id").fetchall()  # noqa: S608
            for table in ("items", "item_events", "analyses", "embeddings", "search_documents")
        }
        listed = self.aws.s3.list_object_versions(Bucket=self.aws.media)
        found["media"] = [(v["Key"], v["VersionId"]) for v in listed.get("Versions", [])]
        found["removed"] = [(v["Key"], v["VersionId"]) for v in listed.get("DeleteMarkers", [])]
        return found

    def media(self) -> list[str]:
        return [
            entry["Key"] for entry in self.aws.s3.list_objects_v2(Bucket=self.aws.media).get("Contents", [])
        ]

    def shown(self, user: str = ANNA, item: UUID = ITEM) -> tuple[int, ...]:
        """The colour of an item's web image."""
        body = self.aws.s3.get_object(Bucket=self.aws.media, Key=items.image_key(user, item))["Body"].read()
        with Image.open(io.BytesIO(body)) as image:
            return image.convert("RGB").getpixel((0, 0))  # type: ignore[return-value]

    def timeline(self, item: UUID = ITEM) -> list[tuple[str, str]]:
        lines = self.db.execute("SELECT * FROM item_events WHERE item_id = %s ORDER BY event_id", (item,))
        return [(line["event"], line["occurrence"]) for line in lines]

    def words(self, item: UUID = ITEM) -> str:
        (row,) = self.db.execute("SELECT document::text FROM search_documents WHERE item_id = %s", (item,))
        return str(row["document"])

    def published(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event["detail-type"], event["detail"]["data"]) for event in self.aws.published()]


@pytest.fixture
def stage(
    aws: Aws,
    db: "psycopg.Connection[dict[str, Any]]",
    function_env: Callable[..., dict[str, str]],
    lambda_context: LambdaContext,
) -> Iterator[Stage]:
    function_env("ImageProcessor")
    yield Stage(aws, db, lambda_context)
    # However it ended: no transaction is left open for the next invocation to find.
    idle = psycopg.pq.TransactionStatus.IDLE
    assert database._connection is None or database._connection.info.transaction_status == idle


RED, TEAL, NAVY = jpeg("red"), jpeg("teal"), jpeg("navy")
LARGE = jpeg("navy", (1200, 900))
IS_RED, IS_TEAL, IS_NAVY = (254, 0, 0), (0, 128, 127), (0, 0, 128)


def close(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 6 for a, b in zip(one, other, strict=True))


class TestAnUpload:
    def test_becomes_derivatives_a_full_row_and_an_event(self, stage: Stage) -> None:
        exif = Image.Exif()
        exif[0x0112], exif[271], exif[272] = 6, "Canon", "Canon EOS 5D"
        exif.get_ifd(34665)[36867] = "2024:02:29 13:14:15"
        exif.get_ifd(34853).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 30.0)})
        body = jpeg("teal", (3000, 2000), exif=exif)
        stage.pending()
        detail = stage.upload(body)
        assert stage.deliver(detail)

        row = stage.row()
        expected = {
            "status": "processed",
            "filename": "Coffee_at-home.jpg",
            "object_key": f"{ANNA}/{ITEM}/original",
            "object_version": detail["object"]["version-id"],
            "object_sequencer": detail["object"]["sequencer"].rjust(32, "0"),
            "file_size": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "format": "JPEG",
            "width": 2000,
            "height": 3000,
            "perceptual_hash": 0,
            "captured_at": datetime(2024, 2, 29, 13, 14, 15),  # noqa: DTZ001 - cameras know no zone
            "camera": "Canon EOS 5D",
            "location": None,
            "duplicate_of": None,
            "image_width": 1365,
            "image_height": 2048,
            "thumbnail_width": 341,
            "thumbnail_height": 512,
            "error_code": None,
            "analysis_version": None,
        }
        assert {name: row[name] for name in expected} == expected
        assert row["dominant_colours"][0]["share"] == 1.0
        assert stage.timeline() == [("processed", "")]
        assert "coffe" in stage.words()

        for key, kind, size in (
            (f"{ANNA}/images/{ITEM}.jpg", "image/jpeg", (1365, 2048)),
            (f"{ANNA}/thumbnails/{ITEM}.webp", "image/webp", (341, 512)),
        ):
            stored = stage.aws.s3.get_object(Bucket=stage.aws.media, Key=key)
            assert stored["ContentType"] == kind
            with Image.open(io.BytesIO(stored["Body"].read())) as image:
                assert image.size == size

        ((kind, data),) = stage.published()
        assert kind == "ImageProcessed"
        assert data == {
            "user_id": ANNA,
            "item_id": str(ITEM),
            "object_version": detail["object"]["version-id"],
            "bucket": stage.aws.media,
            "image_key": f"{ANNA}/images/{ITEM}.jpg",
            "thumbnail_key": f"{ANNA}/thumbnails/{ITEM}.webp",
            "width": 2000,
            "height": 3000,
        }

    def test_keeps_the_place_only_where_it_is_asked_to(
        self, stage: Stage, function_env: Callable[..., Any]
    ) -> None:
        exif = Image.Exif()
        exif.get_ifd(34853).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 30.0)})
        stage.deliver(stage.upload(jpeg(exif=exif)))
        assert stage.row()["location"] is None
        function_env("ImageProcessor", KEEP_LOCATION="true")
        stage.deliver(stage.upload(jpeg(exif=exif), item=OTHER))
        assert stage.row(item=OTHER)["location"] == {"latitude": 48.133333, "longitude": 11.575}

    def test_goes_on_under_the_id_of_the_request_for_it(self, stage: Stage) -> None:
        stage.pending()
        stage.deliver(stage.upload(TEAL))
        (event,) = stage.aws.published()
        assert event["detail"]["metadata"]["correlation_id"] == "from-the-api"

    def test_does_not_need_a_row(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL))
        assert (stage.row()["status"], stage.row()["filename"]) == ("processed", "original")

    def test_may_come_as_one_envelope(self, stage: Stage) -> None:
        answer = handler.lambda_handler(stage.envelope(stage.upload(TEAL)), stage.context)  # type: ignore[arg-type]
        assert answer == {
            "user_id": ANNA,
            "item_id": str(ITEM),
            "object_version": stage.row()["object_version"],
            "status": "processed",
            "code": None,
        }

    def test_leaves_no_file_behind_however_it_ends(
        self, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        for body in (TEAL, b"", b"not a picture", TEAL[:-200]):
            stage.deliver(stage.upload(body, item=uuid.uuid4()))
        monkeypatch.setattr(handler, "render", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert not stage.deliver(stage.upload(TEAL, item=uuid.uuid4()))
        assert list(tmp_path.iterdir()) == []

    def test_that_kills_its_decoder_does_not_disturb_the_next(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage.deliver(stage.upload(TEAL, item=OTHER))
        connection = database.connection()
        with monkeypatch.context() as patched:
            patched.setattr(handler, "render", lambda *_: os.kill(os.getpid(), signal.SIGABRT))
            assert stage.deliver(stage.upload(TEAL))
        assert (stage.row()["status"], stage.row()["error_code"]) == ("rejected", "corrupt")
        assert stage.deliver(stage.upload(RED, item=THIRD))
        assert database.connection() is connection


class TestTheSecondDelivery:
    def test_changes_nothing(self, stage: Stage) -> None:
        detail = stage.upload(TEAL)
        stage.deliver(detail)
        before = stage.everything()
        stage.published()
        assert stage.deliver(detail, attempt=2)
        assert stage.everything() == before
        # Nobody has acted on the first event yet: it may never have been sent.
        assert [kind for kind, _ in stage.published()] == ["ImageProcessed"]

    @pytest.mark.parametrize("status", ["analyzed", "ready", "failed"])
    def test_says_nothing_where_a_later_stage_has_acted(self, stage: Stage, status: str) -> None:
        detail = stage.upload(TEAL)
        stage.deliver(detail)
        stage.ready()
        stage.db.execute("UPDATE items SET status = %s", (status,))
        before = stage.everything()
        stage.published()
        assert stage.deliver(detail)
        assert stage.everything() == before
        assert stage.published() == []

    def test_of_a_rejected_upload_changes_nothing(self, stage: Stage) -> None:
        detail = stage.upload(b"not a picture")
        stage.deliver(detail)
        before, first = stage.everything(), stage.published()
        assert stage.deliver(detail, attempt=2)
        assert stage.everything() == before
        assert stage.published() == first

    def test_heals_a_crash_between_commit_and_publish(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        detail = stage.upload(TEAL)

        def drop(**_: Any) -> dict[str, Any]:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}

        with monkeypatch.context() as patched:
            patched.setattr(clients.events(), "put_events", drop)
            assert not stage.deliver(detail)
        before = stage.everything()
        assert stage.row()["status"] == "processed"
        assert stage.published() == []
        assert stage.deliver(detail, attempt=2)
        assert stage.everything() == before
        assert [kind for kind, _ in stage.published()] == ["ImageProcessed"]

    def test_heals_a_crash_before_the_commit(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        stage.pending()
        detail = stage.upload(TEAL)
        write = objects.write

        def break_off(bucket: str, key: str, *of_the_object: Any) -> None:
            if key.endswith(".webp"):
                raise TransientError("S3 did not answer as it should")
            write(bucket, key, *of_the_object)

        with monkeypatch.context() as patched:
            patched.setattr(objects, "write", break_off)
            assert not stage.deliver(detail)
        assert stage.row()["status"] == "pending"
        assert stage.timeline() == stage.published() == []
        assert stage.deliver(detail, attempt=2)
        assert stage.row()["status"] == "processed"


class TestANewerVersion:
    @pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1, 0)])
    def test_wins_whatever_the_order(self, stage: Stage, order: tuple[int, ...]) -> None:
        details = [stage.upload(RED), stage.upload(TEAL)]
        for number in order:
            assert stage.deliver(details[number])
        assert stage.row()["object_version"] == details[1]["object"]["version-id"]
        assert stage.row()["sha256"] == hashlib.sha256(TEAL).hexdigest()
        assert close(stage.shown(), IS_TEAL)
        assert stage.published()[-1][1]["object_version"] == details[1]["object"]["version-id"]

    @pytest.mark.parametrize("step", [(objects, "download"), (handler, "tried")])
    def test_that_arrives_while_the_older_is_read_or_drawn_is_not_overwritten(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
    ) -> None:
        older, newer = stage.upload(RED), stage.upload(TEAL)
        work, waiting = getattr(*step), [newer]

        def slowly(*arguments: Any) -> Any:
            done = work(*arguments)
            if waiting:
                assert stage.deliver(waiting.pop())
            return done

        monkeypatch.setattr(*step, slowly)
        # Once it is counted it finds another content than before, and at the next delivery that it is late.
        assert stage.deliver(older) is (step[1] == "download")
        assert close(stage.shown(), IS_TEAL)
        before = stage.everything()
        stage.published()
        assert stage.deliver(older, attempt=2)
        assert stage.everything() == before
        assert stage.published() == []

    def test_begins_anew(self, stage: Stage) -> None:
        stage.pending()
        stage.deliver(stage.upload(RED))
        stage.ready()
        assert "cup" in stage.words()
        stage.deliver(stage.upload(TEAL))
        row = stage.row()
        assert (row["status"], row["analysis_version"], row["error_code"]) == ("processed", None, None)
        assert stage.everything()["embeddings"] == []
        assert len(stage.everything()["analyses"]) == 1  # history
        assert "cup" not in stage.words()
        assert "coffe" in stage.words()
        assert stage.timeline() == [("processed", ""), ("processed", "")]

    def test_mends_a_rejected_item(self, stage: Stage) -> None:
        stage.deliver(stage.upload(b"not a picture"))
        assert stage.row()["status"] == "rejected"
        stage.deliver(stage.upload(TEAL))
        row = stage.row()
        assert (row["status"], row["error_code"], row["error_message"]) == ("processed", None, None)

    def test_that_is_no_picture_takes_the_older_one_away(self, stage: Stage) -> None:
        stage.pending()
        stage.deliver(stage.upload(RED))
        stage.ready()
        stage.published()
        detail = stage.upload(b"not a picture")
        stage.deliver(detail)
        row = stage.row()
        assert (row["status"], row["error_code"], row["analysis_version"]) == (
            "rejected",
            "not_an_image",
            None,
        )
        assert row["object_version"] == detail["object"]["version-id"]
        assert row["width"] is row["image_width"] is row["dominant_colours"] is row["perceptual_hash"] is None
        assert stage.media() == []
        assert stage.everything()["embeddings"] == []
        assert "cup" not in stage.words()
        assert [kind for kind, _ in stage.published()] == ["ItemRejected"]


class TestARejection:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "empty"),
            (b"<html>", "not_an_image"),
            (b"8BPS\0\x01" + bytes(40), "unsupported_format"),
            (TEAL[: len(TEAL) // 2], "truncated"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82", "corrupt"),
        ],
    )
    def test_carries_a_code_and_a_sentence(self, stage: Stage, body: bytes, code: str) -> None:
        stage.pending()
        detail = stage.upload(body)
        assert stage.deliver(detail)
        row = stage.row()
        assert (row["status"], row["error_code"], row["file_size"]) == ("rejected", code, len(body))
        assert row["error_message"].endswith(".")
        assert stage.timeline() == [("rejected", code)]
        assert stage.media() == []
        assert stage.published() == [
            (
                "ItemRejected",
                {
                    "user_id": ANNA,
                    "item_id": str(ITEM),
                    "object_version": detail["object"]["version-id"],
                    "stage": "image_processor",
                    "code": code,
                    "message": row["error_message"],
                },
            )
        ]

    def test_of_too_many_bytes_reads_none_of_them(
        self, stage: Stage, function_env: Callable[..., Any]
    ) -> None:
        function_env("ImageProcessor", MAX_UPLOAD_BYTES=str(len(TEAL) - 1))
        stage.deliver(stage.upload(TEAL))
        row = stage.row()
        assert (row["status"], row["error_code"]) == ("rejected", "too_large")
        assert (row["file_size"], row["sha256"]) == (len(TEAL), None)

    def test_of_too_many_pixels(self, stage: Stage, function_env: Callable[..., Any]) -> None:
        function_env("ImageProcessor", MAX_PIXELS="1000")
        out = io.BytesIO()
        Image.new("RGB", (40, 30)).save(out, "PNG")
        stage.deliver(stage.upload(out.getvalue()))
        assert stage.row()["error_code"] == "too_many_pixels"


class TestTwoUsers:
    def test_with_the_same_file_see_only_their_own(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL, ANNA))
        stage.deliver(stage.upload(TEAL, BEN))
        stage.deliver(stage.upload(TEAL, BEN, OTHER))
        assert [(row["user_id"], row["item_id"], row["duplicate_of"]) for row in stage.rows()] == [
            (ANNA, ITEM, None),
            (BEN, ITEM, None),
            (BEN, OTHER, ITEM),
        ]
        assert sorted(stage.media()) == sorted(
            key(user, item)
            for user, item in ((ANNA, ITEM), (BEN, ITEM), (BEN, OTHER))
            for key in (items.image_key, items.thumbnail_key)
        )

    def test_a_newer_version_of_one_leaves_the_other_alone(self, stage: Stage) -> None:
        for user in (ANNA, BEN):
            stage.deliver(stage.upload(RED, user))
            stage.ready(user)
        before = stage.row(BEN)
        stage.deliver(stage.upload(TEAL, ANNA))
        assert stage.row(BEN) == before
        assert close(stage.shown(BEN), IS_RED)
        assert [row["user_id"] for row in stage.everything()["embeddings"]] == [BEN]


class TestDuplicates:
    def test_point_to_the_first_and_have_derivatives_of_their_own(self, stage: Stage) -> None:
        for item in (ITEM, OTHER, THIRD):
            stage.deliver(stage.upload(TEAL, item=item))
        assert [row["duplicate_of"] for row in stage.rows()] == [None, ITEM, ITEM]
        assert len(stage.media()) == 6
        assert [data.get("duplicate_of") for _, data in stage.published()] == [None, str(ITEM), str(ITEM)]

    def test_a_second_delivery_makes_no_original_a_duplicate(self, stage: Stage) -> None:
        detail = stage.upload(TEAL)
        stage.deliver(detail)
        stage.deliver(stage.upload(TEAL, item=OTHER))
        stage.deliver(detail)
        stage.invoke(run_id="again")
        assert [row["duplicate_of"] for row in stage.rows()] == [None, ITEM]

    @pytest.mark.parametrize("body", [RED, b"not a picture"])
    def test_are_passed_on_when_the_first_becomes_another(self, stage: Stage, body: bytes) -> None:
        for item in (ITEM, OTHER, THIRD):
            stage.deliver(stage.upload(TEAL, item=item))
        stage.deliver(stage.upload(body, item=ITEM))
        assert [row["duplicate_of"] for row in stage.rows()] == [None, None, OTHER]

    def test_of_what_was_rejected_are_none(self, stage: Stage) -> None:
        for item in (ITEM, OTHER):
            stage.deliver(stage.upload(b"not a picture", item=item))
        assert [row["duplicate_of"] for row in stage.rows()] == [None, None]

    def test_that_arrive_at_once_agree_who_was_first(
        self, stage: Stage, database_url: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "original"
        path.write_bytes(TEAL)
        rendition = pictures.render(path, 64_000_000, keep_location=False)
        locked = threading.Event()

        def work(item: UUID, first: bool) -> None:
            key = items.uploads_key(ANNA, item)
            stored = {"key": key, "version-id": "v1", "sequencer": "1"}
            upload = Upload.model_validate({"bucket": {"name": stage.aws.uploads}, "object": stored})
            original = Original(key, "v1", len(TEAL), hashlib.sha256(TEAL).hexdigest(), rendition)
            if not first:
                assert locked.wait(10)
            with (
                database.connect(database_url) as connection,
                connection.transaction(),
                connection.cursor() as cursor,
            ):
                row = catalogue.lock(cursor, upload, original, rows[item])
                if first:
                    locked.set()
                    wait_for_a_waiter(stage.db)
                catalogue.accept(cursor, upload, row, original, timedelta(seconds=1))

        for item in (ITEM, OTHER):
            stage.pending(item=item)
        rows = {row["item_id"]: row for row in stage.rows()}
        workers = [
            threading.Thread(target=work, args=(ITEM, False)),
            threading.Thread(target=work, args=(OTHER, True)),
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
        assert [row["duplicate_of"] for row in stage.rows()] == [OTHER, None]


def limits(stage: Stage, **changed: int) -> None:
    """Give the person these limits, and no others."""
    money.allow(stage.db, ANNA, **changed)


def counted(stage: Stage) -> tuple[int, int]:
    """Items and bytes by the counters, which are what the rows say."""
    rows = stage.db.execute("SELECT meter, used FROM usage_counters WHERE user_id = %s", (ANNA,)).fetchall()
    used = {row["meter"]: int(row["used"]) for row in rows}
    found = used.get("items", 0), used.get("storage_bytes", 0)
    assert found == (
        sum(row["counted"] for row in stage.rows()),
        sum(row["counted_bytes"] for row in stage.rows()),
    )
    return found


class TestQuotas:
    """What does not fit into what its owner may have waits, and nothing is made of it."""

    def test_an_item_and_its_bytes_are_counted_once(self, stage: Stage) -> None:
        detail = stage.put(f"{ANNA}/cat.jpg", TEAL)
        for _ in range(2):
            assert stage.deliver(detail)
            assert counted(stage) == (1, len(TEAL))
        # What the API counted when it was asked for the upload is not counted again.
        stage.pending()
        stage.db.execute(
            "UPDATE items SET counted = true, counted_bytes = %s WHERE item_id = %s", (len(RED), ITEM)
        )
        stage.db.execute("UPDATE usage_counters SET used = used + 1 WHERE meter = 'items'")
        stage.db.execute("UPDATE usage_counters SET used = used + %s WHERE meter <> 'items'", (len(RED),))
        assert stage.deliver(stage.upload(RED))
        assert counted(stage) == (2, len(TEAL) + len(RED))

    @pytest.mark.parametrize("bodies", [(TEAL, LARGE), (LARGE, TEAL), (LARGE, b"no picture")])
    def test_a_newer_version_counts_in_the_place_of_the_older(
        self, stage: Stage, bodies: tuple[bytes, bytes]
    ) -> None:
        for body in bodies:
            assert stage.deliver(stage.put(f"{ANNA}/cat.jpg", body))
            assert counted(stage) == (1, len(body))

    def test_of_two_versions_at_once_the_newer_counts_in_the_end(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        older, newer = stage.upload(TEAL), stage.upload(LARGE)
        tried, waiting = handler.tried, [older]

        def slowly(*arguments: Any) -> Any:
            if waiting:
                stage.deliver(waiting.pop())
            return tried(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(handler, "tried", slowly)
            # What the older one gave back is missing, which the next delivery counts again.
            assert not stage.deliver(newer)
        counted(stage)
        assert stage.deliver(newer, attempt=2)
        assert counted(stage) == (1, len(LARGE))
        assert stage.row()["file_size"] == len(LARGE)

    @pytest.mark.parametrize(("meter", "before"), [("items", (0, 0)), ("storage_bytes", (1, 0))])
    def test_what_does_not_fit_waits_and_nothing_is_made_of_it(
        self, stage: Stage, meter: str, before: tuple[int, int]
    ) -> None:
        limits(stage, **{meter: 0})
        detail = stage.put(f"{ANNA}/cat.jpg", TEAL)
        assert stage.deliver(detail)
        (row,) = stage.rows()
        expected = {
            "status": "over_quota",
            "held_status": "pending",
            "error_code": meter,
            "object_version": detail["object"]["version-id"],
            "object_sequencer": detail["object"]["sequencer"].rjust(32, "0"),
            "file_size": len(TEAL),
            "image_width": None,
        }
        assert {name: row[name] for name in expected} == expected
        assert row["error_message"].startswith("You have 0")
        assert counted(stage) == before
        assert stage.media() == []
        ((kind, data),) = stage.published()
        assert (kind, data["user_id"], data["meter"], data["limit"]) == ("QuotaReached", ANNA, meter, 0)
        assert stage.timeline(row["item_id"]) == [("over_quota", meter)]
        # Again, in case nobody heard of it; and nothing else.
        unchanged = stage.everything()
        assert stage.deliver(detail, attempt=2)
        assert stage.everything() == unchanged
        assert [kind for kind, _ in stage.published()] == ["QuotaReached"]

    @pytest.mark.parametrize("named", [True, False])
    def test_it_goes_on_once_there_is_room(self, stage: Stage, named: bool) -> None:
        limits(stage, storage_bytes=len(TEAL) - 1)
        detail = stage.upload(TEAL)
        assert stage.deliver(detail)
        limits(stage, storage_bytes=len(TEAL))
        if named:
            assert stage.invoke()["status"] == "processed"
        else:
            assert stage.deliver(detail)
        row = stage.row()
        assert (row["status"], row["held_status"], row["error_code"]) == ("processed", None, None)
        assert row["object_version"] == detail["object"]["version-id"]
        assert counted(stage) == (1, len(TEAL))

    def test_a_newer_version_that_does_not_fit_leaves_what_there_is(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL))
        stage.ready()
        limits(stage, storage_bytes=len(TEAL))
        newer = stage.upload(LARGE)
        assert stage.deliver(newer)
        row = stage.row()
        assert (row["status"], row["held_status"], row["analysis_version"]) == ("over_quota", "pending", 1)
        assert close(stage.shown(), IS_TEAL)
        assert "cup" in stage.words()
        assert counted(stage) == (1, len(TEAL))
        limits(stage)
        assert stage.invoke()["status"] == "processed"
        row = stage.row()
        assert (row["object_version"], row["analysis_version"]) == (newer["object"]["version-id"], None)
        assert counted(stage) == (1, len(LARGE))

    def test_what_a_later_stage_holds_is_still_held_after_it_was_drawn_again(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL))
        stage.db.execute(
            "UPDATE items SET status = 'over_quota', held_status = 'processed', error_code = 'model_usd'"
        )
        assert stage.invoke(run_id="r")["status"] == "over_quota"
        row = stage.row()
        assert (row["status"], row["held_status"], row["error_code"]) == (
            "over_quota",
            "processed",
            "model_usd",
        )
        assert stage.deliver(stage.upload(RED))
        assert (stage.row()["status"], stage.row()["held_status"]) == ("processed", None)

    def test_an_upload_that_is_gone_gives_its_bytes_back(self, stage: Stage) -> None:
        limits(stage, storage_bytes=1000)
        stage.pending()
        stage.db.execute("UPDATE items SET counted = true, counted_bytes = 700")
        stage.db.execute(
            "INSERT INTO usage_counters (user_id, meter, used)"
            " VALUES (%s, 'items', 1), (%s, 'storage_bytes', 700)",
            (ANNA, ANNA),
        )
        detail = stage.upload(TEAL)
        stage.aws.s3.delete_object(
            Bucket=stage.aws.uploads, Key=detail["object"]["key"], VersionId=detail["object"]["version-id"]
        )
        for _ in range(2):
            assert stage.deliver(detail)
            assert (stage.row()["status"], stage.row()["error_code"]) == ("failed", "gone")
            assert counted(stage) == (1, 0)

    def test_a_crash_between_counting_and_drawing_counts_nothing_twice(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        detail = stage.put(f"{ANNA}/cat.jpg", TEAL)

        def die(*_: object) -> None:
            raise KeyboardInterrupt  # as sudden as a killed process: nothing of ours catches it

        with monkeypatch.context() as broken:
            broken.setattr(handler, "tried", die)
            with pytest.raises(KeyboardInterrupt):
                stage.deliver(detail)
        assert stage.rows()[0]["status"] == "pending"
        assert counted(stage) == (1, len(TEAL))
        assert stage.deliver(detail, attempt=2)
        assert stage.rows()[0]["status"] == "processed"
        assert counted(stage) == (1, len(TEAL))


def wait_for_a_waiter(db: "psycopg.Connection[dict[str, Any]]") -> None:
    """Return when somebody waits for the lock on the content."""
    deadline = time.monotonic() + 10
    while not db.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall():
        assert time.monotonic() < deadline, "nobody waits"


class TestAnOperatorsObject:
    def test_becomes_an_item_that_a_second_delivery_finds(self, stage: Stage) -> None:
        key = f"{ANNA}/2024/summer holiday/Beach & sea.jpg"
        detail = stage.put(key, TEAL)
        item = uuid5(NAMESPACE_URL, f"s3://{stage.aws.uploads}/{key}")
        assert stage.deliver(detail)
        before = stage.everything()
        row = stage.row(ANNA, item)
        assert (row["status"], row["filename"], row["object_key"]) == ("processed", "Beach & sea.jpg", key)
        assert stage.deliver(detail)
        assert stage.everything() == before

    @pytest.mark.parametrize("key", ["picture.jpg", "/picture.jpg"])
    def test_that_belongs_to_nobody_goes_to_the_dead_letters(self, stage: Stage, key: str) -> None:
        detail = stage.put(key, TEAL)
        assert not stage.deliver(detail)
        with pytest.raises(InvalidEventError):
            handler.lambda_handler(stage.envelope(detail), stage.context)  # type: ignore[arg-type]
        assert stage.rows() == stage.media() == stage.published() == []

    def test_of_another_bucket_goes_to_the_dead_letters(self, stage: Stage) -> None:
        detail = stage.upload(TEAL)
        assert not stage.deliver({**detail, "bucket": {"name": stage.aws.media}})
        assert stage.rows() == []

    def test_that_marks_a_folder_is_nothing(self, stage: Stage) -> None:
        assert stage.deliver(stage.put(f"{ANNA}/holidays/", b""))
        assert stage.rows() == stage.published() == []


class TestAnObjectThatIsGone:
    def remove(self, stage: Stage, detail: dict[str, Any]) -> None:
        stage.aws.s3.delete_object(
            Bucket=stage.aws.uploads, Key=detail["object"]["key"], VersionId=detail["object"]["version-id"]
        )

    def test_ends_its_item_and_lets_the_message_go(self, stage: Stage) -> None:
        stage.pending()
        detail = stage.upload(TEAL)
        self.remove(stage, detail)
        assert stage.deliver(detail)
        row = stage.row()
        assert (row["status"], row["error_code"]) == ("failed", "gone")
        assert stage.timeline() == [("failed", "gone")]
        assert stage.deliver(detail)
        assert stage.timeline() == [("failed", "gone")]
        # Whoever uploads it again has it.
        assert stage.deliver(stage.upload(TEAL))
        assert (stage.row()["status"], stage.row()["error_code"]) == ("processed", None)

    def test_takes_nothing_away_from_what_is_there(self, stage: Stage) -> None:
        stage.deliver(stage.upload(RED))
        stage.ready()
        before = stage.row()
        newer = stage.upload(TEAL)
        self.remove(stage, newer)
        assert stage.deliver(newer)
        assert stage.row() == before
        assert close(stage.shown(), IS_RED)

    def test_makes_no_item(self, stage: Stage) -> None:
        detail = stage.put(f"{ANNA}/mistake.jpg", TEAL)
        self.remove(stage, detail)
        assert stage.deliver(detail)
        assert stage.rows() == stage.published() == []


class TestANamedItem:
    def test_that_nobody_knows_is_ignored(self, stage: Stage) -> None:
        assert stage.invoke()["status"] == "ignored"
        assert stage.invoke(run_id="7")["status"] == "ignored"
        assert stage.rows() == stage.published() == []

    def test_that_waits_is_processed_from_the_newest_object(self, stage: Stage) -> None:
        stage.pending()
        stage.upload(RED)
        detail = stage.upload(TEAL)
        assert stage.invoke()["status"] == "processed"
        assert close(stage.shown(), IS_TEAL)
        assert stage.row()["object_version"] == detail["object"]["version-id"]

    def test_keeps_its_place_when_the_events_come_after_all(self, stage: Stage) -> None:
        stage.pending()
        details = [stage.upload(RED), stage.upload(TEAL)]
        stage.invoke()
        assert stage.deliver(details[1])
        assert stage.deliver(details[0])
        assert close(stage.shown(), IS_TEAL)
        assert stage.row()["object_sequencer"].endswith(details[1]["object"]["sequencer"])
        assert stage.timeline() == [("processed", "")]

    def test_that_is_done_is_only_announced(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL))
        before = stage.everything()
        stage.published()
        assert stage.invoke(correlation_id="sweep")["status"] == "processed"
        assert stage.everything() == before
        (event,) = stage.aws.published()
        assert event["detail"]["metadata"]["correlation_id"] == "sweep"

    def test_that_failed_later_on_keeps_its_end_until_a_stage_takes_it_back(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL))
        stage.ready()
        stage.db.execute("UPDATE items SET status = 'failed', error_code = 'not_embeddable'")
        stage.published()
        assert stage.invoke(run_id="7")["status"] == "failed"
        assert (stage.row()["status"], stage.row()["error_code"]) == ("failed", "not_embeddable")
        assert [data["run_id"] for _, data in stage.published()] == ["7"]

    def test_is_rendered_again_once_for_each_run(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL))
        stage.ready()
        stage.published()
        images = len(stage.everything()["media"])
        for run in ("7", "8"):
            assert stage.invoke(run_id=run)["status"] == "ready"
            assert stage.invoke(run_id=run)["status"] == "ready"
            # Twice, because the analyzer has not yet acted on the first.
            assert [data["run_id"] for _, data in stage.published()] == [run, run]
            images += 2
            assert len(stage.everything()["media"]) == images
            stage.ready(run_id=run)
            assert stage.invoke(run_id=run)["status"] == "ready"
            assert stage.published() == []
        assert stage.timeline() == [("processed", ""), ("processed", "run 7"), ("processed", "run 8")]
        assert stage.row()["analysis_version"] == 3
        assert len(stage.everything()["embeddings"]) == 1

    def test_loses_nothing_by_a_run_that_comes_to_nothing(
        self, stage: Stage, function_env: Callable[..., Any]
    ) -> None:
        out = io.BytesIO()
        Image.new("RGB", (40, 30), "teal").save(out, "PNG")
        stage.deliver(stage.upload(out.getvalue()))
        stage.ready()
        before, _ = stage.row(), stage.published()
        function_env("ImageProcessor", MAX_PIXELS="1000")
        assert stage.invoke(run_id="7")["status"] == "ready"
        assert stage.row() == before
        assert stage.published() == []
        assert stage.timeline()[-1] == ("kept", "too_many_pixels run 7")

    def test_that_was_rejected_can_be_mended_by_a_run(
        self, stage: Stage, function_env: Callable[..., Any]
    ) -> None:
        out = io.BytesIO()
        Image.new("RGB", (40, 30), "teal").save(out, "PNG")
        function_env("ImageProcessor", MAX_PIXELS="1000")
        stage.deliver(stage.upload(out.getvalue()))
        assert stage.row()["error_code"] == "too_many_pixels"
        function_env("ImageProcessor")
        assert stage.invoke(run_id="7")["status"] == "processed"
        assert stage.row()["error_code"] is None

    def test_is_nobody_elses(self, stage: Stage) -> None:
        stage.deliver(stage.upload(TEAL, BEN))
        assert stage.invoke(run_id="7")["status"] == "ignored"
        assert [row["user_id"] for row in stage.rows()] == [BEN]


def test_every_sample_event_is_processed(stage: Stage) -> None:
    samples = sorted((ROOT / "events/samples/image_processor").glob("*.json"))
    assert len(samples) == 3
    user, item = "b4c8f4d8-1031-70ad-2c83-2d4c5e8f9a10", UUID("5f0c9a52-6d0e-4b0e-9f43-7a6f1f6b2c3d")
    version = stage.upload(TEAL, user, item)["object"]["version-id"]
    for sample in samples:
        stage.db.execute("DELETE FROM items")
        stage.pending(user, item)
        text = sample.read_text().replace("magpie-dev-uploadsbucket-1x2y3z", stage.aws.uploads)
        handler.lambda_handler(
            json.loads(text.replace("3HL4kqtJlcpXroDTDmjVBH40Nrjfkd", version)),
            stage.context,  # type: ignore[arg-type]
        )
        assert stage.row(user, item)["status"] == "processed", sample.name
