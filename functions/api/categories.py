"""How the caller's items are filed: what a person said of them, otherwise what the model did."""

from pydantic import Field

from functions.api import cursor
from shared import database
from shared.models import Model

LIST = """
SELECT category COLLATE "C" AS category, count(*) AS items
  FROM items
 WHERE user_id = %(user_id)s AND category IS NOT NULL
 GROUP BY 1
HAVING %(items)s::bigint IS NULL
    OR (-count(*), items.category COLLATE "C") > (-%(items)s::bigint, %(category)s::text)
 ORDER BY count(*) DESC, 1
 LIMIT %(limit)s
"""


class Category(Model):
    category: str
    items: int


class Categories(Model):
    """Categories with the number of items in each, the largest first."""

    categories: list[Category]
    next_cursor: str | None = Field(description="for the next page; null on the last one")


LISTING = {"of": "categories"}
"""What the cursor belongs to."""


def page(user_id: str, limit: int, after: str | None) -> Categories:
    """Return a page of a user's categories.

    Args:
        after: the cursor that a client brought back.

    Raises:
        Problem: 400, we never gave out this one.
    """
    items, category = (
        cursor.read(after, LISTING, cursor.number, cursor.words) if after is not None else (None, None)
    )
    rows = database.fetch_all(
        LIST,
        {
            "user_id": user_id,
            "items": items,
            "category": category,
            "limit": limit + 1,  # one more, to know whether there is more
        },
    )
    found = [Category(**row) for row in rows]
    shown = found[:limit]
    more = cursor.write(LISTING, shown[-1].items, shown[-1].category) if len(found) > limit else None
    return Categories(categories=shown, next_cursor=more)
