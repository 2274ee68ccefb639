"""Read rows that come from elsewhere, and say of each that cannot be taken what is wrong with it.

A row is a mapping as SQLite or JSON gives it: names of columns, and whatever stands in them. Columns may be
missing or unknown. The command line reads rows by the same rules before it sends them, so that a dry run and
the import agree.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn
from uuid import NAMESPACE_URL, UUID, uuid5

from functions.api import upload, wording
from shared import embeddings
from shared.errors import MagpieError

Row = Mapping[str, Any]

Code = Literal[
    "bad_id",
    "duplicate_id",
    "duplicate_version",
    "wrong_type",
    "too_long",
    "nul",
    "surrogate",
    "bad_date",
    "bad_json",
    "bad_vector",
    "wrong_dimensions",
    "nothing_to_import",
    "too_large",
    "being_deleted",
    "over_quota",
]
"""Why a row cannot be taken."""

ITEM_COLUMNS = (
    "id",
    "filename",
    "original_filename",
    "file_path",
    "file_size",
    "mime_type",
    "created_at",
    "updated_at",
)
ANALYSIS_COLUMNS = (
    "id",
    "item_id",
    "version",
    "category",
    "summary",
    "raw_response",
    "provider_used",
    "model_used",
    "trace_id",
    "created_at",
)
EMBEDDING_COLUMNS = (
    "id",
    "item_id",
    "analysis_id",
    "embedding",
    "embedding_model",
    "embedding_dimensions",
    "embedding_source",
    "created_at",
)
"""What is kept of a row; a vector is kept as one."""

MAX_NAME = 4096
MAX_TEXT = 1 << 20
"""Characters of a name, an id or a path, and of a longer text."""
MAX_DEPTH = 100
"""Of JSON within JSON. PostgreSQL takes more; nobody means more."""
MAX_VERSION = 2**31 - 1
MAX_BYTES = 2**63 - 1
SHOWN_CATEGORY, SHOWN_HEADLINE = 80, 200
"""Characters that are shown, and filtered by: those that a model of ours is held to."""
NO_CATEGORY = "Uncategorized"
UNKNOWN = "unknown"
"""Provider or model that the source does not tell."""

PROVIDERS = {
    "anthropic.": "bedrock",
    "claude": "anthropic",
    "gpt": "openai",
    "chatgpt": "openai",
    "gemini": "google",
}
"""Whose a model is, by the beginning of its name."""

_TEXTS = {"": ("category", "headline", "summary"), "media_metadata": ("original_poster", "audio_source"),
          "image_details": ("likely_source", "key_interest")}  # fmt: skip
_LISTS = {"": ("subcategories",), "media_metadata": ("tagged_accounts", "location_tags", "hashtags"),
          "image_details": ("extracted_text", "objects", "themes", "emotions", "vibes",
                            "visual_hierarchy")}  # fmt: skip
"""By the part of an analysis: its fields that hold a text, and those that hold several."""


class RowError(MagpieError):
    """A row cannot be taken.

    Args:
        code: of the closed list.
        sentence: what is wrong, in words for whoever imports; it names columns and never their content.
    """

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.code: Code = code
        self.sentence = sentence


@dataclass(frozen=True)
class Item:
    """An item as it comes.

    Attributes:
        filename: as it is shown.
        source: the row itself, as far as its columns are known.
    """

    item_id: UUID
    filename: str
    mime_type: str | None
    file_size: int | None
    created_at: datetime | None
    updated_at: datetime | None
    source: dict[str, Any]


@dataclass(frozen=True)
class Analysis:
    """An analysis as it comes.

    Attributes:
        raw: what the model said, in the shape that ours have; what has another shape is only in `source`.
        version: None where the source numbers none.
    """

    analysis_id: UUID
    version: int | None
    category: str
    headline: str
    summary: str
    raw: dict[str, Any]
    provider: str
    model: str
    trace_id: str | None
    created_at: datetime | None
    source: dict[str, Any]


@dataclass(frozen=True)
class Embedding:
    """A vector as it comes.

    Attributes:
        analysis_id: which analysis it speaks of; None for the newest.
        vector: in pgvector's text form; None where it has another number of dimensions than ours.
        source: the row without the vector.
    """

    analysis_id: UUID | None
    vector: str | None
    model: str
    dimensions: int
    created_at: datetime | None
    source: dict[str, Any]


def item_id(row: Row, column: str = "id") -> UUID:
    """Return the id of an item.

    Raises:
        RowError: it is no UUID.
    """
    value = row.get(column)
    try:
        if isinstance(value, str) and len(value) <= MAX_NAME:
            return UUID(value)
    except ValueError:
        pass
    raise RowError("bad_id", f"{column} is not a UUID.")


def read_item(row: Row) -> Item:
    """Read a row of `items`.

    Raises:
        RowError: it cannot be taken.
    """
    identity = item_id(row)
    file_size = row.get("file_size")
    if file_size is not None and (type(file_size) is not int or not 0 <= file_size <= MAX_BYTES):
        raise RowError("wrong_type", "file_size is not a number of bytes.")
    names = {
        name: _text(row, name, MAX_NAME)
        for name in ("filename", "original_filename", "file_path", "mime_type")
    }
    created_at = moment(row, "created_at")
    return Item(
        item_id=identity,
        filename=upload.clean_filename(names["original_filename"] or names["filename"] or ""),
        mime_type=names["mime_type"],
        file_size=file_size,
        created_at=created_at,
        updated_at=moment(row, "updated_at") or created_at,
        source=_kept(row, ITEM_COLUMNS),
    )


def read_analysis(row: Row) -> Analysis:
    """Read a row of `analyses`.

    Raises:
        RowError: it cannot be taken.
    """
    version = row.get("version")
    if version is not None and (type(version) is not int or not 1 <= version <= MAX_VERSION):
        raise RowError("wrong_type", "version is not a whole number from 1 on.")
    raw, written = _raw(row)
    category, summary = _text(row, "category", MAX_TEXT), _text(row, "summary", MAX_TEXT)
    said = shaped(raw)
    for name, value in (("category", category), ("summary", summary)):
        if value and not said.get(name, "").strip():
            said[name] = value
    category = wording.one_line(category or said.get("category") or "")[:SHOWN_CATEGORY]
    summary = summary or said.get("summary") or ""
    model = _text(row, "model_used", MAX_NAME) or UNKNOWN
    return Analysis(
        analysis_id=_id_of(row, "id"),
        version=version,
        category=category or NO_CATEGORY,
        headline=wording.one_line(said.get("headline") or summary)[:SHOWN_HEADLINE],
        summary=summary,
        raw=said,
        provider=_text(row, "provider_used", MAX_NAME) or provider_of(model),
        model=model,
        trace_id=_text(row, "trace_id", MAX_NAME),
        created_at=moment(row, "created_at"),
        source=_kept(row, ANALYSIS_COLUMNS) | {"raw_response": written},
    )


def read_embedding(row: Row) -> Embedding:
    """Read a row of `embeddings`.

    Raises:
        RowError: it cannot be taken.
    """
    numbers = read_vector(row.get("embedding"))
    dimensions = row.get("embedding_dimensions")
    if dimensions is not None and type(dimensions) is not int:
        raise RowError("wrong_type", "embedding_dimensions is not a whole number.")
    if dimensions not in (None, len(numbers)):
        raise RowError("wrong_dimensions", f"The vector has {len(numbers)} numbers, and says {dimensions}.")
    source = row.get("embedding_source")
    if isinstance(source, str):
        _checked(_parsed(source, "embedding_source"), "embedding_source")
    elif source is not None and not isinstance(source, dict | list):
        raise RowError("wrong_type", "embedding_source is not text that holds JSON.")
    _checked(source, "embedding_source")
    vector = None
    if len(numbers) == embeddings.DIMENSIONS:
        try:
            vector = embeddings.halfvec(numbers)
        except embeddings.InvalidVectorError as error:
            raise RowError("bad_vector", f"The embedding is {error}.") from error
    _id_of(row, "id")
    return Embedding(
        analysis_id=None if row.get("analysis_id") is None else _id_of(row, "analysis_id"),
        vector=vector,
        model=_text(row, "embedding_model", MAX_NAME) or UNKNOWN,
        dimensions=len(numbers),
        created_at=moment(row, "created_at"),
        source=_kept(row, [name for name in EMBEDDING_COLUMNS if name != "embedding"]),
    )


def numbered(analyses: Sequence[Analysis]) -> list[int]:
    """Return the version of each analysis of an item: its own, or the next where it has none."""
    taken = {each.version for each in analyses}
    versions, last = [], 0
    for each in analyses:
        if each.version is None:
            last += 1
            while last in taken:
                last += 1
        versions.append(last if each.version is None else each.version)
    return versions


def shaped(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a model said with each known field in the shape that it has with us, or without it.

    What is not known stays as it is. A text where there should be several is the one of them.
    """
    shown = dict(raw or {})
    for name in [name for name in _TEXTS if name]:
        if name in shown and not isinstance(shown[name], dict):
            del shown[name]
        elif name in shown:
            shown[name] = dict(shown[name])
    for part, holder in [("", shown), *((name, shown.get(name, {})) for name in _TEXTS if name)]:
        for name in _TEXTS[part]:
            if name in holder and not isinstance(holder[name], str):
                del holder[name]
        for name in _LISTS[part]:
            if name in holder:
                value = holder[name]
                texts = value if isinstance(value, list) else [value]
                holder[name] = [each for each in texts if isinstance(each, str) and each]
    return shown


def provider_of(model: str) -> str:
    """Return whose a model is, as far as its name tells."""
    name = model.lower()
    return next((whose for begin, whose in PROVIDERS.items() if name.startswith(begin)), UNKNOWN)


def read_vector(value: Any) -> list[float]:
    """Return the numbers of a vector: a list, JSON of one, or little-endian float32, as text in base64.

    Raises:
        RowError: it is none of these, or not all are finite numbers.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _parsed(value, "embedding")
    elif isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RowError("bad_vector", "embedding is neither a list nor float32 numbers.") from error
    if isinstance(value, bytes):
        if not value or len(value) % 4:
            raise RowError("bad_vector", "embedding is not a row of float32 numbers.")
        value = list(struct.unpack(f"<{len(value) // 4}f", value))
    if not isinstance(value, list) or not value:
        raise RowError("bad_vector", "embedding is not a list of numbers.")
    if not all(type(each) in (int, float) for each in value):
        raise RowError("bad_vector", "embedding holds something else than numbers.")
    try:
        numbers = [float(each) for each in value]
    except OverflowError as error:
        raise RowError("bad_vector", "embedding holds a number that is too large.") from error
    if not all(map(math.isfinite, numbers)):
        raise RowError("bad_vector", "embedding holds numbers that are not finite.")
    return numbers


def moment(row: Row, column: str) -> datetime | None:
    """Return a time of a row: ISO 8601, UTC where it names no zone.

    Raises:
        RowError: it is none.
    """
    value = row.get(column)
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise RowError("bad_date", f"{column} is not a time in ISO 8601.") from error


def _text(row: Row, column: str, most: int) -> str | None:
    value = row.get(column)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RowError("wrong_type", f"{column} is not text.")
    if len(value) > most:
        raise RowError("too_long", f"{column} has {len(value)} characters; {most} is the most.")
    _checked(value, column)
    return value


def _id_of(row: Row, column: str) -> UUID:
    """Return an id of the source as one of ours: itself where it is a UUID, else one that is made of it."""
    value = row.get(column)
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not value or len(value) > MAX_NAME:
        raise RowError("bad_id", f"{column} is not an id.")
    _checked(value, column)
    try:
        return UUID(value)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"magpie:imported:{value}")


def _raw(row: Row) -> tuple[dict[str, Any] | None, str | None]:
    """Return what a model said, parsed, and as it is written."""
    value = row.get("raw_response")
    if value is None:
        return None, None
    written = value if isinstance(value, str) else None
    if written is not None:
        if len(written) > MAX_TEXT:
            raise RowError("too_long", f"raw_response has more than {MAX_TEXT} characters.")
        _checked(written, "raw_response")
        value = _parsed(written, "raw_response")
    _checked(value, "raw_response")
    if value is None:
        return None, written
    if not isinstance(value, dict):
        raise RowError("wrong_type", "raw_response is not an object.")
    return value, json.dumps(value, ensure_ascii=False) if written is None else written


def _parsed(text: str, column: str) -> Any:
    def refuse(_: str) -> NoReturn:
        raise ValueError("not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise RowError("bad_json", f"{column} is not JSON.") from error


def _checked(value: Any, column: str) -> None:
    """Refuse what PostgreSQL would, or what is not what it was once it is stored."""
    for text, depth in _leaves(value):
        if depth > MAX_DEPTH:
            raise RowError("bad_json", f"{column} is nested more than {MAX_DEPTH} deep.")
        if isinstance(text, float) and not math.isfinite(text):
            raise RowError("bad_json", f"{column} holds a number that is not finite.")
        if not isinstance(text, str):
            continue
        if "\x00" in text:
            raise RowError("nul", f"{column} holds a NUL character.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RowError(
                "surrogate", f"{column} holds bytes that are no text, or half a character."
            ) from error


def _leaves(value: Any) -> Iterator[tuple[Any, int]]:
    waiting = [(value, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict | list) and depth <= MAX_DEPTH:
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(each, depth + 1) for each in inner]
        else:
            yield value, depth


def _kept(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in columns if row.get(name) is not None}
