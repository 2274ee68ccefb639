"""Make items that their originals are then uploaded for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

from functions.api.problems import Problem
from functions.api.retry import REMEMBERED_SECONDS
from shared import database, erasures, items, quotas
from shared.errors import MagpieError

# In the order in which they were asked for, a microsecond apart. What a client says of a file's size holds
# its room until the bytes are there.
CREATE = """
INSERT INTO items (user_id, item_id, filename, object_key, correlation_id, created_at, counted, counted_bytes)
SELECT %(user_id)s, new.item_id, new.filename, new.object_key, %(correlation_id)s,
       now() + (new.number - 1) * interval '1 microsecond', true, new.size
  FROM unnest(%(item_ids)s::uuid[], %(filenames)s::text[], %(object_keys)s::text[], %(sizes)s::bigint[])
       WITH ORDINALITY AS new (item_id, filename, object_key, size, number)
    ON CONFLICT (user_id, item_id) DO NOTHING
RETURNING item_id, counted_bytes
"""

# What there is of each id by now: this request's item, an old one, or the mark of a deleted one.
FATE = """
SELECT wanted.item_id,
       coalesce(items.created_at > now() - %(remembered)s::interval, false) AS ours,
       gone.item_id IS NOT NULL AS deleted,
       coalesce(gone.deleted_at > now() - %(remembered)s::interval, false) AS lately
  FROM unnest(%(item_ids)s::uuid[]) AS wanted (item_id)
  LEFT JOIN items ON items.user_id = %(user_id)s AND items.item_id = wanted.item_id
  LEFT JOIN deleted_items AS gone ON gone.user_id = %(user_id)s AND gone.item_id = wanted.item_id
"""


@dataclass(frozen=True)
class New:
    """An item to make: the id that is wished for it, its cleaned name, and its bytes where they are told."""

    item_id: UUID
    filename: str
    size: int = 0


class _TakenError(MagpieError):
    """Some ids belong to items of earlier requests."""

    def __init__(self, item_ids: set[UUID]) -> None:
        super().__init__("ids are taken")
        self.item_ids = item_ids


def create(user_id: str, new: Sequence[New], correlation_id: str) -> list[UUID]:
    """Make pending items, all or none, and return their ids: others where old items have the wished ones.

    An id that is derived from a request meets the item of the same request. Within the time that
    requests are remembered it is that request, sent again; later it is a new one.

    Raises:
        AccountDeletedError: nothing is made for this user any more.
        OverQuotaError: they do not all fit.
        Problem: 409, what the request made has been deleted since.
    """
    while True:
        try:
            _insert(user_id, new, correlation_id)
            return [each.item_id for each in new]
        except _TakenError as error:
            new = [replace(each, item_id=uuid4()) if each.item_id in error.item_ids else each for each in new]


def refuse_deleted(user_id: str, item_ids: Sequence[UUID]) -> None:
    """Refuse a request that was answered before, if what it made has been deleted since.

    Raises:
        Problem: 409, it has.
    """
    rows = database.fetch_all(FATE, _wanted(user_id, item_ids))
    if any(row["deleted"] for row in rows):
        raise _deleted_since()


def _insert(user_id: str, new: Sequence[New], correlation_id: str) -> None:
    item_ids = [each.item_id for each in new]
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        cursor.execute(
            CREATE,
            {
                "user_id": user_id,
                "item_ids": item_ids,
                "filenames": [each.filename for each in new],
                "object_keys": [items.uploads_key(user_id, item_id) for item_id in item_ids],
                "sizes": [each.size for each in new],
                "correlation_id": correlation_id,
            },
        )
        made = {row["item_id"]: row["counted_bytes"] for row in cursor.fetchall()}
        # After the INSERT: it may have waited for a deletion, whose mark this statement sees.
        fates = cursor.execute(FATE, _wanted(user_id, item_ids)).fetchall()
        if any(fate["lately"] for fate in fates):
            raise _deleted_since()
        if taken := {fate["item_id"] for fate in fates if fate["deleted"] or not fate["ours"]}:
            raise _TakenError(taken)
        with cursor.connection.pipeline():  # the timeline's lines without waiting for each
            for item_id in item_ids:
                if item_id in made:
                    items.record(cursor, user_id, item_id, "api", "pending")
        # Only what was really made: a request that is sent again asks for no more room.
        quotas.reserve(cursor, user_id, "items", len(made))
        quotas.reserve(cursor, user_id, "storage_bytes", sum(made.values()))


def _wanted(user_id: str, item_ids: Sequence[UUID]) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "item_ids": list(item_ids),
        "remembered": timedelta(seconds=REMEMBERED_SECONDS),
    }


def _deleted_since() -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "item-deleted",
        "What this request made before has been deleted since. Use a new Idempotency-Key.",
    )
