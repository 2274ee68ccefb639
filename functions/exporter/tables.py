"""Everything of a user as lines of JSON: one snapshot of every table, row by row."""

import base64
import json
import math
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from functions.exporter import originals
from functions.exporter.originals import Buckets
from shared import database
from shared.tenants import TABLES

if TYPE_CHECKING:
    from psycopg import Cursor, sql
    from psycopg.rows import DictRow

FORMAT = "magpie-export"
VERSION = 1
ROWS = 200
"""Fetched at once: with the longest replies of models still only some megabytes."""

# Nothing changes for the whole copy, and nobody waits for it. The longest pauses are those for S3.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
PATIENCE = """
SELECT set_config('statement_timeout', '300s', true),
       set_config('idle_in_transaction_session_timeout', '300s', true)
"""

COLUMNS = """
SELECT columns.attname AS name, columns.atttypid::regtype::text AS type,
       array_position(keys.indkey::smallint[], columns.attnum) AS place,
       columns.attidentity <> '' AS counts_all
  FROM pg_attribute AS columns
  LEFT JOIN pg_index AS keys ON keys.indrelid = columns.attrelid AND keys.indisprimary
 WHERE columns.attrelid = %(table)s::regclass AND columns.attnum > 0 AND NOT columns.attisdropped
 ORDER BY columns.attnum
"""

COUNT = "SELECT count(*) AS count FROM {table} WHERE user_id = %(user_id)s"
SELECT = "SELECT {columns} FROM {table} WHERE user_id = %(user_id)s ORDER BY {key}"

# As pgvector sends it: two 16-bit numbers, then the components, in network order.
VECTOR = "substring(halfvec_send({column}) FROM 5)"
ENCODINGS = {
    "halfvec": "base64 of 16-bit floating-point numbers (IEEE 754), little-endian",
    "bytea": "base64",
    "numeric": "text, exactly",
    "tsvector": "PostgreSQL's text form",
}
"""How the values are written that JSON has no form for, by PostgreSQL's name of their type."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        place: its place in the primary key, None where it is not in it.
        counts_all: whether it numbers the rows of all users: it orders a user's rows, and is not shown, for
            it tells how busy others are.
    """

    name: str
    type: str
    place: int | None
    counts_all: bool


@dataclass(frozen=True)
class Snapshot:
    """Everything of a user at one moment, for as long as the transaction is open.

    Attributes:
        counts: rows of each table.
    """

    user_id: str
    counts: Mapping[str, int]
    _cursor: "Cursor[DictRow]"
    _tables: Mapping[str, list[Column]]

    def lines(self, buckets: Buckets, now: datetime) -> Iterator[bytes]:
        """Yield the lines of an export, the header first.

        Args:
            buckets: where the originals and web images are that items point to.
            now: is written in the header.
        """
        yield _line(header(self.user_id, now, self._tables, self.counts))
        for table, columns in self._tables.items():
            for row in _rows(self._cursor, table, columns, self.user_id):
                line: dict[str, Any] = {"table": table, "row": _written(columns, row)}
                if table == "items":
                    line["objects"] = originals.objects_of(row, buckets)
                yield _line(line)


@contextmanager
def snapshot(user_id: str) -> Iterator[Snapshot]:
    """Look at everything of a user as it is now.

    Raises:
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        cursor.execute(SNAPSHOT)
        cursor.execute(PATIENCE)
        tables = {table: _columns(cursor, table) for table in TABLES}
        counts = {table: _count(cursor, table, user_id) for table in TABLES}
        yield Snapshot(user_id, counts, cursor, tables)


def header(
    user_id: str, now: datetime, tables: Mapping[str, list[Column]], counts: Mapping[str, int]
) -> dict[str, Any]:
    """Return the first line: what this is, of whom, and how to read what follows."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "user_id": user_id,
        "exported_at": now.isoformat(),
        "counts": counts,
        "encodings": {
            f"{table}.{column.name}": ENCODINGS[column.type]
            for table, columns in tables.items()
            for column in columns
            if column.type in ENCODINGS
        },
        "urls_expire_at_the_latest": (now + originals.URL_LIFE).isoformat(),
    }


def _columns(cursor: "Cursor[DictRow]", table: str) -> list[Column]:
    return [Column(**row) for row in cursor.execute(COLUMNS, {"table": table}).fetchall()]


def _count(cursor: "Cursor[DictRow]", table: str, user_id: str) -> int:
    from psycopg import sql

    query = sql.SQL(COUNT).format(table=sql.Identifier(table))
    row = cursor.execute(query, {"user_id": user_id}).fetchone()
    return int(row["count"]) if row else 0


def _rows(cursor: "Cursor[DictRow]", table: str, columns: list[Column], user_id: str) -> "Iterator[DictRow]":
    """Yield a user's rows of a table, in the order of its key, from a cursor that the server keeps."""
    from psycopg import sql

    key = sorted((column.place, column.name) for column in columns if column.place is not None)
    query = sql.SQL(SELECT).format(
        columns=sql.SQL(", ").join(_selected(column) for column in columns if not column.counts_all),
        table=sql.Identifier(table),
        key=sql.SQL(", ").join(sql.Identifier(name) for _, name in key),
    )
    with cursor.connection.cursor(name="export") as rows:
        rows.itersize = ROWS
        rows.execute(query, {"user_id": user_id})
        yield from rows


def _selected(column: Column) -> "sql.Composable":
    from psycopg import sql

    name = sql.Identifier(column.name)
    if column.type == "halfvec":
        return sql.SQL(VECTOR + " AS {column}").format(column=name)
    if column.type == "tsvector":
        return sql.SQL("{column}::text AS {column}").format(column=name)
    return name


def _written(columns: list[Column], row: "DictRow") -> dict[str, Any]:
    """Return a row's values as JSON writes them, as far as JSON's writer does not do it itself."""
    return {column.name: _value(column, row[column.name]) for column in columns if not column.counts_all}


def _value(column: Column, value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(_little_endian(value) if column.type == "halfvec" else value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _little_endian(numbers: bytes) -> bytes:
    """Turn 16-bit numbers from network order."""
    swapped = array("H", numbers)
    swapped.byteswap()
    return swapped.tobytes()


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, default=_text, ensure_ascii=False, separators=(",", ":")).encode()


def _text(value: Any) -> str:
    """Return times as ISO 8601 has them, and ids and exact numbers as text."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
