"""What the API answers with: the shape of each answer, and how it is made of rows."""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import WithJsonSchema

from functions.api.upload import Upload
from shared import items, objects
from shared.models import Model

VIEW_SECONDS = 3600

Status = Literal["pending", "processed", "analyzed", "ready", "rejected", "failed", "over_quota"]

Row = Mapping[str, Any]

WallClock = Annotated[
    datetime,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?$",
            "description": "by the camera's clock, which knows no zone",
        }
    ),
]
"""A time without an offset, which is no `date-time` of JSON Schema."""


class ItemError(Model):
    code: str
    message: str


class Size(Model):
    width: int
    height: int


class Thumbnail(Size):
    url: str


class Corrections(Model):
    """What a person says in place of the model; null where nobody does."""

    category: str | None
    headline: str | None
    summary: str | None
    tags: list[str] | None
    corrected_at: datetime


class Item(Model):
    """A picture, as lists show it.

    `category`, `headline`, `summary` and `tags` are what a person said, where somebody did, and else what
    the model did.
    """

    item_id: UUID
    filename: str
    kind: str
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
    captured_at: WallClock | None
    camera: str | None
    location: dict[str, Any] | None
    duplicate_of: UUID | None
    image: Size | None
    thumbnail: Thumbnail | None
    category: str | None
    headline: str | None
    summary: str | None
    tags: list[str]
    corrections: Corrections | None
    provider: str | None
    model: str | None


class Step(Model):
    """A line of an item's timeline."""

    stage: str
    event: str
    occurred_at: datetime
    duration_ms: float | None
    detail: dict[str, Any]


class Timeline(Model):
    """What happened to an item, first things first."""

    timeline: list[Step]
    next_cursor: str | None


class Analysis(Model):
    """A version of what a model said of an item, as it said it. `run_id` names what asked for it anew."""

    version: int
    current: bool
    provider: str
    model: str
    run_id: str | None
    created_at: datetime
    category: str
    headline: str
    summary: str
    analysis: dict[str, Any]


class Analyses(Model):
    """The versions of an item's analysis, newest first."""

    analyses: list[Analysis]
    next_cursor: str | None


class Views(Model):
    """URLs that show one object each, for an hour."""

    image: str | None
    thumbnail: str | None
    original: str | None


class WholeItem(Item):
    """A picture with all that is known of it.

    `analysis` is what the model said, whatever was corrected; `timeline` holds the last hundred steps.
    """

    analysis: dict[str, Any] | None
    timeline: list[Step]
    views: Views


class Page(Model):
    items: list[Item]
    next_cursor: str | None


class NewItemAnswer(Model):
    """A pending item, and the form that its original is to be sent with."""

    item_id: UUID
    status: Literal["pending"] = "pending"
    upload: Upload


class NewItemsAnswer(Model):
    """Pending items, in the order in which they were asked for."""

    items: list[NewItemAnswer]


class Requested(Model):
    """What was asked for is on its way; the item's timeline will tell of it."""

    item_id: UUID
    run_id: UUID
    status: Literal["requested"] = "requested"


class Health(Model):
    status: Literal["ok", "failing"]
    checks: dict[str, Literal["ok", "failing"]]


class SignIn(Model):
    """Where to sign in; without `hosted_ui`, a base URL, no page can."""

    region: str
    user_pool_id: str
    client_id: str
    hosted_ui: str | None


class Version(Model):
    version: str
    sign_in: SignIn


_AS_THEY_ARE = (
    "item_id",
    "filename",
    "kind",
    "status",
    "created_at",
    "updated_at",
    "format",
    "width",
    "height",
    "file_size",
    "sha256",
    "dominant_colours",
    "captured_at",
    "camera",
    "location",
    "duplicate_of",
    "category",
    "headline",
    "summary",
)
"""Fields of an item that are columns of its row."""


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


def analysis(row: Row, current: int | None) -> Analysis:
    """Return a version of an item's analysis.

    Args:
        current: the version that speaks for the item.
    """
    return Analysis(
        **{name: row[name] for name in ("version", "category", "headline", "summary", "created_at")},
        current=row["version"] == current,
        provider=row["provider_used"],
        model=row["model_used"],
        run_id=row["run_id"] or None,
        analysis=row["raw_response"],
    )


def thumbnail_url(user_id: str, item_id: UUID, media_bucket: str) -> str:
    return objects.view_url(media_bucket, items.thumbnail_key(user_id, item_id), VIEW_SECONDS)


def _item(user_id: str, row: Row, media_bucket: str) -> dict[str, Any]:
    shown = {name: row[name] for name in _AS_THEY_ARE}
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
        "tags": row["tags"] or [],
        "corrections": _corrections(row),
        "provider": row["provider_used"],
        "model": row["model_used"],
    }


def _corrections(row: Row) -> Corrections | None:
    if row["corrected_at"] is None:
        return None
    said = {name: row[f"corrected_{name}"] for name in ("category", "headline", "summary", "tags")}
    return Corrections(**said, corrected_at=row["corrected_at"])


def _hexadecimal(signed: int | None) -> str | None:
    """Return the 64 bits that PostgreSQL keeps as a signed number, as 16 hexadecimal digits."""
    return None if signed is None else f"{signed & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _original(row: Row, bucket: str) -> str | None:
    """Return a URL that downloads the original, under its name, as bytes of no type.

    It is what somebody uploaded, and may be anything: a browser must save it and not show it.
    """
    if row["object_version"] is None:  # it has not come yet, or it was imported without one
        return None
    headers = {
        "ResponseContentDisposition": attachment(row["filename"]),
        "ResponseContentType": "application/octet-stream",
        "VersionId": row["object_version"],
    }
    return objects.view_url(bucket, row["object_key"], VIEW_SECONDS, headers)


def attachment(filename: str) -> str:
    """Return a Content-Disposition that saves under this name (RFC 6266), plainly for old clients."""
    plain = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    kept = "".join(letter if letter.isprintable() and letter not in '"\\%;' else "_" for letter in plain)
    return f"attachment; filename=\"{kept or 'original'}\"; filename*=UTF-8''{quote(filename, safe='')}"
