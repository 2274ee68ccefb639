"""Decide under which name a file is kept, and what may be uploaded for it."""

import base64
import mimetypes
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Literal, get_args

from pydantic import ConfigDict, Field, field_validator

from functions.api import wording
from functions.api.problems import Problem
from shared import clients
from shared.models import Model
from shared.text import clean

UPLOAD_SECONDS = 900
MAX_NAME = 255
"""Characters of a file name that are kept: what file systems take, and enough to tell files apart."""
UNTITLED = "untitled"
MAX_AT_ONCE = 100
"""Items that one request may make."""

ContentType = Literal[
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/tiff",
    "image/bmp",
    "image/avif",
    "image/heic",
    "image/heif",
    "application/octet-stream",
]
CONTENT_TYPES: tuple[str, ...] = get_args(ContentType)
_BY_SUFFIX = {".heic": "image/heic", ".heif": "image/heif", ".avif": "image/avif", ".webp": "image/webp"}
"""Not in every Python's table of types."""


class NewItem(Model):
    """What is to be uploaded."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(min_length=1, max_length=4096)
    content_type: ContentType | None = None
    size: int | None = Field(
        None, ge=1, description="bytes: to hear at once that they are too many, and to keep room for them"
    )

    @field_validator("filename", mode="before")
    @classmethod
    def _storable(cls, value: object) -> object:
        # A name that was no UTF-8 on the client's disk arrives with lone surrogates, which str refuses.
        return clean(value) if isinstance(value, str) else value


class NewItems(Model):
    """Several at once: all of them are made, or none."""

    model_config = ConfigDict(extra="forbid")

    items: list[NewItem] = Field(min_length=1, max_length=MAX_AT_ONCE)


class Upload(Model):
    """A form that may be posted once or more until it expires: to one key, of one type, up to a size."""

    url: str
    fields: dict[str, str]
    expires_at: datetime


def clean_filename(name: str) -> str:
    """Return the last part of a path as a name that is safe to store and to show.

    On one line, without what cannot be seen; at most 255 characters, of which the last are the suffix's.
    What is left of nothing is `untitled`.
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    words = wording.one_line(last)
    if not words.strip("."):
        return UNTITLED
    if len(words) <= MAX_NAME:
        return words
    stem, dot, suffix = words.rpartition(".")
    if not stem or len(suffix) > 16:
        return words[:MAX_NAME]
    return stem[: MAX_NAME - len(dot + suffix)] + dot + suffix


def content_type(new: NewItem) -> str:
    """Return the type that the form asks for: as declared, or guessed from the name.

    It decides nothing: what a file is, its bytes say later.
    """
    if new.content_type:
        return new.content_type
    suffix = "." + new.filename.rpartition(".")[2].lower()
    guessed = _BY_SUFFIX.get(suffix) or mimetypes.guess_type(new.filename, strict=False)[0]
    return guessed if guessed in CONTENT_TYPES else "application/octet-stream"


def refuse_too_large(new: Sequence[NewItem], fields: Sequence[str], max_bytes: int) -> None:
    """Refuse files before their bytes travel.

    Args:
        fields: where each file stands in the request.

    Raises:
        Problem: 413, one has more than `max_bytes`.
    """
    errors = [
        {"field": f"{field}size", "message": f"{each.size} bytes; {max_bytes} is the most that is taken"}
        for each, field in zip(new, fields, strict=True)
        if each.size is not None and each.size > max_bytes
    ]
    if errors:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too-large",
            f"A file may have {max_bytes} bytes at the most.",
            errors=errors,
        )


def form(
    bucket: str, key: str, kind: str, max_bytes: int, *, min_bytes: int = 1, sha256: str | None = None
) -> Upload:
    """Return a form for exactly this key and type, and so many bytes, valid for 15 minutes.

    Its fields are a secret: never log them.

    Args:
        sha256: of the only bytes that S3 is to take, in hex.
    """
    expires_at = datetime.now(UTC) + timedelta(seconds=UPLOAD_SECONDS)
    fields = {"Content-Type": kind}
    if sha256 is not None:
        # https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        fields |= {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": checksum}
    post = clients.s3().generate_presigned_post(
        Bucket=bucket,
        Key=key,
        Fields=fields,
        Conditions=[
            *({name: value} for name, value in fields.items()),
            ["content-length-range", min_bytes, max_bytes],
        ],
        ExpiresIn=UPLOAD_SECONDS,
    )
    return Upload(url=post["url"], fields=post["fields"], expires_at=expires_at.replace(microsecond=0))
