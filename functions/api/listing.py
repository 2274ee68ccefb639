"""Decide what a list of items holds, and in which order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from functions.api import cursor
from functions.api.answers import Status
from functions.api.filters import Filters

SortName = Literal["newest", "oldest", "name", "updated", "captured", "size"]

Place = tuple[Any, UUID]
"""Behind which a page begins: what its items are sorted by, and an id."""


@dataclass(frozen=True)
class Order:
    """An order of items, in which those that are equal stand by their ids.

    Attributes:
        key: what items are ordered by, in SQL; never null, and in an index.
        descending: whether the largest, the newest come first.
        column: of a row, what a cursor says of it; null where the item lacks it.
        place: the parameter `after`, in SQL, as `key` has it.
        read: what makes the cursor's value of it again.
    """

    key: str
    descending: bool
    column: str
    place: str
    read: Callable[[Any], Any]

    @property
    def by(self) -> str:
        """Return what stands behind ORDER BY."""
        direction = "DESC" if self.descending else "ASC"
        return f"{self.key} {direction}, items.item_id {direction}"

    @property
    def behind(self) -> str:
        """Return the condition that an item stands behind the parameters `after` and `after_id`."""
        beyond = "<" if self.descending else ">"
        return f"({self.key}, items.item_id) {beyond} ({self.place}, %(after_id)s::uuid)"


_MOMENT = ("%(after)s::timestamptz", cursor.moment)

ORDERS: Mapping[SortName, Order] = {
    "newest": Order("items.created_at", True, "created_at", *_MOMENT),
    "oldest": Order("items.created_at", False, "created_at", *_MOMENT),
    "name": Order("lower(items.filename)", False, "lower_name", "%(after)s::text", cursor.words),
    "updated": Order("items.updated_at", True, "updated_at", *_MOMENT),
    "captured": Order(
        "coalesce(items.captured_at, '-infinity')",
        True,
        "captured_at",
        "coalesce(%(after)s::timestamp, '-infinity')",
        cursor.perhaps(cursor.wall_clock),
    ),
    "size": Order(
        "coalesce(items.file_size, -1)",
        True,
        "file_size",
        "coalesce(%(after)s::bigint, -1)",
        cursor.perhaps(cursor.number),
    ),
}


class Listing(Filters):
    """Which items, in which order, and how many at a time."""

    status: Status | None = None
    sort: SortName = Field(
        "newest",
        description="`newest` and `oldest` by when an item was made; `name` from A; `updated` and `captured`"
        " the latest first, `size` the largest; what lacks it comes last",
    )
    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(
        None, description="`next_cursor` of the page before, with everything else as it was"
    )

    @property
    def order(self) -> Order:
        return ORDERS[self.sort]

    def after(self) -> Place | None:
        """Return the place behind which the page begins, None for the first one.

        Raises:
            Problem: 400, the cursor is none of this list.
        """
        if self.cursor is None:
            return None
        place, item_id = cursor.read(self.cursor, self._name(), self.order.read, UUID)
        return place, item_id

    def next_cursor(self, row: Mapping[str, Any]) -> str:
        """Return the cursor of the place behind a row."""
        return cursor.write(self._name(), row[self.order.column], row["item_id"])

    def _name(self) -> dict[str, Any]:
        return {"list": "items", **self.model_dump(mode="json", exclude={"limit", "cursor"})}
