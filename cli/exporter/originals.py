"""Write originals into a folder, several at a time, each checked before it stands under its name."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cli.client import Api, ApiError
from cli.errors import CommandError
from cli.exporter import rows
from cli.exporter.copy import Copy
from cli.importer.progress import Progress

PARALLEL = 8
AT_ONCE = 100
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Wanted:
    """An original, and where it is to be written to."""

    item_id: str
    url: str
    path: Path
    size: int
    sha256: str


@dataclass
class Written:
    """What was written, and what could not be."""

    count: int = 0
    size: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)


def write(api: Api, copy: Copy, folder: Path, progress: Progress) -> Written:
    """Write the original of every item that has one, and note in the copy where it is.

    Raises:
        CommandError: the API cannot be reached.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = folder.resolve()
    written = Written()
    wanted = _wanted(copy, folder, written)
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="download") as pool:
        while batch := list(islice(wanted, AT_ONCE)):
            for each, failure in zip(batch, pool.map(lambda one: _write(api, one), batch), strict=True):
                if failure is None:
                    written.count += 1
                    written.size += each.size
                    progress.sent(each.size)
                else:
                    written.failed.append(
                        {"item_id": each.item_id, "code": failure.code, "message": failure.message}
                    )
            progress.went(len(batch))
    return written


def _wanted(copy: Copy, folder: Path, written: Written) -> Iterator[Wanted]:
    for row, objects in copy.items():
        original = objects.get("original")
        if original is None or row["sha256"] is None:
            continue
        for name in rows.paths(row, copy.came(row["item_id"])):
            path = folder / name
            if name != MANIFEST and _is_free(folder, path, row["sha256"]) and copy.claim(
                row["item_id"], name, row["sha256"]
            ):  # fmt: skip
                yield Wanted(row["item_id"], original["url"], path, row["file_size"], row["sha256"])
                break
        else:
            message = "There is a file of another content in the place of every name that it could have."
            written.failed.append({"item_id": row["item_id"], "code": "no_place", "message": message})


def _is_free(folder: Path, path: Path, sha256: str) -> bool:
    """Say whether a file may be written: below the folder, and in the place of nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.parent.resolve().is_relative_to(folder):
            return False
        return not os.path.lexists(path) or (path.is_file() and _sha256(path) == sha256)
    except OSError:  # a name that this file system does not take, or a file where a folder should be
        return False


def _write(api: Api, wanted: Wanted) -> CommandError | None:
    try:
        if wanted.path.exists():  # by an earlier run, or by another item with the same image
            return None
        with tempfile.NamedTemporaryFile(dir=wanted.path.parent, prefix=".magpie-", delete=False) as file:
            try:
                _fetch(api, wanted, file)
                file.flush()
                os.fsync(file.fileno())
                if _sha256(Path(file.name)) != wanted.sha256:
                    return CommandError("sha256_differs", "What is stored has another SHA-256 than its item.")
                Path(file.name).replace(wanted.path)
            finally:
                Path(file.name).unlink(missing_ok=True)
    except CommandError as error:
        if error.code in {"unreachable", "signed_out"}:
            raise
        return error
    except OSError as error:
        return CommandError("io_error", f"It cannot be written: {error.strerror or type(error).__name__}.")
    return None


def _fetch(api: Api, wanted: Wanted, file: Any) -> None:
    try:
        api.fetch(wanted.url, file)
    except ApiError as error:
        if error.status != 403:
            raise
        # The URLs of the copy have ended with the credentials that signed them.
        url = api.item(wanted.item_id)["views"]["original"]
        if not url:
            raise
        api.fetch(url, file)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
