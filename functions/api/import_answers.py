"""What the API says of imports, and what can be asked of it about them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from functions.api.answers import ItemError, Status
from functions.api.import_rows import Code
from functions.api.upload import Upload
from shared.models import Model
from shared.runs import Plain

Row = Mapping[str, Any]

MOST_ROWS = 100
"""Items that one request may bring, each with its analyses and its vector."""
MOST_ANALYSES = 1000
"""Of one item."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Asked(Model):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class NewImport(_Asked):
    """A source to import. The same fingerprint is the same import."""

    fingerprint: Sha256 = Field(description="SHA-256 of the rows of the source")
    name: Annotated[Plain, StringConstraints(min_length=1, max_length=255)]


class ComingImage(_Asked):
    """An image that is going to be uploaded."""

    size: int = Field(ge=1)
    sha256: Sha256


class ComingItem(_Asked):
    """A row of `items`, with what belongs to it. Without an image, the newest analysis stands for it.

    The rows are as their source has them; docs/import.md tells what their columns may hold.
    """

    item: dict[str, Any]
    analyses: list[dict[str, Any]] = Field([], max_length=MOST_ANALYSES)
    embedding: dict[str, Any] | None = None
    image: ComingImage | None = None


class ComingItems(_Asked):
    """Rows to import, each for itself: one that cannot be taken keeps no other back."""

    items: list[ComingItem] = Field(min_length=1, max_length=MOST_ROWS)


class Part(Model):
    """What became of an analysis or a vector. `exists`: the item was there before, and this with it."""

    status: Literal["imported", "exists", "skipped", "refused"]
    code: Code | Literal["item_exists", "other_model", "other_dimensions", "not_current", "orphan"] | None = (
        None
    )
    message: str | None = None


class Taken(Model):
    """What became of a row. `upload` is there for as long as its image is waited for."""

    item_id: UUID | None
    status: Literal["imported", "exists", "refused"]
    code: Code | None = None
    message: str | None = None
    upload: Upload | None = None
    analyses: list[Part]
    embedding: Part | None = None


class TakenItems(Model):
    """What became of the rows of a request, in their order."""

    items: list[Taken]


class ItemCounts(Model):
    """Items of an import by how far they are: waiting for an image or for room, at work, or at their end."""

    total: int
    waiting: int
    working: int
    ready: int
    rejected: int
    failed: int
    over_quota: int = Field(description="waiting for room; they go on by themselves")


class ImageCounts(Model):
    """Images of an import: those that are there, compared with what was said of them before they came."""

    announced: int
    announced_bytes: int
    same: int
    same_bytes: int
    different: int


class Import(Model):
    """An import, and how it stands. What was deleted since does not count any more."""

    import_id: UUID
    name: str
    fingerprint: str
    created_at: datetime
    undone_at: datetime | None
    items: ItemCounts
    images: ImageCounts
    analyses: int
    embeddings: int
    embedding_model: str = Field(description="whose vectors are kept; in place of others new ones are made")


class ImportBrief(Model):
    """An import, as lists show it."""

    import_id: UUID
    name: str
    fingerprint: str
    created_at: datetime
    undone_at: datetime | None


class Imports(Model):
    """The caller's imports, newest first."""

    imports: list[ImportBrief]
    next_cursor: str | None


class Side(Model):
    size: int | None
    sha256: str | None


class Brought(Model):
    """An item of an import: how far it is, and its image as it was announced and as it is there."""

    item_id: UUID
    status: Status
    error: ItemError | None
    announced: Side | None
    stored: Side | None


class BroughtItems(Model):
    """The items of an import, in the order of their ids."""

    items: list[Brought]
    next_cursor: str | None


class Undone(Model):
    """How many items this request removed, and how many are left for the next."""

    removed: int
    left: int


def brief(row: Row) -> ImportBrief:
    """Return an import as lists show it."""
    return ImportBrief(**{name: row[name] for name in ImportBrief.model_fields})


def whole(row: Row, counts: Row, embedding_model: str) -> Import:
    """Return an import and how it stands."""
    return Import(
        **brief(row).model_dump(),
        items=ItemCounts(**{name: counts[name] for name in ItemCounts.model_fields}),
        images=ImageCounts(**{name: counts[name] for name in ImageCounts.model_fields}),
        analyses=counts["analyses"],
        embeddings=counts["embeddings"],
        embedding_model=embedding_model,
    )


def brought(row: Row) -> Brought:
    """Return an item of an import."""
    error = ItemError(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None
    announced = Side(size=row["announced_size"], sha256=row["announced_sha256"])
    stored = Side(size=row["file_size"], sha256=row["sha256"])
    return Brought(
        item_id=row["item_id"],
        status=row["status"],
        error=error,
        announced=announced if row["announced_sha256"] else None,
        stored=stored if row["sha256"] else None,
    )
