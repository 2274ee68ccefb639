"""Where a list goes on: opaque to whoever carries it, and checked when it comes back.

A cursor is not signed. It names a place, not a user: whatever a forged one says, the next page is one
of the caller's own. It also says of which list it is a place, its filters and its order included,
because in another list the same place means nothing.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

from functions.api.problems import Problem

if TYPE_CHECKING:
    from psycopg.rows import DictRow

MAX_CHARACTERS = 4000
"""A place in a list by name holds a name; each of its letters may take four bytes."""
MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class Cursor:
    """The last entry of a page of a list by age; the next page begins behind it."""

    created_at: datetime
    item_id: UUID

    def __str__(self) -> str:
        return write({}, self.created_at, self.item_id)


def read_cursor(text: str) -> Cursor:
    """Return the cursor that a client brought back to a list that is by age and nothing else.

    Raises:
        Problem: 400, we never gave out this one.
    """
    return Cursor(*read(text, {}, moment, UUID))


def page_by_age(
    text: str | None, limit: int, rows: "Callable[[int, Cursor | None], list[DictRow]]", id_name: str
) -> "tuple[list[DictRow], str | None]":
    """Return a page of a list by age, and the cursor of the next one, None where this is the last.

    Args:
        text: the cursor that a client brought back, None for the first page.
        rows: returns at most so many of the list, behind a cursor.
        id_name: of the column that tells apart what is of one age.

    Raises:
        Problem: as `read_cursor`.
    """
    after = read_cursor(text) if text is not None else None
    found = rows(limit + 1, after)  # one more, to know whether there is more
    shown = found[:limit]
    more = len(found) > limit
    return shown, str(Cursor(shown[-1]["created_at"], shown[-1][id_name])) if more else None


def write(listing: Mapping[str, object], *place: datetime | UUID | str | int | None) -> str:
    """Return the cursor of a place in a list.

    Args:
        listing: everything that makes it this list: its filters, its order.
        place: what its last entry is sorted by, first things first.
    """
    values = [value.isoformat() if isinstance(value, datetime) else value for value in place]
    told = [str(value) if isinstance(value, UUID) else value for value in values]
    text = json.dumps([_fingerprint(listing), *told], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(text: str, listing: Mapping[str, object], *readers: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return the place that a cursor names.

    Args:
        readers: what makes each value of it what it was; raises ValueError for what it never was.

    Raises:
        Problem: 400, we never gave out this one, or for another list.
    """
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError("longer than any of ours")
        padded = text + "=" * (-len(text) % 4)
        fingerprint, *told = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
        if not isinstance(fingerprint, str) or len(fingerprint) != len(_fingerprint({})):
            raise ValueError("not in the form that we write")
        if fingerprint != _fingerprint(listing):
            raise _of_another_list()
        place = tuple(reader(value) for reader, value in zip(readers, told, strict=True))
        if write(listing, *place) != text:
            raise ValueError("not in the form that we write")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "invalid-cursor", "Take `next_cursor` of the page before, unchanged."
        ) from error
    return place


def moment(value: Any) -> datetime:
    """Read a point in time, with its zone."""
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError("a time without a zone")
    return read


def wall_clock(value: Any) -> datetime:
    """Read a time that knows no zone."""
    read = datetime.fromisoformat(value)
    if read.tzinfo is not None:
        raise ValueError("a time with a zone")
    return read


def number(value: Any) -> int:
    """Read a whole number that PostgreSQL takes as bigint."""
    if type(value) is not int or abs(value) > MAX_NUMBER:
        raise ValueError("not such a number")
    return value


def words(value: Any) -> str:
    """Read a text that PostgreSQL takes."""
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError("not such a text")
    return value


def perhaps(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what also reads the value of whatever has none."""
    return lambda value: None if value is None else reader(value)


def _fingerprint(listing: Mapping[str, object]) -> str:
    whole = json.dumps(listing, sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


def _of_another_list() -> Problem:
    return Problem(
        HTTPStatus.BAD_REQUEST,
        "invalid-cursor",
        "This one belongs to a list with other filters or another order. Begin this list without a cursor.",
    )
