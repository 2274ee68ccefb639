"""The list of addresses that nothing is sent to, for an operator to read, page by page, and to change."""

import re
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from shared import database, mailboxes

_PAGE = """
SELECT address_key, reason, suppressed_at
  FROM suppressed_addresses
 WHERE %(after_address_key)s::text IS NULL
    OR (suppressed_at, address_key) < (%(after_suppressed_at)s, %(after_address_key)s)
 ORDER BY suppressed_at DESC, address_key DESC
 LIMIT %(limit)s
"""

_ONE = (
    "SELECT address_key, reason, suppressed_at FROM suppressed_addresses WHERE address_key = %(address_key)s"
)

KEY = re.compile(r"[0-9a-f]{64}")


class Place(BaseModel):
    """A place in the list: behind the last entry of a page, which need not be there any more."""

    suppressed_at: AwareDatetime
    address_key: str = Field(pattern=f"^{KEY.pattern}$")


def key(address: str) -> str:
    """Return the key of an address, or the key that was given in its place: the list shows nothing else."""
    return address if KEY.fullmatch(address) else mailboxes.address_key(address)


def page(limit: int, after: Place | None) -> dict[str, Any]:
    """Return the newest entries of the list, or those behind a place, and the place where more follow."""
    values = {
        "after_suppressed_at": after and after.suppressed_at,
        "after_address_key": after and after.address_key,
    }
    rows = database.fetch_all(_PAGE, {**values, "limit": limit + 1})
    shown = [_shown(row) for row in rows[:limit]]
    there_is_more = len(rows) > limit
    return {
        "addresses": shown,
        "next": {name: shown[-1][name] for name in Place.model_fields} if there_is_more else None,
    }


def one(key: str) -> dict[str, Any]:
    """Return the entry of one address, if there is one."""
    row = database.fetch_one(_ONE, {"address_key": key})
    return {"addresses": [] if row is None else [_shown(row)], "next": None}


def suppress(key: str) -> dict[str, Any]:
    """Put an address on the list, because an operator says so."""
    with database.transaction() as cursor:
        mailboxes.suppress(cursor, key, "operator", datetime.now(UTC))
    return {"address_key": key, "suppressed": True}


def lift(key: str) -> dict[str, Any]:
    """Take an address off the list; `lifted` is whether it was there."""
    with database.transaction() as cursor:
        lifted = mailboxes.lift(cursor, key)
    return {"address_key": key, "lifted": lifted}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "suppressed_at": row["suppressed_at"].isoformat()}
