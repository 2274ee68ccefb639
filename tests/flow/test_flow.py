"""A picture through the real event chain: S3, rules, queues, functions in their own processes, PostgreSQL."""

import io
import json
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from PIL import Image
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from tests.flow.conftest import start
from tests.flow.people import Person
from tests.local.running import Running, gone, wait_until

pytestmark = pytest.mark.stack


def rows(system: Running, query: str, *values: Any) -> list[dict[str, Any]]:
    with psycopg.connect(system.info["database_url"], row_factory=dict_row) as database:
        return database.execute(query, values).fetchall()


def picture(name: str, size: tuple[int, int] = (640, 480)) -> bytes:
    """A JPEG that no other test has: the name and the time are in it."""
    buffer = io.BytesIO()
    fractal = Image.effect_mandelbrot((320, 240), (-2, -1.5, 1, 1.5), 40).resize(size)
    fractal.convert("RGB").save(buffer, "JPEG", comment=f"{name} {time.time_ns()}".encode())
    return buffer.getvalue()


def idle(system: Running) -> None:
    """Return when no queue of the pipeline holds a message."""
    sqs = system.client("sqs")
    urls = [system.queue_url(f"{name}Queue") for name in ("ImageProcessor", "Analyzer", "Embedder")]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def count() -> int:
        answers = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"] for url in urls]
        return sum(int(value) for answer in answers for value in answer.values())

    wait_until(lambda: count() == 0 and count() == 0, 60)


def test_a_picture_goes_all_the_way_from_upload_to_search(system, anna, photos):
    item = anna.wait(anna.upload(photos / "coffee.png", content_type="image/png"))
    assert item["status"] == "ready"
    assert item["filename"] == "coffee.png"
    assert item["format"] == "PNG"
    assert (item["width"], item["height"]) == (600, 400)
    assert item["analysis"]["provider"] == "offline"
    assert {entry["stage"] for entry in item["timeline"]} >= {"image_processor", "analyzer", "embedder"}

    http = system.http
    thumbnail = Image.open(io.BytesIO(http.request("GET", item["views"]["thumbnail"]).data))
    assert (thumbnail.format, max(thumbnail.size)) == ("WEBP", 512)
    image = Image.open(io.BytesIO(http.request("GET", item["views"]["image"]).data))
    assert (image.format, image.size) == ("JPEG", (600, 400))
    assert http.request("GET", item["views"]["original"]).data == (photos / "coffee.png").read_bytes()

    hits = anna.get("/search?q=coffee")["hits"]
    assert [hit["item_id"] for hit in hits][:1] == [item["item_id"]]


def test_a_file_that_is_no_picture_is_rejected_with_a_reason(system, anna):
    item = anna.wait(anna.upload(b"just some text", name="photo.jpg"))
    assert item["status"] == "rejected"
    assert item["error"]["code"] == "not_an_image"
    assert item["error"]["message"]
    idle(system)
    assert rows(system, "SELECT 1 FROM analyses WHERE item_id = %s", item["item_id"]) == []


def test_two_people_with_the_same_file_see_only_their_own(system, anna, bert, photos):
    content = (photos / "rocket.jpg").read_bytes()
    annas, berts = anna.upload(content), bert.upload(content)
    assert (anna.wait(annas)["status"], bert.wait(berts)["status"]) == ("ready", "ready")
    assert bert.ask("GET", f"/items/{annas}").status == 404
    assert annas not in [item["item_id"] for item in bert.get("/items")["items"]]
    assert annas not in [hit["item_id"] for hit in bert.get("/search?q=picture")["hits"]]
    assert bert.get(f"/items/{berts}")["duplicate_of"] is None


def test_the_second_delivery_of_every_event_changes_nothing(system, anna):
    item_id = anna.upload(picture("second delivery"))
    anna.wait(item_id, "ready")
    idle(system)

    def everything() -> Any:
        tables = ["items", "analyses", "embeddings", "item_events", "model_replies", "usage_ledger"]
        with psycopg.connect(system.info["database_url"], row_factory=dict_row) as database:
            return {
                table: database.execute(
                    SQL("SELECT * FROM {} WHERE user_id = %s").format(Identifier(table)), [anna.sub]
                ).fetchall()
                for table in tables
            }

    before = everything()
    sqs = system.client("sqs")
    for sample in _deliveries(system, item_id, anna.sub):
        sqs.send_message(QueueUrl=system.queue_url(sample["queue"]), MessageBody=json.dumps(sample["event"]))
    idle(system)
    after = everything()
    for table, found in before.items():
        assert after[table] == found, table
    dead = [system.queue_url(f"{name}DeadLetters") for name in ("ImageProcessor", "Analyzer", "Embedder")]
    for url in dead:
        assert "Messages" not in sqs.receive_message(QueueUrl=url)


def _deliveries(system: Running, item_id: str, sub: str) -> list[dict[str, Any]]:
    """Each event of an item once more, rebuilt from what the database says of it."""
    (item,) = rows(system, "SELECT * FROM items WHERE item_id = %s", item_id)
    (analysis,) = rows(system, "SELECT * FROM analyses WHERE item_id = %s", item_id)
    who = {"user_id": sub, "item_id": item_id, "object_version": item["object_version"]}

    def own(detail_type: str, **data: Any) -> dict[str, Any]:
        return {
            "version": "0",
            "id": "00000000-0000-4000-8000-000000000000",
            "detail-type": detail_type,
            "source": "magpie",
            "account": "123456789012",
            "time": "2026-01-01T00:00:00Z",
            "region": "us-east-1",
            "resources": [],
            "detail": {
                "metadata": {
                    "version": "1",
                    "correlation_id": item["correlation_id"] or "again",
                    "occurred_at": "2026-01-01T00:00:00Z",
                },
                "data": {**who, **data},
            },
        }

    created = {
        **own("Object Created"),
        "source": "aws.s3",
        "detail": {
            "version": "0",
            "bucket": {"name": system.info["uploads_bucket"]},
            "object": {
                "key": item["object_key"],
                "size": item["file_size"],
                "etag": "0" * 32,
                "version-id": item["object_version"],
                "sequencer": item["object_sequencer"].lstrip("0"),
            },
            "request-id": "AAAAAAAAAAAAAAAA",
            "requester": "123456789012",
            "source-ip-address": "127.0.0.1",
            "reason": "PutObject",
        },
    }
    processed = own(
        "ImageProcessed",
        bucket=system.info["media_bucket"],
        image_key=f"{sub}/images/{item_id}.jpg",
        thumbnail_key=f"{sub}/thumbnails/{item_id}.webp",
        width=item["width"],
        height=item["height"],
    )
    complete = own(
        "AnalysisComplete",
        analysis_version=analysis["version"],
        provider=analysis["provider_used"],
        model=analysis["model_used"],
    )
    return [
        {"queue": "ImageProcessorQueue", "event": created},
        {"queue": "AnalyzerQueue", "event": processed},
        {"queue": "EmbedderQueue", "event": complete},
    ]


def test_an_object_that_an_operator_puts_becomes_an_item(system, anna):
    s3 = system.client("s3")
    key = f"{anna.sub}/from the archive/holiday.jpg"
    s3.put_object(Bucket=system.info["uploads_bucket"], Key=key, Body=picture("operator"))

    def found() -> Any:
        return next((i for i in anna.get("/items")["items"] if i["filename"] == "holiday.jpg"), None)

    assert anna.wait(wait_until(found)["item_id"])["status"] == "ready"


def test_a_newer_version_of_an_object_wins(system, anna):
    item_id = anna.upload(picture("old", (640, 480)))
    anna.wait(item_id, "ready")
    s3 = system.client("s3")
    bucket, key = system.info["uploads_bucket"], f"{anna.sub}/{item_id}/original"
    version = s3.put_object(Bucket=bucket, Key=key, Body=picture("new", (320, 200)))["VersionId"]

    def taken_over() -> bool:
        (row,) = rows(system, "SELECT object_version, status FROM items WHERE item_id = %s", item_id)
        return row == {"object_version": version, "status": "ready"}

    wait_until(taken_over, 60)
    item = anna.get(f"/items/{item_id}")
    assert (item["width"], item["height"]) == (320, 200)


def test_a_function_process_killed_at_work_is_healed(system, anna):
    """Whatever it was doing: the message comes back, and the item becomes ready once."""
    sqs = system.client("sqs")
    url = system.queue_url("ImageProcessorQueue")
    # Hidden for a shorter time than the template says, so that the test need not wait for six minutes.
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "3"})
    try:
        large = picture("large", (6000, 4000))
        item_id = anna.upload(large)
        killed = 0
        deadline = time.monotonic() + 5
        while not killed and time.monotonic() < deadline:
            for process in system.family():
                try:
                    line = " ".join(process.cmdline())
                    busy = process.cpu_times().user
                except psutil.Error:
                    continue
                if "functions.image_processor.handler" in line and busy > 0:
                    in_flight = sqs.get_queue_attributes(
                        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
                    )["Attributes"]["ApproximateNumberOfMessagesNotVisible"]
                    if in_flight != "0":
                        process.send_signal(signal.SIGKILL)
                        killed += 1
        assert killed
        assert anna.wait(item_id)["status"] == "ready"
        (count,) = rows(system, "SELECT count(*) FROM analyses WHERE item_id = %s", item_id)
        assert count["count"] == 1
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "360"})


def test_functions_together_stay_small(system):
    """The whole stack in memory, after everything above: proportional shares, in MB."""
    total = 0
    for process in [psutil.Process(system.process.pid), *system.family()]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    assert total / 2**20 < 2000


@pytest.fixture
def own_data() -> Any:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="magpie-flow-"))
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def test_a_stack_killed_in_the_middle_loses_nothing(own_data, photos):
    names = [
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
        "hubble_deep_field.jpg",
        "retina.jpg",
    ]
    first = start(own_data)
    carla = Person(first, "carla@magpie.test")
    ids = [carla.upload(photos / name) for name in names]
    wait_until(lambda: any(i["status"] != "pending" for i in carla.get("/items")["items"]), 30)
    family = first.family()
    first.stop(signal.SIGKILL)
    wait_until(lambda: all(gone(process) for process in family))

    second = start(own_data)
    try:
        carla.sign_in(second)
        statuses = {item_id: carla.wait(item_id, seconds=90)["status"] for item_id in ids}
        assert statuses == dict.fromkeys(ids, "ready")
        view = carla.get(f"/items/{ids[0]}")["views"]["thumbnail"]
        assert second.http.request("GET", view).status == 200
        (count,) = rows(second, "SELECT count(*) FROM analyses")
        assert count["count"] == len(ids)
    finally:
        second.stop()
