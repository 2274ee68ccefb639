"""Publishing: AWS's limits are held by our own code, and every entry is accounted for."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import boto3
import pytest
from botocore.stub import Stubber

from shared import bus, clients
from shared.errors import InvalidEventError, PublishError
from shared.events import ImageProcessed, ItemRejected

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def rejected(message: str = "no") -> ItemRejected:
    return ItemRejected(
        user_id="u", item_id=UUID(int=1), stage="image_processor", code="corrupt", message=message
    )


@pytest.fixture
def put_events(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """EventBridge's answers, validated against botocore's own model of the service."""
    client = boto3.client(
        "events",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    monkeypatch.setattr(clients, "events", lambda: client)
    monkeypatch.setenv("EVENT_BUS", "magpie-test")
    bus.BusEnv.load.cache_clear()  # type: ignore[attr-defined]
    with Stubber(client) as stubber:
        yield stubber
    bus.BusEnv.load.cache_clear()  # type: ignore[attr-defined]


def taken(count: int) -> dict[str, Any]:
    return {"FailedEntryCount": 0, "Entries": [{"EventId": str(number)} for number in range(count)]}


def test_an_entry_over_our_cap_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidEventError, match="over the limit"):
        bus.entry(rejected("é" * 40_000), "bus", "c", NOW)


def test_an_entry_is_ascii_json() -> None:
    entry = bus.entry(rejected("naïve ☃"), "bus", "c", NOW)
    assert entry["Detail"].isascii()
    assert entry["DetailType"] == "ItemRejected"
    assert entry["Source"] == "magpie"


def test_more_than_ten_events_go_in_several_calls(put_events: Stubber) -> None:
    for count in (10, 10, 3):
        put_events.add_response("put_events", taken(count))
    bus.publish([rejected()] * 23, "c")
    put_events.assert_no_pending_responses()


def test_a_dropped_entry_raises_although_the_call_succeeded(put_events: Stubber) -> None:
    answer = {"FailedEntryCount": 1, "Entries": [{"EventId": "1"}, {"ErrorCode": "ThrottlingException"}]}
    put_events.add_response("put_events", answer)
    with pytest.raises(PublishError, match="1 of 2 entries: ThrottlingException"):
        bus.publish([rejected(), rejected()], "c")


def test_an_unreachable_bus_is_a_transient_error(put_events: Stubber) -> None:
    put_events.add_client_error("put_events", "InternalException", http_status_code=500)
    with pytest.raises(PublishError, match="did not answer"):
        bus.publish([rejected()], "c")


def test_nothing_is_sent_when_one_event_is_too_large(put_events: Stubber) -> None:
    with pytest.raises(InvalidEventError):
        bus.publish([rejected(), rejected("x" * 250_000)], "c")


def test_an_absent_field_is_left_out_rather_than_null() -> None:
    event = ImageProcessed(
        user_id="u", item_id=UUID(int=1), bucket="b", image_key="i", thumbnail_key="t", width=1, height=1
    )
    assert "null" not in bus.entry(event, "bus", "c", NOW)["Detail"]
