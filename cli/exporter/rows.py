"""The rows of an export: what came with an import as it came, and what is ours in the same columns."""

import base64
import json
import struct
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from functions.api import import_rows
from functions.api.import_rows import ANALYSIS_COLUMNS, EMBEDDING_COLUMNS, ITEM_COLUMNS, RowError
from functions.api.upload import clean_filename

Row = dict[str, Any]

FORMATS = {
    "JPEG": ("jpg", "image/jpeg"),
    "MPO": ("jpg", "image/jpeg"),
    "PNG": ("png", "image/png"),
    "GIF": ("gif", "image/gif"),
    "WEBP": ("webp", "image/webp"),
    "TIFF": ("tiff", "image/tiff"),
    "BMP": ("bmp", "image/bmp"),
    "AVIF": ("avif", "image/avif"),
    "HEIF": ("heic", "image/heic"),
    "HEIC": ("heic", "image/heic"),
}
"""Suffix and type of what image_processor calls a format."""


def item(row: Row, came: Row | None, path: str | None) -> Row:
    """Return a row of `items`.

    Args:
        came: what an import said of it.
        path: where its image was written to, where it was.
    """
    source = came["source"] if came else {}
    suffix, kind = _kind(row)
    filename = source.get("filename") or f"{row['item_id']}{suffix}"
    name = source.get("original_filename")
    if came is None or clean_filename(name or source.get("filename") or "") != row["filename"]:
        name = row["filename"]
    has_image = row["sha256"] is not None
    return _columns(
        ITEM_COLUMNS,
        {
            "id": row["item_id"],
            "filename": filename,
            "original_filename": name,
            "file_path": path or source.get("file_path") or filename,
            "file_size": row["file_size"] if has_image else source.get("file_size"),
            "mime_type": kind or source.get("mime_type")
            if _is_another(row, came)
            else source.get("mime_type"),
            "created_at": _time(source.get("created_at"), row["created_at"]),
            "updated_at": _time(source.get("updated_at"), row["updated_at"]),
        },
    )


def paths(row: Row, came: Row | None) -> list[str]:
    """Return where an item's image may be written to, the best first, each below its folder."""
    exported = item(row, came, None)
    wanted = [exported["file_path"], exported["filename"], f"{row['item_id']}{_kind(row)[0]}"]
    return [path for path in dict.fromkeys(wanted) if _is_inside(path)]


def analysis(row: Row) -> Row:
    """Return a row of `analyses`."""
    if row["source"] is not None:
        return _columns(
            ANALYSIS_COLUMNS, {**row["source"], "item_id": row["item_id"], "version": row["version"]}
        )
    return _columns(
        ANALYSIS_COLUMNS,
        {
            **row,
            "id": row["analysis_id"],
            "raw_response": json.dumps(row["raw_response"], ensure_ascii=False),
            "created_at": _time(None, row["created_at"]),
        },
    )


def embedding(row: Row, came: Row | None, analyses: dict[int, Any]) -> Row:
    """Return a row of `embeddings`.

    Args:
        analyses: the exported ids of the item's analyses, by version.
    """
    halves = base64.b64decode(row["embedding"])
    vector = list(struct.unpack(f"<{len(halves) // 2}e", halves))
    kept = came is not None and came["embedding_source"] is not None and (
        came["embedding_model"], came["embedding_version"], came["embedded_at"],
    ) == (row["model"], row["analysis_version"], row["created_at"])  # fmt: skip
    if kept and came is not None:
        told = {**came["embedding_source"], "item_id": row["item_id"], "embedding": vector}
        return _columns(EMBEDDING_COLUMNS, told)
    place = f"{row['item_id']}/{row['model']}/{row['analysis_version']}"
    return _columns(
        EMBEDDING_COLUMNS,
        {
            "id": str(uuid5(NAMESPACE_URL, f"magpie:embedding:{place}")),
            "item_id": row["item_id"],
            "analysis_id": analyses.get(row["analysis_version"]),
            "embedding": vector,
            "embedding_model": row["model"],
            "embedding_dimensions": row["dimensions"],
            "embedding_source": json.dumps({"sha256": row["source_hash"]}),
            "created_at": _time(None, row["created_at"]),
        },
    )


def _columns(columns: tuple[str, ...], row: Row) -> Row:
    return {name: row.get(name) for name in columns}


def _kind(row: Row) -> tuple[str, str | None]:
    """Return suffix and type of an item's image: by what it is, else by its name."""
    if row["format"] in FORMATS:
        suffix, kind = FORMATS[row["format"]]
        return f".{suffix}", kind
    suffix = PurePosixPath(row["filename"]).suffix
    return (suffix if suffix.isascii() and 1 < len(suffix) <= 16 else ""), None


def _is_another(row: Row, came: Row | None) -> bool:
    """Say whether the image is another than the one that came, or none came."""
    return came is None or not came["source"].get("mime_type") or (
        row["sha256"] is not None and came["sha256"] != row["sha256"]
    )  # fmt: skip


def _time(source: Any, now: str) -> str:
    """Return a time as the source wrote it, as long as it is the same; else without zone, in UTC."""
    moment = datetime.fromisoformat(now).astimezone(UTC)
    try:
        if source is not None and import_rows.moment({"at": source}, "at") == moment:
            return str(source)
    except RowError:
        pass  # it was never one
    return moment.replace(tzinfo=None).isoformat()


def _is_inside(path: Any) -> bool:
    if not isinstance(path, str) or not path or "\x00" in path or "\\" in path:
        return False
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and not path.endswith("/")
