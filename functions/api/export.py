"""A copy of everything of the caller: asked for, waited for, and offered for download."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from aws_lambda_powertools import Logger
from pydantic import Field

from functions.api import answers
from shared import bus, database, erasures, objects
from shared.errors import TransientError
from shared.events import ExportRequested
from shared.models import Model

if TYPE_CHECKING:
    from psycopg.rows import DictRow

logger = Logger(child=True)

FRESH = timedelta(hours=1)
"""How long the outcome of an export is told, before asking begins a new one."""
LOST = timedelta(minutes=30)
"""An export that runs for longer than its function may, and is delivered again, has come to nothing."""
FORGOTTEN = timedelta(days=8)
"""What an export was is forgotten a day after its object has expired."""
SAY_AGAIN = "Something went wrong while it was made. Ask for a fresh one."

_FORGET = """
DELETE FROM exports WHERE user_id = %(user_id)s AND requested_at < now() - %(forgotten)s::interval
"""

_GIVE_UP = """
UPDATE exports
   SET status = 'failed', error = %(error)s, finished_at = now()
 WHERE user_id = %(user_id)s AND status = 'running' AND requested_at < now() - %(lost)s::interval
"""

_LATEST = """
SELECT export_id, status, error, object_key, file_size, sha256, counts, requested_at, finished_at,
       status = 'running' OR finished_at > now() - %(fresh)s::interval AS is_fresh
  FROM exports
 WHERE user_id = %(user_id)s
 ORDER BY requested_at DESC, export_id
 LIMIT 1
"""

# Where another request was faster, that one's: a user has one running export at most.
_BEGIN = """
INSERT INTO exports (user_id, export_id)
VALUES (%(user_id)s, %(export_id)s)
    ON CONFLICT (user_id) WHERE status = 'running' DO NOTHING
RETURNING export_id
"""

_FAIL = """
UPDATE exports
   SET status = 'failed', error = %(error)s, finished_at = now()
 WHERE user_id = %(user_id)s AND export_id = %(export_id)s AND status = 'running'
"""


class Export(Model):
    """A copy of everything: one JSON object per line, compressed with gzip. docs/operations.md says more."""

    export_id: UUID
    status: Literal["running", "succeeded", "failed"]
    requested_at: datetime = Field(description="whatever was there by then is in it")
    finished_at: datetime | None
    error: str | None = Field(description="why it failed")
    url: str | None = Field(description="downloads it; a secret")
    expires_at: datetime | None = Field(description="of the URL")
    bytes: int | None
    sha256: str | None = Field(description="of the file as it is downloaded, hexadecimal")
    counts: dict[str, int] = Field(description="rows of each table")


def begin(user_id: str, fresh: bool, correlation_id: str) -> None:
    """See to it that there is an export: one of the last hour, one that is running, or a new one.

    Args:
        fresh: takes none that is finished.

    Raises:
        AccountDeletedError: there is nothing left to copy.
        TransientError: the database or the bus does not answer.
    """
    key = {"user_id": user_id}
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        cursor.execute(_FORGET, key | {"forgotten": FORGOTTEN})
        cursor.execute(_GIVE_UP, key | {"lost": LOST, "error": SAY_AGAIN})
        latest = cursor.execute(_LATEST, key | {"fresh": FRESH}).fetchone()
        if latest and latest["is_fresh"] and not (fresh and latest["status"] != "running"):
            return
        export_id = uuid4()
        begun = cursor.execute(_BEGIN, key | {"export_id": export_id}).fetchone()
    if begun is None:
        return
    try:
        bus.publish([ExportRequested(user_id=user_id, export_id=export_id)], correlation_id)
    except TransientError:
        # Nobody will make it. Said now, it need not be waited for.
        with database.transaction() as cursor:
            cursor.execute(_FAIL, key | {"export_id": export_id, "error": SAY_AGAIN})
        raise


def latest(user_id: str) -> "DictRow":
    """Return the row of the caller's last export, which there must be."""
    row = database.fetch_one(_LATEST, {"user_id": user_id, "fresh": FRESH})
    if row is None:
        # Between two statements an erasure has begun.
        raise erasures.AccountDeletedError("everything of this user was erased")
    return row


def is_finished(row: "DictRow") -> bool:
    return bool(row["status"] != "running")


def shown(row: "DictRow", media_bucket: str) -> Export:
    """Return an export as it is answered; where it succeeded, with a new URL for an hour."""
    url = expires_at = None
    if row["status"] == "succeeded":
        name = f"magpie-export-{row['requested_at']:%Y-%m-%d}.ndjson.gz"
        headers = {"ResponseContentDisposition": answers.attachment(name)}
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=answers.VIEW_SECONDS)
        url = objects.view_url(media_bucket, row["object_key"], answers.VIEW_SECONDS, headers)
    return Export(
        export_id=row["export_id"],
        status=row["status"],
        requested_at=row["requested_at"],
        finished_at=row["finished_at"],
        error=row["error"],
        url=url,
        expires_at=expires_at,
        bytes=row["file_size"],
        sha256=row["sha256"],
        counts=row["counts"],
    )
