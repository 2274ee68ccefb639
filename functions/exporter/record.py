"""What the database knows of an export: that it runs, and how it ended."""

import json
from collections.abc import Mapping
from uuid import UUID

from functions.exporter.archive import Archive
from shared import database, erasures

_STATUS = "SELECT status FROM exports WHERE user_id = %(user_id)s AND export_id = %(export_id)s"

_SUCCEED = """
UPDATE exports
   SET status = 'succeeded', object_key = %(object_key)s, file_size = %(size)s, sha256 = %(sha256)s,
       counts = %(counts)s, finished_at = clock_timestamp()
 WHERE user_id = %(user_id)s AND export_id = %(export_id)s
"""

_FAIL = """
UPDATE exports
   SET status = 'failed', error = %(error)s, finished_at = clock_timestamp()
 WHERE user_id = %(user_id)s AND export_id = %(export_id)s AND status = 'running'
"""


def key(user_id: str, export_id: UUID) -> str:
    """Key of an export in the media bucket."""
    return f"{user_id}/exports/{export_id}.ndjson.gz"


def is_running(user_id: str, export_id: UUID) -> bool:
    """Say whether this export is still to be made."""
    row = database.fetch_one(_STATUS, {"user_id": user_id, "export_id": export_id})
    return row is not None and bool(row["status"] == "running")


def succeed(user_id: str, export_id: UUID, archive: Archive, counts: Mapping[str, int]) -> bool:
    """Complete the file and write down that it is there, unless it is not wanted any more.

    Both in one transaction, which holds the account open: no erasure can look between the two and
    find no file.

    Returns:
        Whether it was still running.

    Raises:
        AccountDeletedError: nothing may be there any more.
        TransientError: the database or S3 gave up. A file without a row is replaced by the next delivery.
    """
    name = {"user_id": user_id, "export_id": export_id}
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        row = cursor.execute(_STATUS + " FOR UPDATE", name).fetchone()
        if row is None or row["status"] != "running":
            return False
        archive.complete()
        written = {
            "object_key": archive.key,
            "size": archive.size,
            "sha256": archive.sha256,
            "counts": json.dumps(counts),
        }
        cursor.execute(_SUCCEED, name | written)
    return True


def fail(user_id: str, export_id: UUID, error: str) -> None:
    """Write down why there is no file."""
    with database.transaction() as cursor:
        cursor.execute(_FAIL, {"user_id": user_id, "export_id": export_id, "error": error})
