"""A copy of everything: whole, of one moment, readable without us, and nobody else's."""

import base64
import gzip
import hashlib
import itertools
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import requests

from functions.exporter import archive, handler, tables
from functions.exporter.handler import ToExport
from shared import clients, erasures, items
from shared.envelopes import Message
from shared.errors import TransientError
from shared.tenants import TABLES
from tests.conftest import ROOT, Aws, LambdaContext
from tests.fakes.belongings import Belongings, everything_of

Database = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    return function_env("Exporter")


@pytest.fixture
def ann(environment: dict[str, str], db: Database, aws: Aws) -> Belongings:
    return everything_of(db, aws, "ann")


def ask(db: Database, user_id: str = "ann", export_id: UUID | None = None) -> UUID:
    """Ask for an export, as the API does."""
    export_id = export_id or uuid4()
    db.execute("INSERT INTO exports (user_id, export_id) VALUES (%s, %s)", (user_id, export_id))
    return export_id


def run(export_id: UUID, user_id: str = "ann", remaining_ms: int = 900_000) -> dict[str, Any]:
    event = {"user_id": user_id, "export_id": str(export_id)}
    return handler.lambda_handler(event, LambdaContext(remaining_ms=remaining_ms))


def row(db: Database, export_id: UUID) -> dict[str, Any]:
    (found,) = db.execute("SELECT * FROM exports WHERE export_id = %s", (export_id,)).fetchall()
    return found


def lines(aws: Aws, export_id: UUID, user_id: str = "ann") -> list[dict[str, Any]]:
    stored = aws.s3.get_object(Bucket=aws.media, Key=f"{user_id}/exports/{export_id}.ndjson.gz")
    return [json.loads(line) for line in gzip.decompress(stored["Body"].read()).decode().splitlines()]


def made(db: Database, aws: Aws, user_id: str = "ann") -> list[dict[str, Any]]:
    export_id = ask(db, user_id)
    assert run(export_id, user_id)["status"] == "succeeded"
    return lines(aws, export_id, user_id)


def of(table: str, copy: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in copy if line.get("table") == table]


def exports(aws: Aws, user_id: str = "ann") -> list[str]:
    """Keys of the versions of exports, and of uploads that are not complete."""
    here = {"Bucket": aws.media, "Prefix": f"{user_id}/exports/"}
    versions = aws.s3.list_object_versions(**here).get("Versions", [])
    uploads = aws.s3.list_multipart_uploads(**here).get("Uploads", [])
    return [each["Key"] for each in [*versions, *uploads]]


def test_the_copy_has_every_row_of_every_table_and_says_how_many(
    ann: Belongings, db: Database, aws: Aws
) -> None:
    everything_of(db, aws, "anne")
    header, *copy = made(db, aws)
    assert header["format"] == "magpie-export"
    assert header["version"] == 1
    assert header["user_id"] == "ann"
    assert list(header["counts"]) == list(TABLES)
    assert 0 not in header["counts"].values()
    assert {table: len(of(table, copy)) for table in TABLES} == header["counts"]
    assert {line["row"]["user_id"] for line in copy} == {"ann"}
    urls = [each["url"] for line in of("items", copy) for each in line["objects"].values() if "url" in each]
    assert len(urls) == 2
    assert all("/ann/" in url for url in urls)


def test_values_are_what_the_database_has(ann: Belongings, db: Database, aws: Aws) -> None:
    header, *copy = made(db, aws)
    item = next(line["row"] for line in of("items", copy) if line["row"]["item_id"] == str(ann.first))
    (known,) = db.execute("SELECT * FROM items WHERE item_id = %s", (ann.first,)).fetchall()
    assert item["perceptual_hash"] == -1
    assert item["created_at"] == known["created_at"].isoformat()
    assert set(item) == set(known)
    analysis = next(line["row"] for line in of("analyses", copy) if line["row"]["headline"] == "Tabby cat")
    assert analysis["summary"] == "Grüße \U0001f431"
    assert analysis["raw_response"]["headline"] == "Tabby cat"
    assert of("usage_ledger", copy)[0]["row"]["cost_usd"] == "0.001234567"
    assert of("corrections", copy)[0]["row"]["tags"] == ["one", "two"]
    assert (
        "'cat':"
        in of("search_documents", copy)[0]["row"]["document"]
        + of("search_documents", copy)[1]["row"]["document"]
    )
    assert header["encodings"]["usage_ledger.cost_usd"] == "text, exactly"


def test_vectors_can_be_read_as_the_header_says(ann: Belongings, db: Database, aws: Aws) -> None:
    header, *copy = made(db, aws)
    assert "little-endian" in header["encodings"]["embeddings.embedding"]
    for line in of("embeddings", copy):
        encoded = base64.b64decode(line["row"]["embedding"])
        values = struct.unpack("<1024e", encoded)
        (known,) = db.execute(
            "SELECT embedding::text AS vector FROM embeddings WHERE item_id = %s", (line["row"]["item_id"],)
        ).fetchall()
        assert list(values) == pytest.approx(json.loads(known["vector"]), rel=1e-3)
        assert any(values)


def test_items_say_where_their_objects_are_and_how_to_fetch_them(
    ann: Belongings, db: Database, aws: Aws
) -> None:
    _, *copy = made(db, aws)
    shown = {line["row"]["item_id"]: line["objects"] for line in of("items", copy)}
    first = shown[str(ann.first)]
    assert first["original"]["key"] == items.uploads_key("ann", ann.first)
    assert first["image"]["key"] == items.image_key("ann", ann.first)
    assert first["thumbnail"] == {"key": items.thumbnail_key("ann", ann.first)}
    fetched = requests.get(first["original"]["url"], timeout=5)
    assert fetched.content == b"original"
    assert requests.get(first["image"]["url"], timeout=5).content == b"image"
    assert "X-Amz-Expires=604800" in first["original"]["url"]
    assert f"versionId={first['original']['version']}" in first["original"]["url"]
    assert shown[str(ann.second)] == {}  # pending: nothing is there yet


def test_the_row_says_what_the_file_is(ann: Belongings, db: Database, aws: Aws) -> None:
    export_id = ask(db)
    answer = run(export_id)
    known = row(db, export_id)
    stored = aws.s3.get_object(Bucket=aws.media, Key=known["object_key"])
    body = stored["Body"].read()
    assert known["status"] == "succeeded"
    assert known["file_size"] == len(body) == answer["bytes"]
    assert known["sha256"] == hashlib.sha256(body).hexdigest() == answer["sha256"]
    assert known["counts"] == lines(aws, export_id)[0]["counts"]
    assert known["finished_at"] > known["requested_at"]
    assert stored["ContentType"] == "application/gzip"
    assert "ContentEncoding" not in stored
    tags = aws.s3.get_object_tagging(Bucket=aws.media, Key=known["object_key"])["TagSet"]
    assert tags == [{"Key": "kind", "Value": "export"}]


def test_somebody_who_has_nothing_gets_a_copy_of_it(
    environment: dict[str, str], db: Database, aws: Aws
) -> None:
    header, *copy = made(db, aws, "nobody")
    assert [line["table"] for line in copy] == ["exports"]
    assert sum(header["counts"].values()) == 1


def test_the_copy_is_of_one_moment(ann: Belongings, db: Database) -> None:
    buckets = handler.Buckets("uploads", "media")
    with tables.snapshot("ann") as snapshot:
        copy = snapshot.lines(buckets, handler.datetime.now(handler.UTC))
        header = json.loads(next(copy))
        db.execute("DELETE FROM usage_ledger")
        db.execute("UPDATE user_profiles SET email = 'later'")
        db.execute("INSERT INTO audit_log (user_id, event, outcome) VALUES ('ann', 'later', 'later')")
        rest = [json.loads(line) for line in copy]
    assert header["counts"]["usage_ledger"] == len(of("usage_ledger", rest)) == 1
    assert header["counts"]["audit_log"] == len(of("audit_log", rest)) == 1
    assert of("user_profiles", rest)[0]["row"]["email"] == "ann@example.com"


def test_a_long_copy_is_sent_while_it_is_read(
    ann: Belongings, db: Database, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART_BYTES", 5 << 20)
    db.execute(
        """
        INSERT INTO model_replies (user_id, sha256, prompt_hash, provider, model, reply)
        SELECT 'ann', 'of ' || number, 'hash', 'offline', 'offline-1',
               (SELECT string_agg(md5(random()::text || number || part), '')
                  FROM generate_series(1, 3000) AS part)
          FROM generate_series(1, 120) AS number
        """
    )
    export_id, number = ask(db), itertools.count()
    sent_after: list[int] = []

    def seconds_left() -> float:
        next(number)
        return 600.0

    def sending(**_: Any) -> None:
        sent_after.append(next(number))

    clients.s3().meta.events.register("before-call.s3.UploadPart", sending)
    handler.process(Message(ToExport(user_id="ann", export_id=export_id), "c", 1), seconds_left)
    assert len(sent_after) == 2
    assert sent_after[0] < sent_after[1] - 30
    assert row(db, export_id)["file_size"] > archive.PART_BYTES
    assert len(of("model_replies", lines(aws, export_id))) == 121


# What goes wrong


def test_a_second_delivery_changes_nothing(ann: Belongings, db: Database, aws: Aws) -> None:
    export_id = ask(db)
    run(export_id)
    before, there = row(db, export_id), exports(aws)
    assert run(export_id) == {"status": "ignored"}
    assert (row(db, export_id), exports(aws)) == (before, there)


def test_an_export_that_nobody_asked_for_is_not_made(ann: Belongings, db: Database, aws: Aws) -> None:
    there = exports(aws)
    assert run(uuid4()) == {"status": "ignored"}
    assert run(ask(db, "anne"), "ann") == {"status": "ignored"}
    assert exports(aws) == there


def during(export_id: UUID, happens: Callable[[], None]) -> dict[str, Any]:
    """Let something happen in the middle of an export, and return what became of it."""
    number = itertools.count()

    def seconds_left() -> float:
        if next(number) == 5:
            happens()
        return 600.0

    message = Message(ToExport(user_id="ann", export_id=export_id), "c", 1)
    return dict(handler.process(message, seconds_left))


def test_of_two_deliveries_at_once_one_makes_the_file(ann: Belongings, db: Database, aws: Aws) -> None:
    there = exports(aws)
    export_id = ask(db)

    def finished_elsewhere() -> None:
        db.execute("UPDATE exports SET status = 'succeeded' WHERE export_id = %s", (export_id,))

    assert during(export_id, finished_elsewhere) == {"status": "ignored"}
    assert exports(aws) == there


def test_an_account_that_is_deleted_meanwhile_leaves_no_file(ann: Belongings, db: Database, aws: Aws) -> None:
    def erase() -> None:
        with db.transaction(), db.cursor() as cursor:
            erasures.begin(cursor, "ann", uuid4())

    there = exports(aws)
    assert during(ask(db), erase) == {"status": "ignored"}
    assert exports(aws) == there


def test_an_upload_that_an_erasure_has_aborted_is_no_bug(ann: Belongings, db: Database) -> None:
    export_id = ask(db)
    error = clients.s3().exceptions.ClientError({"Error": {"Code": "NoSuchUpload"}}, "UploadPart")
    with failing("UploadPart", error), failing("AbortMultipartUpload", error), pytest.raises(TransientError):
        run(export_id)
    with db.transaction(), db.cursor() as cursor:
        erasures.begin(cursor, "ann", uuid4())
    assert run(export_id) == {"status": "ignored"}


def test_what_does_not_fit_into_the_time_is_said_and_not_tried_again(
    ann: Belongings, db: Database, aws: Aws
) -> None:
    there = exports(aws)
    export_id = ask(db)
    assert run(export_id, remaining_ms=20_000) == {"status": "failed"}
    known = row(db, export_id)
    assert (known["status"], known["object_key"]) == ("failed", None)
    assert "time" in known["error"]
    assert exports(aws) == there
    assert run(export_id) == {"status": "ignored"}


@contextmanager
def failing(operation: str, error: Exception) -> Iterator[None]:
    """Let S3 answer an operation with an error."""

    def fail(**_: Any) -> None:
        raise error

    events = clients.s3().meta.events
    events.register(f"before-call.s3.{operation}", fail, unique_id=operation)
    yield
    events.unregister(f"before-call.s3.{operation}", unique_id=operation)


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_s3_that_is_away_is_worth_another_try_and_nothing_is_left(
    ann: Belongings, db: Database, aws: Aws, operation: str
) -> None:
    there = exports(aws)
    export_id = ask(db)
    error = clients.s3().exceptions.ClientError({"Error": {"Code": "SlowDown"}}, operation)
    with failing(operation, error), pytest.raises(TransientError):
        run(export_id)
    assert exports(aws) == there
    assert row(db, export_id)["status"] == "running"
    assert run(export_id)["status"] == "succeeded"


@pytest.mark.parametrize("name", ["queue", "envelope", "direct"])
def test_every_sample_event_is_taken(environment: dict[str, str], db: Database, name: str) -> None:
    example = json.loads((ROOT / "events" / "ExportRequested" / "v1.example.json").read_text())["data"]
    export_id = ask(db, example["user_id"], UUID(example["export_id"]))
    sample = json.loads((ROOT / "events" / "samples" / "exporter" / f"{name}.json").read_text())
    answer = handler.lambda_handler(sample, LambdaContext())
    assert answer == {"batchItemFailures": []} if name == "queue" else answer["status"] == "succeeded"
    assert row(db, export_id)["status"] == "succeeded"
