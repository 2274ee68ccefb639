"""Which SQL files are still to be applied, and applying them, each once and in its own transaction."""

import hashlib
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from shared.errors import MagpieError, TransientError

if TYPE_CHECKING:
    from psycopg import Connection, Cursor
    from psycopg.rows import DictRow

logger = Logger(child=True)

FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

LOCK = 0x6D61_6770_6965
"""Key of the advisory lock: "magpie" in ASCII."""


class MigrationError(MagpieError):
    """The files and the database do not belong together, or a file cannot be applied."""


@dataclass(frozen=True)
class Migration:
    """One numbered file.

    Attributes:
        sha256: of its text with Unix line ends, so that a checkout on another system is the same file.
    """

    name: str
    sql: bytes

    @property
    def number(self) -> int:
        return int(self.name[:4])

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.replace(b"\r\n", b"\n")).hexdigest()


def find(package: str = "migrations") -> list[Migration]:
    """Return the numbered files of a package, in order.

    Raises:
        MigrationError: there are none, a name is not numbered, a number is there twice or is missing.
    """
    files = [
        Migration(file.name, file.read_bytes())
        for file in importlib.resources.files(package).iterdir()
        if file.name.endswith(".sql")
    ]
    return ordered(files)


def ordered(files: Sequence[Migration]) -> list[Migration]:
    """Return the files in order of their numbers, which must be 1, 2, 3, ...

    Raises:
        MigrationError: as `find`.
    """
    if not files:
        raise MigrationError("there are no migrations to apply: the folder did not come along")
    for file in files:
        if not FILE_NAME.fullmatch(file.name):
            raise MigrationError(f"{file.name} is not named like 0001_what_it_does.sql")
    migrations = sorted(files, key=lambda migration: migration.number)
    for expected, migration in enumerate(migrations, start=1):
        if migration.number < expected:
            raise MigrationError(f"number {migration.number:04} is there twice: {migration.name}")
        if migration.number > expected:
            raise MigrationError(f"number {expected:04} is missing before {migration.name}")
    return migrations


def apply(connection: "Connection[DictRow]", migrations: Sequence[Migration], seconds: float) -> list[str]:
    """Apply what the database has not seen yet.

    Two runs at once are safe: each step holds an advisory lock and looks again, so the second waits
    and then finds nothing to do. The lock ends with the transaction, so that none is left behind and
    a pooler in transaction mode does no harm.

    Args:
        connection: in autocommit mode.
        migrations: all files, in order.
        seconds: the most that one file, and waiting for another run, may take.

    Returns:
        The names of the files applied, in order.

    Raises:
        MigrationError: an applied file was edited, or a file fails; those before it stay applied.
        TransientError: the connection was lost or another run held the lock for too long.
    """
    import psycopg

    done: list[str] = []
    try:
        for migration in _pending(connection, migrations, seconds):
            with connection.transaction(), connection.cursor() as cursor:
                if migration.name in _locked(cursor, seconds):
                    continue  # another run was faster
                try:
                    cursor.execute(migration.sql)
                except psycopg.OperationalError:
                    raise
                except psycopg.DatabaseError as error:
                    raise MigrationError(f"{migration.name} fails: {error.diag.message_primary}") from error
                cursor.execute(
                    "INSERT INTO schema_migrations (name, sha256) VALUES (%(name)s, %(sha256)s)",
                    {"name": migration.name, "sha256": migration.sha256},
                )
            logger.info("migration applied", migration=migration.name)
            done.append(migration.name)
    except psycopg.OperationalError as error:
        raise TransientError(f"the database gave up: {type(error).__name__}") from error
    return done


def _pending(
    connection: "Connection[DictRow]", migrations: Sequence[Migration], seconds: float
) -> list[Migration]:
    with connection.transaction(), connection.cursor() as cursor:
        applied = _locked(cursor, seconds)
    names = {migration.name for migration in migrations}
    for migration in migrations:
        if applied.get(migration.name, migration.sha256) != migration.sha256:
            raise MigrationError(
                f"{migration.name} was edited after it was applied; write a new file instead"
            )
    ahead = sorted(set(applied) - names)
    if ahead and int(ahead[0][:4]) <= len(migrations):
        raise MigrationError(f"{ahead[0]} was applied and is gone or has another name")
    if ahead:
        # A deployment that is rolled back brings fewer files than the database has seen.
        logger.warning("the database is ahead of this code", migrations=ahead)
    pending = [migration for migration in migrations if migration.name not in applied]
    if pending and pending[0].number <= len(applied):
        raise MigrationError(f"{pending[0].name} was slipped in between files that are applied")
    return pending


def _locked(cursor: "Cursor[DictRow]", seconds: float) -> Mapping[str, Any]:
    """Wait for the lock, which this transaction then holds, and return checksums by applied file."""
    cursor.execute("SELECT set_config('statement_timeout', %(ms)s, true)", {"ms": str(int(seconds * 1000))})
    cursor.execute("SELECT pg_advisory_xact_lock(%(key)s)", {"key": LOCK})
    cursor.execute(
        """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            name       text        PRIMARY KEY,
            sha256     text        NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """
    )
    cursor.execute("SELECT name, sha256 FROM schema_migrations")
    return {row["name"]: row["sha256"] for row in cursor.fetchall()}
