"""S3 that survives the stack and announces objects as AWS does, and the bus that carries it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.core.base_backend import BackendDict

from local import bus
from local.objects import ObjectStore
from local.patches import Patches

ACCOUNT, REGION = "123456789012", "us-east-1"
PATTERN = json.dumps({"account": [ACCOUNT]})


class Storage:
    """A versioned, watched bucket `uploads`, a plain one `media`, and the queue that hears of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.patches = Patches()
        self.open()

    def open(self) -> None:
        from moto.events.models import events_backends
        from moto.s3.models import s3_backends
        from moto.sqs.models import sqs_backends

        BackendDict.reset()
        self.store = ObjectStore(self.folder, ACCOUNT, REGION)
        bus.install(self.patches)
        self.store.install(self.patches)
        self.s3 = s3_backends[ACCOUNT]["aws"]
        for name in ("uploads", "media"):
            self.s3.create_bucket(name, REGION)
        self.s3.put_bucket_versioning("uploads", "Enabled")
        self.s3.put_bucket_notification_configuration("uploads", {"EventBridgeConfiguration": ""})
        self.sqs = sqs_backends[ACCOUNT][REGION]
        self.sqs.create_queue("heard")
        self.events = events_backends[ACCOUNT][REGION]
        self.rule("default")
        self.count = self.store.load()

    def rule(self, bus_name: str, name: str = "all", schedule: str | None = None) -> None:
        hears = {"scheduled_expression": schedule} if schedule else {"event_pattern": PATTERN}
        self.events.put_rule(name, event_bus_arn=bus_name, **hears)
        target = {"Id": "q", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:heard"}
        self.events.put_targets(name, bus_name, [target])

    def close(self) -> None:
        self.patches.undo()
        BackendDict.reset()

    def restart(self) -> None:
        self.close()
        self.open()

    def put(self, key: str, value: bytes, bucket: str = "uploads", **arguments: Any) -> Any:
        made = self.s3.put_object(bucket, key, value, **arguments)
        made.set_metadata({"Content-Type": "image/jpeg", "x-amz-meta-own": "yes"})
        return made

    def heard(self) -> list[dict[str, Any]]:
        messages = self.sqs.get_queue("heard")._messages
        return [json.loads(message.body) for message in messages]

    def files(self) -> list[Path]:
        return [path for path in self.folder.glob("*/??/*") if path.is_file()]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    storage = Storage(tmp_path / "objects")
    yield storage
    storage.close()


def test_an_object_survives_a_kill_with_all_that_belongs_to_it(storage):
    before = storage.put("u/i/original", b"bytes")
    storage.restart()
    after = storage.s3.get_object("uploads", "u/i/original")
    assert after.value == b"bytes"
    assert after.version_id == before.version_id
    assert after.etag == before.etag
    assert after.size == 5
    assert after.last_modified == before.last_modified
    assert after.metadata["Content-Type"] == "image/jpeg"
    assert after.metadata["x-amz-meta-own"] == "yes"


def test_starting_again_announces_nothing(storage):
    storage.put("a", b"1")
    storage.restart()
    assert storage.count == 1
    assert storage.heard() == []


def test_versions_survive_in_their_order(storage):
    versions = [storage.put("a", str(n).encode()).version_id for n in range(3)]
    storage.restart()
    kept = storage.s3.get_bucket("uploads").keys.getlist("a")
    assert [key.version_id for key in kept] == versions
    assert [key.value for key in kept] == [b"0", b"1", b"2"]
    assert storage.s3.get_object("uploads", "a", version_id=versions[0]).value == b"0"


def test_an_unversioned_object_is_replaced_and_its_bytes_go(storage):
    storage.put("a", b"old", "media")
    storage.put("a", b"new", "media")
    assert len(storage.files()) == 1
    storage.restart()
    assert storage.s3.get_object("media", "a").value == b"new"


def test_a_deleted_object_stays_deleted_and_its_bytes_go(storage):
    storage.put("a", b"x", "media")
    storage.s3.delete_object("media", "a")
    assert storage.files() == []
    storage.restart()
    assert storage.s3.get_object("media", "a") is None


def test_a_delete_marker_hides_and_its_removal_shows_again(storage):
    storage.put("a", b"x")
    _, meta = storage.s3.delete_object("uploads", "a")
    storage.restart()
    assert storage.s3.get_object("uploads", "a") is None
    storage.s3.delete_object("uploads", "a", version_id=meta["version-id"])
    assert storage.s3.get_object("uploads", "a").value == b"x"
    storage.restart()
    assert storage.s3.get_object("uploads", "a").value == b"x"


def test_a_removed_version_takes_its_bytes_along(storage):
    first = storage.put("a", b"1").version_id
    storage.put("a", b"2")
    storage.s3.delete_object("uploads", "a", version_id=first)
    storage.restart()
    assert [key.value for key in storage.s3.get_bucket("uploads").keys.getlist("a")] == [b"2"]
    assert len(storage.files()) == 1


def test_versions_put_at_once_are_all_kept(storage):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: storage.put("a", str(n).encode()), range(40)))
    storage.restart()
    assert {key.value for key in storage.s3.get_bucket("uploads").keys.getlist("a")} == {
        str(n).encode() for n in range(40)
    }


def test_what_was_half_written_when_the_stack_died_is_swept_away(storage):
    storage.put("a", b"whole")
    place = storage.folder / "uploads" / "ff"
    place.mkdir(parents=True, exist_ok=True)
    (place / "00000000000000ff.part").write_bytes(b"ha")
    (place / "00000000000000ff").write_bytes(b"never answered for")
    with (storage.folder / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"op":"put","bucket":"uplo')
    storage.restart()
    assert storage.count == 1
    assert len(storage.files()) == 1


def test_the_journal_is_compacted_when_it_holds_what_is_gone(storage):
    for n in range(50):
        storage.put("a", str(n).encode(), "media")
    storage.restart()
    assert len((storage.folder / "journal.jsonl").read_text().splitlines()) == 2
    assert storage.s3.get_object("media", "a").value == b"49"


def test_bytes_are_not_kept_in_memory(storage):
    key = storage.put("a", b"x" * 1_000_000)
    assert type(key._value_buffer).__name__ == "StoredValue"
    assert key._value_buffer.path.stat().st_size == 1_000_000


def test_an_upload_in_parts_is_one_object_and_one_event(storage):
    upload = storage.s3.create_multipart_upload(
        "uploads", "big", {"Content-Type": "image/png"}, "STANDARD", {}, None, None, None
    )
    for number, part in ((1, b"a" * 5_300_000), (2, b"b")):
        storage.s3.upload_part("uploads", upload.id, number, part)
    etags = [(n, upload.parts[n].etag) for n in (1, 2)]
    storage.s3.complete_multipart_upload("uploads", upload.id, iter(etags))
    (event,) = storage.heard()
    assert event["detail"]["reason"] == "CompleteMultipartUpload"
    storage.restart()
    kept = storage.s3.get_object("uploads", "big")
    assert (kept.size, kept.value[-1:]) == (5_300_001, b"b")
    assert kept.metadata["Content-Type"] == "image/png"


def test_an_event_has_exactly_s3s_shape(storage):
    key = storage.put("u ser/ä b.jpg", b"bytes")
    (event,) = storage.heard()
    assert datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) > datetime.now(
        UTC
    ) - timedelta(minutes=1)
    assert len(event.pop("id")) == 36
    assert len(event["detail"].pop("request-id")) == 16
    sequencer = event["detail"]["object"].pop("sequencer")
    assert len(sequencer) == 16
    assert int(sequencer, 16) > 0
    del event["time"]
    assert event == {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": ACCOUNT,
        "region": REGION,
        "resources": ["arn:aws:s3:::uploads"],
        "detail": {
            "version": "0",
            "bucket": {"name": "uploads"},
            "object": {
                "key": "u ser/ä b.jpg",
                "size": 5,
                "etag": "4b3a6218bb3e3a7303e8a171a60fcf92",
                "version-id": key.version_id,
            },
            "requester": ACCOUNT,
            "source-ip-address": "127.0.0.1",
            "reason": "PutObject",
        },
    }


def test_whoever_hears_of_an_object_finds_it_on_disk(storage, monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(
        bus,
        "deliver",
        lambda *_: seen.append(len((storage.folder / "journal.jsonl").read_text().splitlines())),
    )
    storage.put("a", b"x")
    assert seen == [1]


def test_sequencers_grow_across_restarts_even_when_the_clock_goes_back(storage, monkeypatch):
    storage.put("a", b"1")
    first = storage.heard()[0]["detail"]["object"]["sequencer"]
    monkeypatch.setattr("local.objects.time.time_ns", lambda: 1)
    storage.restart()
    storage.put("a", b"2")
    storage.put("a", b"3")
    sequencers = [first] + [event["detail"]["object"]["sequencer"] for event in storage.heard()]
    assert sequencers == sorted(set(sequencers))


def test_the_reason_says_how_an_object_came(storage):
    storage.put("a", b"x", request_method="POST")
    source = storage.s3.get_object("uploads", "a")
    storage.s3.copy_object(source, "uploads", "b")
    assert [event["detail"]["reason"] for event in storage.heard()] == ["POST Object", "CopyObject"]


def test_only_the_watched_bucket_speaks_and_only_on_the_default_bus(storage):
    storage.events.create_event_bus("own")
    storage.rule("own", "elsewhere")
    storage.put("a", b"x", "media")
    assert storage.heard() == []
    storage.put("a", b"x")
    assert len(storage.heard()) == 1


def test_a_disabled_rule_hears_nothing(storage):
    storage.events.disable_rule("all", "default")
    storage.put("a", b"x")
    assert storage.heard() == []


def test_a_schedule_hears_nothing(storage):
    """To moto, a rule without a pattern is one that every event matches: an upload began a night's work."""
    storage.events.disable_rule("all", "default")
    storage.rule("default", "nightly", schedule="rate(1 minute)")
    storage.put("a", b"x")
    assert storage.heard() == []


def test_an_event_arrives_word_for_word_whatever_words_it_holds(storage):
    detail = {"text": "<source> <detail> <id> \u00e4 \u2028", "nested": {"n": [1, None, True, 1.5]}}
    storage.events.put_events(
        [{"Source": "own", "DetailType": "Happened", "Detail": json.dumps(detail), "Time": 1700000000}]
    )
    (event,) = storage.heard()
    assert event["detail"] == detail
    assert event["account"] == ACCOUNT
    assert event["time"] == "2023-11-14T22:13:20Z"
    assert list(event) == [
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
    ]  # fmt: skip


def test_moto_is_itself_again_afterwards(tmp_path):
    from moto.events.models import Rule
    from moto.s3 import notifications
    from moto.s3.models import FakeKey, S3Backend

    places = [
        (Rule, "send_to_targets"),
        (S3Backend, "put_object"),
        (FakeKey, "set_metadata"),
        (notifications, "_send_event_bridge_message"),
    ]
    before = [vars(owner)[name] for owner, name in places]
    storage = Storage(tmp_path)
    assert all(vars(owner)[name] is not old for (owner, name), old in zip(places, before, strict=True))
    storage.close()
    assert [vars(owner)[name] for owner, name in places] == before
