"""A copy of the source's rows, in a private file that is gone with the command.

The source is read once, in one look: what is written to it meanwhile is not half seen, and nobody who uses
it waits for a long import. Duplicates, orphans and counts are then questions to SQLite, and nothing of the
collection has to fit into memory.
"""

import base64
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cli.errors import CommandError
from cli.importer import json_rows

TABLES = ("items", "analyses", "embeddings")
IMAGES = "images"
LINES = (*TABLES, IMAGES)
"""What the reconciliation counts: rows of three tables, and the images that items name."""

Status = Literal["imported", "exists", "skipped", "failed"]

BLOB = "$blob"
"""Under this name stands what was a blob, in base64."""

SQLITE = b"SQLite format 3\x00"

_SCHEMA = """
CREATE TABLE rows (
    tbl TEXT NOT NULL, place INTEGER NOT NULL, item_id TEXT, own_id TEXT, said TEXT NOT NULL,
    PRIMARY KEY (tbl, place)
);
CREATE INDEX rows_of_item ON rows (tbl, item_id, place);
CREATE INDEX rows_by_id ON rows (tbl, own_id, place);
CREATE TABLE outcomes (
    tbl TEXT NOT NULL, place INTEGER NOT NULL, status TEXT NOT NULL, code TEXT, message TEXT,
    size INTEGER NOT NULL DEFAULT 0, sha256 TEXT,
    PRIMARY KEY (tbl, place)
) WITHOUT ROWID;
CREATE INDEX outcomes_by_status ON outcomes (tbl, status, code);
CREATE TABLE manifest (name TEXT PRIMARY KEY, size INTEGER, sha256 TEXT, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE brought (item_id TEXT PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Kept:
    """A row of the source, as it stands in the copy.

    Attributes:
        place: its place in its table, from 1 on.
        item_id: that it is, or belongs to, where it names one.
        own_id: its id, as text.
    """

    table: str
    place: int
    item_id: str | None
    own_id: str | None
    row: dict[str, Any]


def image_names(row: dict[str, Any]) -> list[str]:
    """Return the names under which a row's image may be, the best first."""
    found = [row.get("file_path"), row.get("filename")]
    return list(dict.fromkeys(name for name in found if isinstance(name, str) and name))


class Scratch:
    """The copy, and what became of each row of it.

    Attributes:
        fingerprint: SHA-256 of all rows.
        named_images: how many items name an image.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.fingerprint = ""
        self.named_images = 0

    @classmethod
    @contextmanager
    def of(cls, source: Path) -> Iterator["Scratch"]:
        """Copy a source.

        Raises:
            CommandError: it is neither a database with these tables nor an export.
        """
        # The folder's name may be foreseen, what is in it may not be read by others.
        with tempfile.TemporaryDirectory(prefix="magpie-import-") as folder:
            connection = sqlite3.connect(Path(folder) / "scratch.db", isolation_level=None)
            try:
                connection.executescript(
                    "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;" + _SCHEMA
                )
                scratch = cls(connection)
                scratch._copy(source)
                yield scratch
            finally:
                connection.close()

    def _copy(self, source: Path) -> None:
        digest = hashlib.sha256()
        places = dict.fromkeys(TABLES, 0)

        def told() -> Iterator[tuple[str, int, str | None, str | None, str]]:
            for table, row in _rows(source):
                said = json.dumps(row, default=_bytes, separators=(",", ":"))
                digest.update(f"{table}\n{said}\n".encode())
                places[table] += 1
                named = row if isinstance(row, dict) else {}
                self.named_images += table == "items" and bool(image_names(named))
                belongs = named.get("id" if table == "items" else "item_id")
                yield table, places[table], _item_id(belongs), _text(named.get("id")), said

        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", told())
        self._db.execute("COMMIT")
        self.fingerprint = digest.hexdigest()

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self._one("SELECT count(*) FROM rows WHERE tbl = ?", table))

    def rows(self, table: str) -> Iterator[Kept]:
        """Yield the rows of a table, in their order."""
        query = """
            SELECT place, item_id, own_id, said FROM rows
             WHERE tbl = ? AND place > ? ORDER BY place LIMIT 100
            """
        for place, item_id, own_id, said in self._paged(query, table):
            yield Kept(table, place, item_id, own_id, json.loads(said))

    def belonging(self, table: str, item_id: str) -> list[Kept]:
        """Return the rows of a table that name an item, in their order."""
        found = self._db.execute(
            """
            SELECT place, item_id, own_id, said FROM rows INDEXED BY rows_of_item
             WHERE tbl = ? AND item_id = ? ORDER BY place
            """,
            (table, item_id),
        )
        return [Kept(table, place, named, own_id, json.loads(said)) for place, named, own_id, said in found]

    def first_with_id(self, table: str, own_id: str) -> int:
        """Return the place of the first row of a table that has this id."""
        return int(
            self._one(
                "SELECT min(place) FROM rows INDEXED BY rows_by_id WHERE tbl = ? AND own_id = ?",
                table,
                own_id,
            )
        )

    def first_of_item(self, item_id: str) -> int:
        """Return the place of the first item with this id."""
        return int(
            self._one(
                "SELECT min(place) FROM rows INDEXED BY rows_of_item WHERE tbl = 'items' AND item_id = ?",
                item_id,
            )
        )

    def orphans(self, table: str) -> Iterator[int]:
        """Yield the places of the rows of a table that belong to no item of the source."""
        yield from (
            place
            for (place,) in self._paged(
                """
                SELECT place FROM rows
                 WHERE tbl = ? AND place > ? AND NOT EXISTS (
                       SELECT 1 FROM rows AS items INDEXED BY rows_of_item
                        WHERE items.tbl = 'items' AND items.item_id = rows.item_id)
                 ORDER BY place LIMIT 1000
                """,
                table,
            )
        )

    def _paged(self, query: str, *values: Any) -> Iterator[Any]:
        """Yield rows that begin with their place, page by page: what is noted meanwhile does no harm."""
        after = 0
        while page := self._db.execute(query, (*values, after)).fetchall():
            yield from page
            after = page[-1][0]

    # What became of the rows

    def note(
        self,
        table: str,
        place: int,
        status: Status,
        code: str | None = None,
        message: str | None = None,
        *,
        size: int = 0,
        sha256: str | None = None,
    ) -> None:
        """Note what became of a row; what is said later counts."""
        self._db.execute(
            "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)",
            (table, place, status, code, message, size, sha256),
        )

    def outcome(self, table: str, place: int) -> Status | None:
        found = self._db.execute(
            "SELECT status FROM outcomes WHERE tbl = ? AND place = ?", (table, place)
        ).fetchone()
        return found[0] if found else None

    def fail(self, table: str, place: int, code: str, message: str) -> None:
        """Turn what is noted of a row into a failure, with its size."""
        self._db.execute(
            "UPDATE outcomes SET status = 'failed', code = ?, message = ? WHERE tbl = ? AND place = ?",
            (code, message, table, place),
        )

    def totals(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Return rows and bytes by line and outcome."""
        found: dict[str, dict[str, tuple[int, int]]] = {line: {} for line in LINES}
        for line, status, count, size in self._db.execute(
            "SELECT tbl, status, count(*), sum(size) FROM outcomes GROUP BY tbl, status"
        ):
            found[line][status] = (count, size)
        return found

    def named(self, status: Status) -> Iterator[dict[str, Any]]:
        """Yield what is to be told of each row with this outcome, in the order of tables and rows."""
        for line in LINES:
            for place, own_id, item_id, code, message in self._db.execute(
                """
                SELECT outcomes.place, rows.own_id, rows.item_id, outcomes.code, outcomes.message
                  FROM outcomes
                  LEFT JOIN rows ON rows.tbl = CASE outcomes.tbl WHEN 'images' THEN 'items'
                                               ELSE outcomes.tbl END
                                AND rows.place = outcomes.place
                 WHERE outcomes.tbl = ? AND outcomes.status = ?
                 ORDER BY outcomes.place
                """,
                (line, status),
            ):
                yield {
                    "table": line,
                    "row": place,
                    "id": own_id,
                    "item_id": item_id,
                    "code": code,
                    "message": message,
                }

    def images(self) -> Iterator[tuple[int, str, str]]:
        """Yield the place, item and checksum of each image that was sent or is there."""
        yield from self._paged(
            """
            SELECT outcomes.place, rows.item_id, outcomes.sha256
              FROM outcomes JOIN rows ON rows.tbl = 'items' AND rows.place = outcomes.place
             WHERE outcomes.tbl = 'images' AND outcomes.status = 'imported' AND outcomes.place > ?
             ORDER BY outcomes.place LIMIT 1000
            """
        )

    def imported_items(self) -> Iterator[tuple[int, str]]:
        """Yield place and id of each item that this run brought."""
        yield from self._paged(
            """
            SELECT outcomes.place, rows.item_id
              FROM outcomes JOIN rows ON rows.tbl = 'items' AND rows.place = outcomes.place
             WHERE outcomes.tbl = 'items' AND outcomes.status = 'imported' AND outcomes.place > ?
             ORDER BY outcomes.place LIMIT 1000
            """
        )

    # What the server says of the items of this run

    def remember(self, items: Iterable[dict[str, Any]]) -> None:
        """Note what the server says of items."""
        self._db.executemany(
            "INSERT OR REPLACE INTO brought VALUES (?, ?)",
            ((item["item_id"], json.dumps(item)) for item in items),
        )

    def brought(self, item_id: str) -> dict[str, Any] | None:
        found = self._db.execute("SELECT said FROM brought WHERE item_id = ?", (item_id,)).fetchone()
        return dict(json.loads(found[0])) if found else None

    # The manifest

    def add_manifest(self, entries: Iterable[tuple[str, int | None, str | None]]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO manifest (name, size, sha256) VALUES (?, ?, ?)", entries)

    def expected(self, names: Sequence[str]) -> tuple[int | None, str | None] | None:
        """Return size and checksum that the manifest gives for the first of these names that it has."""
        for name in names:
            found = self._db.execute("SELECT size, sha256 FROM manifest WHERE name = ?", (name,)).fetchone()
            if found:
                self._db.execute("UPDATE manifest SET used = 1 WHERE name = ?", (name,))
                return found[0], found[1]
        return None

    def unused(self) -> int:
        """How many entries of the manifest no item named."""
        return int(self._one("SELECT count(*) FROM manifest WHERE NOT used"))

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()[0]


def _rows(source: Path) -> Iterator[tuple[str, Any]]:
    try:
        with source.open("rb") as file:
            begin = file.read(len(SQLITE))
    except OSError as error:
        raise CommandError("no_source", f"{source} cannot be read: {error.strerror or error}.") from error
    if begin == SQLITE:
        return _rows_of_database(source)
    return json_rows.rows(source, frozenset(TABLES))


def _rows_of_database(source: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a database, all of one moment, which is only read."""
    try:
        connection = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            # What is no UTF-8 becomes half characters, which are then reported row by row.
            connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            connection.execute("BEGIN")
            names = {
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type <> 'index'")
            }
            if "items" not in names:
                raise CommandError("bad_source", f"{source.name} has no table items.")
            for table in TABLES:
                if table not in names:
                    continue
                found = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - of our own list
                columns = [column[0] for column in found.description]
                for row in found:
                    yield table, dict(zip(columns, row, strict=True))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise CommandError("bad_source", f"{source.name} cannot be read as a database: {error}.") from error


def _bytes(value: bytes) -> dict[str, str]:
    """A blob, which a vector may be, and nothing else."""
    return {BLOB: base64.b64encode(value).decode()}


def _item_id(value: Any) -> str | None:
    from functions.api import import_rows

    try:
        return str(import_rows.item_id({"id": value}))
    except import_rows.RowError:
        return None


def _text(value: Any) -> str | None:
    """Return an id as text that SQLite takes; one that it would not is refused later anyway."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).encode("utf-8", "replace").decode()
