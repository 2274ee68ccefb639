"""`magpie export`: write everything out in the format that `magpie import` reads."""

import contextlib
import json as json_format
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.options import ApiUrl, Data, Json

if TYPE_CHECKING:
    from cli.exporter.copy import Copy


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON file to write.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the originals into this folder too, with a manifest.json.",
            show_default=False,
            file_okay=False,
        ),
    ] = None,
    json: Json = False,
    data: Data = None,
    api_url: ApiUrl = None,
) -> int:
    """Write items, every version of what was said of them, and their vectors.

    The file is there once it is complete, for nobody else to read. Corrections have no place in the format:
    the copy of `GET /export` has everything. Exits 1 when an original could not be written.
    """
    from cli.connect import connect
    from cli.exporter import originals
    from cli.exporter.copy import Copy
    from cli.importer.progress import Progress
    from cli.output import Output, duration, listed, size

    out = Output(json)
    started = time.monotonic()
    if not file.parent.is_dir():
        raise CommandError("io_error", f"There is no folder {file.parent}.")
    with connect(data, api_url) as api:
        out.step("having a copy of now made")
        with Copy.of(api) as copy:
            written = None
            if images is not None:
                with Progress(out, "Originals", sum(1 for _ in copy.items())) as progress:
                    written = originals.write(api, copy, images, progress)
            with replacing(file) as stream:
                counts = write(copy, stream, datetime.now(UTC))
            if images is not None:
                with replacing(images / originals.MANIFEST) as stream:
                    write_manifest(copy, stream)
    seconds = time.monotonic() - started
    failed = written.failed if written else []
    if json:
        out.document(
            {
                "path": str(file),
                **counts,
                "images": {"written": written.count, "bytes": written.size} if written else None,
                "failed": failed,
                "seconds": round(seconds, 2),
            }
        )
    else:
        said = [listed(counts["items"], "item"), listed(counts["analyses"], "analysis", "analyses")]
        said.append(listed(counts["embeddings"], "vector"))
        if written:
            said.append(f"{listed(written.count, 'original')} ({size(written.size)})")
        out.line(f"{', '.join(said)} in {duration(seconds * 1000)}: {file}")
        if counts["left_out"]:
            out.note(f"{listed(counts['left_out'], 'item')} left out, of which nothing was ever uploaded.")
        for each in failed:
            out.note(f"{each['item_id']}: {each['code']}: {each['message']}", "red")
    return 1 if failed else 0


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """Give out a file that takes the place of another once it is complete, readable by its owner only.

    Raises:
        OSError: it cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")  # of mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def write(copy: "Copy", stream: IO[str], now: datetime) -> dict[str, int]:
    """Write the export, row by row; returns how many rows each table has."""
    counts = {"items": 0, "analyses": 0, "embeddings": 0, "left_out": 0}
    stream.write(f'{{"exported_at": {json_format.dumps(now.replace(tzinfo=None).isoformat())}, "tables": {{')
    for place, (table, rows) in enumerate(_tables(copy, counts)):
        stream.write(f'{"," if place else ""}\n"{table}": [')
        for number, row in enumerate(rows):
            stream.write(("," if number else "") + "\n" + json_format.dumps(row, allow_nan=False))
            counts[table] += 1
        stream.write("]")
    stream.write("}}\n")
    return counts


def write_manifest(copy: "Copy", stream: IO[str]) -> None:
    """Write size and checksum of every image that was written, under the name of its row."""
    from cli.exporter import rows

    named: set[str] = set()
    stream.write('{"images": [')
    for row, _ in copy.items():
        path = copy.path(row["item_id"])
        if path is None:
            continue
        filename = rows.item(row, copy.came(row["item_id"]), path)["filename"]
        # A name that two have tells nothing: then the path does.
        name = path if filename in named else filename
        if name in named:
            continue
        entry = {"filename": name, "size": row["file_size"], "sha256": row["sha256"]}
        stream.write(("," if named else "") + "\n" + json_format.dumps(entry))
        named.add(name)
    stream.write("]}\n")


def _tables(copy: "Copy", counts: dict[str, int]) -> Iterator[tuple[str, Iterable[dict[str, Any]]]]:
    from cli.exporter import rows

    def items() -> Iterator[dict[str, Any]]:
        for row, objects in copy.items():
            if not objects.get("original") and next(copy.analyses(row["item_id"]), None) is None:
                counts["left_out"] += 1
                continue
            yield rows.item(row, copy.came(row["item_id"]), copy.path(row["item_id"]))

    def analyses() -> Iterator[dict[str, Any]]:
        for row, _ in copy.items():
            yield from map(rows.analysis, copy.analyses(row["item_id"]))

    def embeddings() -> Iterator[dict[str, Any]]:
        for row, _ in copy.items():
            vector = copy.embedding(row["item_id"])
            if vector is not None:
                ids = {each["version"]: rows.analysis(each)["id"] for each in copy.analyses(row["item_id"])}
                yield rows.embedding(vector, copy.came(row["item_id"]), ids)

    yield "items", items()
    yield "analyses", analyses()
    yield "embeddings", embeddings()
