"""What more than one part does to an item: its keys, the timeline, the end by rejection, the way out."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from shared.errors import RejectedError
from shared.events import ItemRejected, Stage
from shared.text import storable

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow


def uploads_key(user_id: str, item_id: UUID) -> str:
    """Key of an original in the uploads bucket."""
    return f"{user_id}/{item_id}/original"


def item_id(bucket: str, key: str) -> UUID:
    """Return the item that an original belongs to: the id that the API minted, or one derived from the key of
    an operator's object."""
    rest = key.partition("/")[2]
    minted = rest.removesuffix("/original")
    try:
        # Only the way the API writes it: with capitals or braces, several keys would be one item.
        if minted != rest and str(UUID(minted)) == minted:
            return UUID(minted)
    except ValueError:
        pass  # a file of an operator that is called "original"
    return uuid5(NAMESPACE_URL, f"s3://{bucket}/{key}")


def image_key(user_id: str, item_id: UUID) -> str:
    """Key of a web image in the media bucket."""
    return f"{user_id}/images/{item_id}.jpg"


def thumbnail_key(user_id: str, item_id: UUID) -> str:
    """Key of a thumbnail in the media bucket."""
    return f"{user_id}/thumbnails/{item_id}.webp"


def record(
    cursor: "Cursor[DictRow]",
    user_id: str,
    item_id: UUID,
    stage: str,
    event: str,
    *,
    object_version: str | None = None,
    occurrence: str = "",
    took: timedelta | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add a line to the timeline that the user can read; the same line twice stays one.

    Args:
        stage: who says it (`api`, `image_processor`, ...).
        event: what happened, in the words of the status (`processed`, `rejected`, ...).
        occurrence: tells apart what may rightly happen twice to one version of the object, such as
            two analyses (`analysis 2`).
        took: the work's duration, when there was any.
    """
    from psycopg.types.json import Jsonb

    cursor.execute(
        """
        INSERT INTO item_events
               (user_id, item_id, stage, event, object_version, occurrence, duration_ms, detail)
        VALUES (%(user_id)s, %(item_id)s, %(stage)s, %(event)s, %(object_version)s, %(occurrence)s,
                %(duration_ms)s, %(detail)s)
        ON CONFLICT (user_id, item_id, stage, event, object_version, occurrence) DO NOTHING
        """,
        {
            "user_id": user_id,
            "item_id": item_id,
            "stage": stage,
            "event": event,
            "object_version": object_version or "",
            "occurrence": occurrence,
            "duration_ms": round(took.total_seconds() * 1000, 1) if took else None,
            "detail": Jsonb(storable(detail or {})),
        },
    )


def end(
    cursor: "Cursor[DictRow]",
    user_id: str,
    item_id: UUID,
    stage: Stage,
    status: str,
    error: RejectedError,
    object_version: str | None,
) -> ItemRejected:
    """End an item as `rejected` or `failed`, and return the event to publish after the commit."""
    cursor.execute(
        """
        UPDATE items
           SET status = %(status)s, held_status = NULL, error_code = %(code)s, error_message = %(message)s,
               updated_at = now()
         WHERE user_id = %(user_id)s AND item_id = %(item_id)s
           AND (status, error_code, error_message) IS DISTINCT FROM (%(status)s, %(code)s, %(message)s)
        """,
        {
            "user_id": user_id,
            "item_id": item_id,
            "status": status,
            "code": error.code,
            "message": error.sentence,
        },
    )
    record(
        cursor,
        user_id,
        item_id,
        stage,
        status,
        object_version=object_version,
        occurrence=error.code,
        detail={"code": error.code, "message": error.sentence},
    )
    return ItemRejected(
        user_id=user_id,
        item_id=item_id,
        object_version=object_version,
        stage=stage,
        code=error.code,
        message=error.sentence,
    )


def hold_contents(cursor: "Cursor[DictRow]", user_id: str, contents: Iterable[str | None]) -> None:
    """Hold what a user's items share by having the same bytes, until the transaction ends.

    Whoever changes who is whose duplicate holds it, and takes it before any row: so nobody waits for
    somebody who waits for them.

    Args:
        contents: SHA-256 (hex) of originals; None is nobody's.
    """
    for sha256 in sorted({content for content in contents if content}):
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%(content)s, 0))",
            {"content": f"{user_id}/{sha256}"},
        )


def pass_on(cursor: "Cursor[DictRow]", user_id: str, item_id: UUID) -> None:
    """Make the oldest duplicate of what the item was until now the one that the others duplicate.

    The content is held (`hold_contents`).
    """
    cursor.execute(
        """
        UPDATE items
           SET duplicate_of = nullif((SELECT heir.item_id FROM items AS heir
                                       WHERE heir.user_id = %(user_id)s AND heir.duplicate_of = %(item_id)s
                                       ORDER BY heir.created_at, heir.item_id
                                       LIMIT 1), item_id)
         WHERE user_id = %(user_id)s AND duplicate_of = %(item_id)s
        """,
        {"user_id": user_id, "item_id": item_id},
    )
