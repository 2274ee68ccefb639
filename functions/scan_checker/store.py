"""Read which objects rows name and buckets hold, and keep what does not fit together."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from functions.scan_checker.compare import Difference, Named, Stored
from shared import clients, database, erasures
from shared.errors import TransientError
from shared.runs import EVERYBODY

PAGE = 10_000
FIRST = UUID(int=0)

# From one user to the next by the index: DISTINCT would read every item of everybody, in every call.
USERS_OF_ALL = """
WITH RECURSIVE known AS (
    (SELECT items.user_id FROM items ORDER BY items.user_id LIMIT 1)
     UNION ALL
    SELECT (SELECT items.user_id FROM items
             WHERE items.user_id > known.user_id
             ORDER BY items.user_id LIMIT 1)
      FROM known
     WHERE known.user_id IS NOT NULL
)
SELECT known.user_id FROM known WHERE known.user_id IS NOT NULL
"""

# What was touched within the hour may be on its way; what was never there, or went before, is known to be so.
_SETTLED = """
   AND status <> 'pending' AND coalesce(error_code, '') <> 'gone' AND updated_at < %(settled)s
"""

# By section of the buckets: the keys that a user's rows name, in the order of their bytes.
NAMED = {
    "originals": """
SELECT object_key AS key, item_id FROM items
 WHERE user_id = %(user_id)s AND object_key COLLATE "C" > %(after)s
   AND object_version IS NOT NULL"""  # an import may bring an item without its image
    + _SETTLED
    + """ ORDER BY object_key COLLATE "C" LIMIT %(limit)s
""",
    "images": """
SELECT user_id || '/images/' || item_id || '.jpg' AS key, item_id FROM items
 WHERE user_id = %(user_id)s AND item_id > %(after_item)s AND image_width IS NOT NULL
   AND (user_id || '/images/' || item_id || '.jpg') COLLATE "C" > %(after)s"""
    + _SETTLED
    + """ ORDER BY item_id LIMIT %(limit)s
""",
    "thumbnails": """
SELECT user_id || '/thumbnails/' || item_id || '.webp' AS key, item_id FROM items
 WHERE user_id = %(user_id)s AND item_id > %(after_item)s AND thumbnail_width IS NOT NULL
   AND (user_id || '/thumbnails/' || item_id || '.webp') COLLATE "C" > %(after)s"""
    + _SETTLED
    + """ ORDER BY item_id LIMIT %(limit)s
""",
}

# An object whose row was touched just now was left out above, and one of a deleted item is being removed.
EXCUSED = """
SELECT wanted.item_id FROM unnest(%(item_ids)s::uuid[]) AS wanted (item_id)
 WHERE EXISTS (SELECT FROM items
                WHERE items.user_id = %(user_id)s AND items.item_id = wanted.item_id
                  AND (items.updated_at >= %(settled)s OR items.status = 'pending'))
    OR EXISTS (SELECT FROM deleted_items
                WHERE deleted_items.user_id = %(user_id)s AND deleted_items.item_id = wanted.item_id)
"""

KEEP = """
INSERT INTO scan_findings (user_id, run_id, kind, subject, item_id, run_owner)
VALUES (%(user_id)s, %(run_id)s, %(kind)s, %(subject)s, %(item_id)s, %(run_owner)s)
    ON CONFLICT (user_id, run_id, kind, subject) DO NOTHING
"""


def users(owner: str) -> list[str]:
    """Return whose objects are looked at: for the operator, everybody's who has rows."""
    if owner != EVERYBODY:
        return [owner]
    return [row["user_id"] for row in database.fetch_all(USERS_OF_ALL, {})]


def named(section: str, user_id: str, after: str, settled: datetime) -> Iterator[Named]:
    """Yield the keys that a user's rows name in a section, in order."""
    names = {"user_id": user_id, "settled": settled, "limit": PAGE}
    after_item = FIRST  # the page after the first begins behind it, without a look at what came before
    while True:
        rows = database.fetch_all(NAMED[section], {**names, "after": after, "after_item": after_item})
        for row in rows:
            yield Named(row["key"], row["item_id"])
        if len(rows) < PAGE:
            return
        after, after_item = rows[-1]["key"], rows[-1]["item_id"]


def stored(bucket: str, prefix: str, after: str, settled: datetime) -> Iterator[Stored]:
    """Yield the objects under a prefix, in the order of their keys, but for folders' markers.

    Args:
        settled: what is older than that is.

    Raises:
        TransientError: S3 did not answer as it should.
    """
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    if after:
        asked["StartAfter"] = after
    try:
        for page in clients.s3().get_paginator("list_objects_v2").paginate(**asked):
            for each in page.get("Contents", []):
                if not each["Key"].endswith("/"):
                    yield Stored(each["Key"], each["LastModified"] < settled)
    except (ClientError, BotoCoreError) as error:
        raise TransientError("a bucket could not be listed") from error


def excused(user_id: str, item_ids: Sequence[UUID], settled: datetime) -> set[UUID]:
    """Return which items explain an object that no settled row names."""
    rows = database.fetch_all(EXCUSED, {"user_id": user_id, "item_ids": list(item_ids), "settled": settled})
    return {row["item_id"] for row in rows}


def keep(run_owner: str, run_id: UUID, user_id: str, section: str, found: Sequence[Difference]) -> None:
    """Write down what does not fit together; the second time it is there. Of who is erased nothing is kept.

    Raises:
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        if erasures.is_erased(cursor, user_id):
            return
        cursor.executemany(
            KEEP,
            [
                {
                    "user_id": user_id,
                    "run_id": run_id,
                    "kind": f"{section}_{each.kind}",
                    "subject": each.key,
                    "item_id": each.item_id,
                    "run_owner": run_owner,
                }
                for each in found
            ],
        )


def owners(bucket: str) -> set[str]:
    """Return whose folders a bucket has.

    Raises:
        TransientError: S3 did not answer as it should.
    """
    found: set[str] = set()
    try:
        for page in clients.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/"):
            found |= {each["Prefix"].rstrip("/") for each in page.get("CommonPrefixes", [])}
    except (ClientError, BotoCoreError) as error:
        raise TransientError("a bucket could not be listed") from error
    return found
