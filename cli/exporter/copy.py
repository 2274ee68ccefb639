"""A copy of everything of a user, as the API makes it, in a private file that is gone with the command.

The API's copy is of one moment and in the order of its tables; an export needs what belongs to an item
together. So its lines go into a scratch file first, and nothing of the collection has to fit into memory.
"""

import gzip
import hashlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.client import Api
from cli.errors import CommandError

TABLES = ("items", "import_items", "analyses", "embeddings")
CHUNK = 1 << 20
FIRST_LOOK, SLOWEST_LOOK = 0.2, 3.0
"""Seconds between two looks whether the API has made its copy."""
AT_ONCE = 100

_SCHEMA = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE rows (
    tbl TEXT NOT NULL, item_id TEXT NOT NULL, version INTEGER NOT NULL, said TEXT NOT NULL, objects TEXT,
    PRIMARY KEY (tbl, item_id, version)
) WITHOUT ROWID;
CREATE TABLE paths (item_id TEXT PRIMARY KEY, path TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE taken (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
"""


class Copy:
    """What the API's copy says of items."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    @contextmanager
    def of(cls, api: Api, pause: Callable[[float], None] = time.sleep) -> Iterator["Copy"]:
        """Have the API make a copy of now, and fetch it.

        Raises:
            CommandError: it could not be made or fetched.
        """
        with tempfile.TemporaryDirectory(prefix="magpie-export-") as folder:
            file = Path(folder) / "copy.ndjson.gz"
            _fetch(api, file, pause)
            connection = sqlite3.connect(Path(folder) / "scratch.db", isolation_level=None)
            try:
                connection.executescript(_SCHEMA)
                copy = cls(connection)
                copy._read(file)
                file.unlink()
                yield copy
            finally:
                connection.close()

    def _read(self, file: Path) -> None:
        def rows() -> Iterator[tuple[str, str, int, str, str | None]]:
            with gzip.open(file, "rb") as lines:
                for line in lines:
                    told = json.loads(line)
                    if told.get("table") not in TABLES:
                        continue
                    row = told["row"]
                    version = row["version"] if told["table"] == "analyses" else 0
                    objects = json.dumps(told["objects"]) if "objects" in told else None
                    yield told["table"], row["item_id"], version, json.dumps(row), objects

        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", rows())
            self._db.execute("COMMIT")
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise CommandError("bad_answer", "The copy that the API made cannot be read.") from error

    def items(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield each item with its objects, in the order of their ids."""
        after = ""
        while page := self._db.execute(
            """
            SELECT item_id, said, objects FROM rows
             WHERE tbl = 'items' AND item_id > ? ORDER BY item_id LIMIT ?
            """,
            (after, AT_ONCE),
        ).fetchall():
            for _, said, objects in page:
                yield json.loads(said), json.loads(objects or "{}")
            after = page[-1][0]

    def came(self, item_id: str) -> dict[str, Any] | None:
        """Return what an import said of an item, None where none brought it."""
        return next(self._of("import_items", item_id), None)

    def analyses(self, item_id: str) -> Iterator[dict[str, Any]]:
        """Yield the versions of an item's analysis, the first first."""
        return self._of("analyses", item_id)

    def embedding(self, item_id: str) -> dict[str, Any] | None:
        return next(self._of("embeddings", item_id), None)

    def _of(self, table: str, item_id: str) -> Iterator[dict[str, Any]]:
        for (said,) in self._db.execute(
            "SELECT said FROM rows WHERE tbl = ? AND item_id = ? ORDER BY version", (table, item_id)
        ).fetchall():
            yield json.loads(said)

    # Where images are written to

    def claim(self, item_id: str, path: str, sha256: str) -> bool:
        """Let an image of this content be at a path, unless one of another content is."""
        self._db.execute("INSERT OR IGNORE INTO taken VALUES (?, ?)", (path, sha256))
        (there,) = self._db.execute("SELECT sha256 FROM taken WHERE path = ?", (path,)).fetchone()
        if there != sha256:
            return False
        self._db.execute("INSERT OR REPLACE INTO paths VALUES (?, ?)", (item_id, path))
        return True

    def path(self, item_id: str) -> str | None:
        """Return where an item's image was written to."""
        found = self._db.execute("SELECT path FROM paths WHERE item_id = ?", (item_id,)).fetchone()
        return str(found[0]) if found else None


def _fetch(api: Api, file: Path, pause: Callable[[float], None]) -> None:
    export, seconds = api.export(fresh=True), FIRST_LOOK
    while export["status"] == "running":
        pause(seconds)
        seconds = min(seconds * 1.5, SLOWEST_LOOK)
        export = api.export(fresh=False)
    if export["status"] != "succeeded":
        raise CommandError("export_failed", f"The API could not make the copy: {export['error']}")
    with file.open("wb") as out:
        api.fetch(export["url"], out)
    with file.open("rb") as written:
        if hashlib.file_digest(written, "sha256").hexdigest() != export["sha256"]:
            raise CommandError("bad_answer", "The copy did not arrive as it was made: try again.")
