"""What does not fit waits, and goes on by itself: S3, rules, queues and functions in their own processes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.bus import entry
from shared.events import LimitsChanged
from tests.flow.people import Person
from tests.flow.test_flow import picture, rows
from tests.local.running import Running, wait_until

pytestmark = pytest.mark.stack


def allow(system: Running, person: Person, **limits: int) -> None:
    rows(
        system,
        """
        INSERT INTO user_profiles (user_id, subscription_tier, usage_limits) VALUES (%s, 'free', %s)
            ON CONFLICT (user_id) DO UPDATE SET usage_limits = excluded.usage_limits
        RETURNING user_id
        """,
        person.sub,
        json.dumps(limits),
    )


def item(system: Running, person: Person) -> dict[str, Any] | None:
    query = "SELECT status, error_code, counted, counted_bytes FROM items WHERE user_id = %s"
    return next(iter(rows(system, query, person.sub)), None)


def test_an_operators_upload_waits_for_room_and_goes_on_when_the_limit_rises(system: Running) -> None:
    carl = Person(system, "carl@magpie.test")
    body = picture("too large")
    allow(system, carl, items=1, storage_bytes=len(body) - 1)
    bucket = system.info["uploads_bucket"]
    system.client("s3").put_object(Bucket=bucket, Key=f"{carl.sub}/holiday.jpg", Body=body)
    held = wait_until(lambda: (found := item(system, carl)) and found["status"] == "over_quota" and found, 60)
    assert (held["error_code"], held["counted"], held["counted_bytes"]) == ("storage_bytes", True, 0)

    allow(system, carl, items=1, storage_bytes=len(body))
    told = entry(LimitsChanged(user_id=carl.sub, tier="plus"), "magpie-dev", "test", datetime.now(UTC))
    answer = system.client("events").put_events(Entries=[told])
    assert answer["FailedEntryCount"] == 0
    ready = wait_until(lambda: (found := item(system, carl)) and found["status"] == "ready" and found, 60)
    assert (ready["error_code"], ready["counted_bytes"]) == (None, len(body))
    lines = rows(
        system, "SELECT stage, event FROM item_events WHERE user_id = %s ORDER BY event_id", carl.sub
    )
    assert [(line["stage"], line["event"]) for line in lines][:3] == [
        ("image_processor", "over_quota"),
        ("sweeper", "resumed"),
        ("image_processor", "processed"),
    ]
