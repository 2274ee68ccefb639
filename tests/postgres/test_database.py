"""The connection: commits are real, and a dead one is replaced."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from shared import database, parameters
from shared.errors import TransientError


@pytest.fixture
def connected(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The function's own connection leads to this test's database."""
    monkeypatch.setenv("DATABASE_URL_PARAMETER", "/magpie/test/database-url")
    monkeypatch.setattr(parameters, "get", lambda name: database_url)
    database.close()
    yield database_url
    database.close()


def add_item(cursor: Any, item_id: str = "0193f000-0000-7000-8000-000000000001") -> None:
    cursor.execute(
        "INSERT INTO items (user_id, item_id, filename, object_key) VALUES ('u', %s, 'f', 'k')", (item_id,)
    )


def count(db: Any) -> int:
    return db.execute("SELECT count(*) AS n FROM items").fetchone()["n"]


def test_a_transaction_commits_also_after_a_select(connected: str, db: Any) -> None:
    database.fetch_one("SELECT 1 AS one", {})
    with database.transaction() as cursor:
        add_item(cursor)
    assert count(db) == 1


def test_a_transaction_that_raises_leaves_nothing(connected: str, db: Any) -> None:
    def fail() -> None:
        with database.transaction() as cursor:
            add_item(cursor)
            raise KeyError("bug")

    with pytest.raises(KeyError):
        fail()
    assert count(db) == 0
    assert database.connection().info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_connection_that_the_server_killed_is_replaced(
    connected: str, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = database.connection()
    db.execute("SELECT pg_terminate_backend(%s)", (first.info.backend_pid,))
    monkeypatch.setattr(database, "IDLE_SECONDS", -1.0)
    with database.transaction() as cursor:
        add_item(cursor)
    assert count(db) == 1


def test_a_connection_lost_in_the_middle_is_a_transient_error(connected: str, db: Any) -> None:
    def lose() -> None:
        with database.transaction() as cursor:
            add_item(cursor)
            db.execute("SELECT pg_terminate_backend(%s)", (database.connection().info.backend_pid,))
            add_item(cursor, "0193f000-0000-7000-8000-000000000002")

    with pytest.raises(TransientError):
        lose()
    assert count(db) == 0


def test_a_database_that_is_not_there_is_a_transient_error() -> None:
    with pytest.raises(TransientError, match="cannot be reached"):
        database.connect("postgresql://postgres@/nothing?host=/nonexistent")


def test_a_bug_in_sql_is_not_called_transient(connected: str) -> None:
    def broken() -> None:
        with database.transaction() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")

    with pytest.raises(psycopg.errors.UndefinedTable):
        broken()


def test_a_writer_that_became_a_reader_is_left_for_a_new_connection(connected: str, db: Any) -> None:
    database.connection().execute("SET default_transaction_read_only = on")  # as after a failover

    def write() -> None:
        with database.transaction() as cursor:
            add_item(cursor)

    with pytest.raises(TransientError, match="read-only"):
        write()
    write()
    assert count(db) == 1


def test_times_are_utc(connected: str) -> None:
    row = database.fetch_one("SELECT now() AS now", {})
    assert row is not None
    assert row["now"].utcoffset().total_seconds() == 0
