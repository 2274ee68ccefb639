"""A user's rows: deleted some thousand at a time, and looked for wherever there could be one."""

from collections.abc import Callable

from functions.eraser import receipt
from shared import database
from shared.tenants import TABLES

CHUNK = 2000
"""Rows to a transaction: a fraction of a second, so that nobody waits long for what it locks."""

# By place in the table: for this, no table needs a key of one column.
_DELETE = """
DELETE FROM {table}
 WHERE user_id = %(user_id)s
   AND ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE user_id = %(user_id)s LIMIT %(chunk)s))
"""

_IS_LEFT = "SELECT EXISTS (SELECT FROM {table} WHERE user_id = %(user_id)s) AS is_left"

# Not by our own list: a table that is missing there must be found here.
_TENANT_TABLES = """
SELECT tables.relname AS name
  FROM pg_class AS tables
  JOIN pg_attribute AS columns ON columns.attrelid = tables.oid
 WHERE tables.relkind IN ('r', 'p')
   AND tables.relnamespace = current_schema()::text::regnamespace
   AND tables.relname <> 'erasures'
   AND columns.attname = 'user_id'
   AND NOT columns.attisdropped
 ORDER BY tables.relname
"""


def erase(user_id: str, go_on: Callable[[], None]) -> None:
    """Delete every row of a user, and note on the receipt how many they were.

    Args:
        go_on: is called before each transaction, and may raise to stop there.

    Raises:
        TransientError: the database gave up.
    """
    for table in reversed(TABLES):  # what refers to a row before the row: so each is counted for its own
        while True:
            go_on()
            # Fewer than asked for may mean that somebody else changed them meanwhile.
            if _delete_some(table, user_id) < CHUNK and not _is_left(table, user_id):
                break


def left(user_id: str) -> list[str]:
    """Return the tables that hold rows of a user, of all tables that could."""
    tables = [row["name"] for row in database.fetch_all(_TENANT_TABLES, {})]
    return [table for table in tables if _is_left(table, user_id)]


def _delete_some(table: str, user_id: str) -> int:
    from psycopg import sql

    with database.transaction() as cursor:
        receipt.hold(cursor, user_id)
        query = sql.SQL(_DELETE).format(table=sql.Identifier(table))
        count = cursor.execute(query, {"user_id": user_id, "chunk": CHUNK}).rowcount
        if count:
            receipt.add_rows(cursor, user_id, table, count)
    return count


def _is_left(table: str, user_id: str) -> bool:
    from psycopg import sql

    row = database.fetch_one(sql.SQL(_IS_LEFT).format(table=sql.Identifier(table)), {"user_id": user_id})
    return row is not None and bool(row["is_left"])
