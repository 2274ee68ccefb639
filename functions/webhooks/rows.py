"""The events that came, of everybody: found by what an operator knows of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared import database
from shared.outcomes import Outcome, Provider

_COLUMNS = """provider, event_id, event_type, subject, user_id, occurred_at, received_at, published_at,
       handled_at, outcome, reason"""

_FITS = """(%(provider)s::text IS NULL OR provider = %(provider)s)
   AND (%(type)s::text IS NULL OR event_type = %(type)s)
   AND (%(outcome)s::text IS NULL OR coalesce(outcome, 'none') = %(outcome)s)
   AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)"""

NEWEST_OF_ALL = f"""
SELECT {_COLUMNS} FROM webhook_events
 WHERE {_FITS}
   AND (%(received_at)s::timestamptz IS NULL
        OR (received_at, provider, event_id) < (%(received_at)s, %(after_provider)s, %(after_event_id)s))
 ORDER BY received_at DESC, provider DESC, event_id DESC
 LIMIT %(limit)s
"""  # noqa: S608 - put together of constants

OLDEST_OF_ALL = f"""
SELECT {_COLUMNS} FROM webhook_events
 WHERE {_FITS}
   AND (%(event_ids)s::text[] IS NULL OR event_id = ANY (%(event_ids)s))
 ORDER BY received_at, provider, event_id
 LIMIT %(limit)s
"""  # noqa: S608 - put together of constants

NAMED_OF_ALL = f"""
SELECT {_COLUMNS}, body FROM webhook_events
 WHERE event_id = %(event_id)s AND (%(provider)s::text IS NULL OR provider = %(provider)s)
 ORDER BY provider
"""  # noqa: S608 - put together of constants

PUBLISHED_OF_ALL = """
UPDATE webhook_events SET published_at = clock_timestamp()
 WHERE published_at IS NULL AND event_id = ANY (%(event_ids)s)
"""


@dataclass(frozen=True)
class Filters:
    """Which events are meant; what is None is not asked for."""

    provider: Provider | None
    type: str | None
    outcome: str | None
    since: datetime | None


class Place(BaseModel):
    """The event that a page ended with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    received_at: AwareDatetime
    provider: Provider
    event_id: str


@dataclass(frozen=True)
class Row:
    """An event as it is kept. `body` is only there where it was asked for."""

    provider: Provider
    event_id: str
    event_type: str
    subject: str
    user_id: str | None
    occurred_at: datetime
    received_at: datetime
    published_at: datetime | None
    handled_at: datetime | None
    outcome: Outcome | None
    reason: str | None
    body: str = ""

    def record(self) -> dict[str, Any]:
        """Return what is told of it in JSON: all but the body."""
        told = {name: value for name, value in asdict(self).items() if name != "body"}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()
        }


def newest(filters: Filters, limit: int, after: Place | None) -> tuple[list[Row], bool]:
    """Return a page of events, the last received first, and whether there are more.

    Raises:
        TransientError: the database gave up.
    """
    values = {
        "received_at": after and after.received_at,
        "after_provider": after and after.provider,
        "after_event_id": after and after.event_id,
    }
    return _page(NEWEST_OF_ALL, {**asdict(filters), **values}, limit)


def oldest(filters: Filters, event_ids: Sequence[str] | None, limit: int) -> tuple[list[Row], bool]:
    """Return events, the first received first, and whether there are more.

    Args:
        event_ids: only these, None for all that fit.

    Raises: as `newest`.
    """
    return _page(OLDEST_OF_ALL, {**asdict(filters), "event_ids": event_ids and list(event_ids)}, limit)


def named(event_id: str, provider: Provider | None) -> list[Row]:
    """Return the events of this id, with their bodies: at most one of each provider.

    Raises: as `newest`.
    """
    found = database.fetch_all(NAMED_OF_ALL, {"event_id": event_id, "provider": provider})
    return [Row(**row) for row in found]


def published(found: Sequence[Row]) -> None:
    """Note that the bus took events that it had not taken when they came.

    Raises: as `newest`.
    """
    with database.transaction() as cursor:
        cursor.execute(PUBLISHED_OF_ALL, {"event_ids": [row.event_id for row in found]})


def place(row: Row) -> Place:
    return Place(received_at=row.received_at, provider=row.provider, event_id=row.event_id)


def _page(query: str, values: Mapping[str, Any], limit: int) -> tuple[list[Row], bool]:
    found = database.fetch_all(query, {**values, "limit": limit + 1})
    return [Row(**row) for row in found[:limit]], len(found) > limit
