"""What the API answers with: the shape of each answer, and how it is made of rows."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel

from functions.api.upload import Upload
from shared import items, objects

VIEW_SECONDS = 3600

Status = Literal["pending", "processed", "analyzed", "ready", "rejected", "failed"]

Row = Mapping[str, Any]


class ItemError(BaseModel):
    code: str
    message: str


class Size(BaseModel):
    width: int
    height: int


class Thumbnail(Size):
    url: str


class Item(BaseModel):
    """A picture, as lists show it."""

    item_id: UUID
    filename: str
    status: Status
    error: ItemError | None
    created_at: datetime
    updated_at: datetime
    format: str | None
    width: int | None
    height: int | None
    file_size: int | None
    sha256: str | None
    perceptual_hash: str | None
    dominant_colours: list[dict[str, Any]] | None
    captured_at: datetime | None
    camera: str | None
    location: dict[str, Any] | None
    duplicate_of: UUID | None
    image: Size | None
    thumbnail: Thumbnail | None
    category: str | None
    headline: str | None
    provider: str | None
    model: str | None


class Step(BaseModel):
    """A line of an item's timeline."""

    stage: str
    event: str
    occurred_at: datetime
    duration_ms: float | None
    detail: dict[str, Any]


class Views(BaseModel):
    """URLs that show one object each, for an hour."""

    image: str | None
    thumbnail: str | None
    original: str | None


class WholeItem(Item):
    """A picture with all that is known of it."""

    analysis: dict[str, Any] | None
    timeline: list[Step]
    views: Views


class Page(BaseModel):
    items: list[Item]
    next_cursor: str | None


class NewItemAnswer(BaseModel):
    """A pending item, and the form that its original is to be sent with."""

    item_id: UUID
    status: Literal["pending"] = "pending"
    upload: Upload


class Hit(BaseModel):
    """A picture that a search found.

    `text_rank`: before the point how many of the question's words its text holds, after it how well
    placed they are. `similarity`: cosine of its vector and the question's, null where one has none.
    `score`: reciprocal rank fusion of both positions, each null where that half did not find it.
    """

    item_id: UUID
    filename: str
    category: str | None
    headline: str | None
    summary: str | None
    thumbnail_url: str | None
    text_rank: float
    text_position: int | None
    similarity: float | None
    vector_position: int | None
    score: float


class Found(BaseModel):
    """The answer to a search; `mode` is `words` where meaning could not be searched for."""

    query: str
    mode: Literal["hybrid", "words"]
    hits: list[Hit]
    notes: list[str]


class Health(BaseModel):
    status: Literal["ok", "failing"]
    checks: dict[str, Literal["ok", "failing"]]


class SignIn(BaseModel):
    region: str
    user_pool_id: str
    client_id: str


class Version(BaseModel):
    version: str
    sign_in: SignIn


def item(user_id: str, row: Row, media_bucket: str) -> Item:
    """Return an item as lists show it."""
    return Item(**_item(user_id, row, media_bucket))


def whole_item(
    user_id: str, row: Row, timeline: Sequence[Row], media_bucket: str, uploads_bucket: str
) -> WholeItem:
    """Return an item with all that is known of it."""
    shown = _item(user_id, row, media_bucket)
    analysis = row["raw_response"] and {
        **row["raw_response"],
        "version": row["analysis_version"],
        "provider": row["provider_used"],
        "model": row["model_used"],
        "created_at": row["analyzed_at"],
    }
    image = shown["image"] and objects.view_url(
        media_bucket, items.image_key(user_id, row["item_id"]), VIEW_SECONDS
    )
    thumbnail = shown["thumbnail"] and shown["thumbnail"].url
    return WholeItem(
        **shown,
        analysis=analysis,
        timeline=[Step(**line) for line in timeline],
        views=Views(image=image, thumbnail=thumbnail, original=_original(row, uploads_bucket)),
    )


def hit(user_id: str, row: Row, media_bucket: str) -> Hit:
    """Return a search's row as it is answered."""
    url = thumbnail_url(user_id, row["item_id"], media_bucket) if row["thumbnail_width"] else None
    return Hit(**row, thumbnail_url=url)


def thumbnail_url(user_id: str, item_id: UUID, media_bucket: str) -> str:
    return objects.view_url(media_bucket, items.thumbnail_key(user_id, item_id), VIEW_SECONDS)


def _item(user_id: str, row: Row, media_bucket: str) -> dict[str, Any]:
    shown = {name: row[name] for name in Item.model_fields if name in row}
    error = ItemError(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None
    image = thumbnail = None
    if row["image_width"]:
        image = Size(width=row["image_width"], height=row["image_height"])
    if row["thumbnail_width"]:
        thumbnail = Thumbnail(
            width=row["thumbnail_width"],
            height=row["thumbnail_height"],
            url=thumbnail_url(user_id, row["item_id"], media_bucket),
        )
    return shown | {
        "error": error,
        "perceptual_hash": _hexadecimal(row["perceptual_hash"]),
        "image": image,
        "thumbnail": thumbnail,
        "provider": row["provider_used"],
        "model": row["model_used"],
    }


def _hexadecimal(signed: int | None) -> str | None:
    """Return the 64 bits that PostgreSQL keeps as a signed number, as 16 hexadecimal digits."""
    return None if signed is None else f"{signed & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _original(row: Row, bucket: str) -> str | None:
    """Return a URL that downloads the original, under its name, as bytes of no type.

    It is what somebody uploaded, and may be anything: a browser must save it and not show it.
    """
    if row["status"] == "pending":
        return None
    headers = {
        "ResponseContentDisposition": attachment(row["filename"]),
        "ResponseContentType": "application/octet-stream",
    }
    if row["object_version"]:
        headers["VersionId"] = row["object_version"]
    return objects.view_url(bucket, row["object_key"], VIEW_SECONDS, headers)


def attachment(filename: str) -> str:
    """Return a Content-Disposition that saves under this name (RFC 6266), plainly for old clients."""
    plain = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    kept = "".join(letter if letter.isprintable() and letter not in '"\\%;' else "_" for letter in plain)
    return f"attachment; filename=\"{kept or 'original'}\"; filename*=UTF-8''{quote(filename, safe='')}"
