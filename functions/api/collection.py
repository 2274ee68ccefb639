"""The caller's items: how they are made, listed and read."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from functions.api.cursor import Cursor
from functions.api.retry import REMEMBERED_SECONDS
from shared import database, items

if TYPE_CHECKING:
    from psycopg.rows import DictRow

CREATE = """
INSERT INTO items (user_id, item_id, filename, object_key, correlation_id)
VALUES (%(user_id)s, %(item_id)s, %(filename)s, %(object_key)s, %(correlation_id)s)
    ON CONFLICT (user_id, item_id) DO NOTHING
RETURNING item_id
"""

IS_RECENT = """
SELECT created_at > now() - %(remembered)s::interval AS recent
  FROM items
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""

_WITH_ANALYSIS = """
SELECT items.*, analyses.category, analyses.headline, analyses.provider_used, analyses.model_used,
       analyses.raw_response, analyses.created_at AS analyzed_at
  FROM items
  LEFT JOIN analyses ON analyses.user_id = items.user_id
                    AND analyses.item_id = items.item_id
                    AND analyses.version = items.analysis_version
"""

LIST = (
    _WITH_ANALYSIS
    + """
 WHERE items.user_id = %(user_id)s
   AND (%(status)s::text IS NULL OR items.status = %(status)s)
   AND (%(created_at)s::timestamptz IS NULL
        OR (items.created_at, items.item_id) < (%(created_at)s::timestamptz, %(item_id)s::uuid))
 ORDER BY items.created_at DESC, items.item_id DESC
 LIMIT %(limit)s
"""
)

ONE = _WITH_ANALYSIS + "WHERE items.user_id = %(user_id)s AND items.item_id = %(item_id)s"

TIMELINE = """
SELECT stage, event, occurred_at, duration_ms, detail
  FROM item_events
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
 ORDER BY event_id
"""


def create(user_id: str, item_id: UUID, filename: str, correlation_id: str) -> UUID:
    """Make a pending item, and return its id: another one where an old item has the wished one.

    An id that is derived from a request meets the item of the same request. Within the time that
    requests are remembered it is that request, sent again; later it is a new one.
    """
    with database.transaction() as cursor:
        key = {"user_id": user_id, "item_id": item_id}
        row = {**key, "filename": filename, "correlation_id": correlation_id}
        cursor.execute(CREATE, row | {"object_key": items.uploads_key(user_id, item_id)})
        if cursor.fetchone() is not None:
            items.record(cursor, user_id, item_id, "api", "pending")
            return item_id
        cursor.execute(IS_RECENT, key | {"remembered": timedelta(seconds=REMEMBERED_SECONDS)})
        found = cursor.fetchone()
    if found is not None and found["recent"]:
        return item_id
    return create(user_id, uuid4(), filename, correlation_id)


def page(user_id: str, limit: int, after: Cursor | None, status: str | None) -> "list[DictRow]":
    """Return at most `limit` of a user's items, newest first, with their current analyses."""
    return database.fetch_all(
        LIST,
        {
            "user_id": user_id,
            "status": status,
            "created_at": after.created_at if after else None,
            "item_id": after.item_id if after else None,
            "limit": limit,
        },
    )


def one(user_id: str, item_id: UUID) -> "DictRow | None":
    """Return one of a user's items with its current analysis, None where the user has no such item."""
    return database.fetch_one(ONE, {"user_id": user_id, "item_id": item_id})


def timeline(user_id: str, item_id: UUID) -> list[dict[str, Any]]:
    """Return what happened to an item, first things first."""
    return database.fetch_all(TIMELINE, {"user_id": user_id, "item_id": item_id})
