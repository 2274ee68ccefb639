"""PostgreSQL: one connection per execution environment, explicit transactions.

The connection runs in autocommit mode and every write goes through `transaction()`. With autocommit
off, any SELECT opens a transaction and a later `with conn.transaction()` is only a savepoint that
never commits.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from shared import parameters
from shared.errors import TransientError
from shared.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection, Cursor
    from psycopg.abc import QueryNoTemplate
    from psycopg.rows import DictRow

IDLE_SECONDS = 5.0
"""A connection unused for longer is asked whether it still lives: the server may have closed it
while the execution environment was frozen, and it would go on saying `closed=False`."""

_connection: "Connection[DictRow] | None" = None
_last_used = 0.0


class DatabaseEnv(Settings):
    """Where the connection string is kept."""

    url_parameter: str = Field(alias="DATABASE_URL_PARAMETER")
    connect_seconds: int = Field(default=5, alias="DATABASE_CONNECT_SECONDS", ge=2)


def connect(url: str, seconds: int = 5) -> "Connection[DictRow]":
    """Open a new connection the way every part of Magpie uses one: rows are dicts, times are UTC.

    Args:
        seconds: to wait for the server; below two libpq waits for two.

    Raises:
        TransientError: the server cannot be reached or has no connection left.
    """
    import psycopg
    from psycopg.rows import dict_row

    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=seconds,
            # A server that vanished without a word must be noticed while there is time to do something
            # about it: the server's own time-outs cannot. Seconds, and milliseconds.
            keepalives_idle=15,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=8000,
            # Poolers in transaction mode know no prepared statements, and a plan made for one user
            # is wrong for another who owns a thousand times as much.
            prepare_threshold=None,
            # random_page_cost: with the default, made for disks with arms, the planner reads the vectors
            # of whoever owns a fifth of them from the table instead of the covering index (118 ms, 38).
            options="-c timezone=UTC -c statement_timeout=60000 -c idle_in_transaction_session_timeout=60000 "
            "-c random_page_cost=1.1",
        )
    except psycopg.OperationalError as error:
        raise TransientError("the database cannot be reached") from error
    return connection


def connection() -> "Connection[DictRow]":
    """Return this environment's connection, opened or replaced when needed.

    Raises:
        TransientError: the server cannot be reached.
    """
    global _connection, _last_used
    import psycopg

    if _connection is not None and time.monotonic() - _last_used > IDLE_SECONDS:
        try:
            _connection.execute("SELECT 1")
        except psycopg.OperationalError:
            _connection.close()
    if _connection is None or _connection.closed:
        env = DatabaseEnv.load()
        _connection = connect(parameters.get(env.url_parameter), env.connect_seconds)
    _last_used = time.monotonic()
    return _connection


def close() -> None:
    """Forget this environment's connection."""
    global _connection
    if _connection is not None:
        _connection.close()
        _connection = None


@contextmanager
def _transient() -> Iterator[None]:
    """Call every loss, deadlock and time-out by the name that sends a message round again."""
    from psycopg import OperationalError, errors

    try:
        yield
    except errors.ReadOnlySqlTransaction as error:
        # After a failover this connection leads to what is a reader now, and would stay alive for good.
        close()
        raise TransientError("the database is read-only") from error
    except (OperationalError, errors.IdleInTransactionSessionTimeout, errors.TransactionTimeout) as error:
        raise TransientError(f"the database gave up: {type(error).__name__}") from error


@contextmanager
def transaction() -> "Iterator[Cursor[DictRow]]":
    """Run a block in one transaction: committed at its end, rolled back when it raises.

    Raises:
        TransientError: the connection was lost, a deadlock or a time-out ended a statement.
    """
    conn = connection()
    with _transient(), conn.transaction(), conn.cursor() as cursor:
        yield cursor


def fetch_one(query: "QueryNoTemplate", values: dict[str, Any]) -> "DictRow | None":
    """Run one statement outside a transaction and return its first row.

    Raises:
        TransientError: as `transaction`.
    """
    conn = connection()
    with _transient():
        return conn.execute(query, values).fetchone()


def fetch_all(query: "QueryNoTemplate", values: dict[str, Any]) -> "list[DictRow]":
    """Run one statement outside a transaction and return its rows.

    Raises:
        TransientError: as `transaction`.
    """
    conn = connection()
    with _transient():
        return conn.execute(query, values).fetchall()


def pages(
    query: "QueryNoTemplate", values: dict[str, Any], key: Sequence[str], size: int
) -> "Iterator[list[DictRow]]":
    """Yield the rows of a query page by page, each page begun behind the last row of the one before.

    Args:
        query: is ordered by the columns of the key, begins behind `after_` and each column's name (null for
            the first page), and takes `limit`.
        key: columns whose values together are different in every row.

    Raises:
        TransientError: as `transaction`.
    """
    last: DictRow | None = None
    while True:
        after = {f"after_{column}": last and last[column] for column in key}
        page = fetch_all(query, {**values, **after, "limit": size})
        if page:
            yield page
        if len(page) < size:
            return
        last = page[-1]
