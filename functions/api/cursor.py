"""Where a list goes on: opaque to whoever carries it, and checked when it comes back.

A cursor is not signed. It names a place in time, not a user: whatever a forged one says, the next
page is one of the caller's own.
"""

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from functions.api.problems import Problem

MAX_CHARACTERS = 200


@dataclass(frozen=True)
class Cursor:
    """The last item of a page; the next page begins behind it."""

    created_at: datetime
    item_id: UUID

    def __str__(self) -> str:
        text = json.dumps([self.created_at.isoformat(), str(self.item_id)], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """Return the cursor that a client brought back.

    Raises:
        Problem: 400, we never gave out this one.
    """
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError("longer than any of ours")
        padded = text + "=" * (-len(text) % 4)
        created_at, item_id = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
        cursor = Cursor(datetime.fromisoformat(created_at), UUID(item_id))
        if cursor.created_at.tzinfo is None or str(cursor) != text:
            raise ValueError("not in the form that we write")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "invalid-cursor", "Take `next_cursor` of the page before, unchanged."
        ) from error
    return cursor
