"""Objects in S3, by bucket, key and version."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from shared import clients
from shared.errors import MagpieError, TransientError

CHUNK_BYTES = 1 << 20
ORIGINAL_SHA256 = "original-sha256"
"""Name of the S3 metadata that ties a derivative to the bytes it shows."""
GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}


class ObjectGoneError(MagpieError):
    """The object, or that version of it, is not there any more."""


class ObjectTooLargeError(MagpieError):
    """The object has more bytes than the caller wants."""


@dataclass(frozen=True)
class Stored:
    """What was read: its version, size in bytes, SHA-256 (hex) and declared content type."""

    version: str | None
    size: int
    sha256: str
    content_type: str


def _fail(error: ClientError | BotoCoreError, key: str) -> NoReturn:
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in GONE:
        raise ObjectGoneError(f"there is no object {key}") from error
    raise TransientError("S3 did not answer as it should") from error


def download(bucket: str, key: str, version: str | None, path: Path, max_bytes: int) -> Stored:
    """Write an object to a file, hashing it on the way, without holding it in memory.

    Raises:
        ObjectGoneError: it does not exist.
        ObjectTooLargeError: it has more than `max_bytes`; nothing was read.
        TransientError: S3 throttled or the connection broke.
    """
    which: dict[str, Any] = {"VersionId": version} if version else {}
    digest = hashlib.sha256()
    size = 0
    try:
        answer = clients.s3().get_object(Bucket=bucket, Key=key, **which)
        if answer["ContentLength"] > max_bytes:
            answer["Body"].close()
            raise ObjectTooLargeError(f"{answer['ContentLength']} bytes")
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                digest.update(chunk)
                size += file.write(chunk)
    except (ClientError, BotoCoreError) as error:
        _fail(error, key)
    return Stored(answer.get("VersionId"), size, digest.hexdigest(), answer.get("ContentType", ""))


def read(bucket: str, key: str) -> tuple[bytes, str | None]:
    """Return a derivative that we wrote ourselves, and the SHA-256 (hex) of the original it was made of.

    Raises: as `download`, but for the size.
    """
    try:
        answer = clients.s3().get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(), answer["Metadata"].get(ORIGINAL_SHA256)
    except (ClientError, BotoCoreError) as error:
        _fail(error, key)


def write(bucket: str, key: str, body: bytes, content_type: str, original_sha256: str) -> None:
    """Put a derivative, replacing what was under its key, marked with the original it was made of.

    Raises:
        TransientError: S3 throttled or the connection broke.
    """
    try:
        clients.s3().put_object(
            Bucket=bucket,
            Key=key,
            Body=body,
            ContentType=content_type,
            Metadata={ORIGINAL_SHA256: original_sha256},
        )
    except (ClientError, BotoCoreError) as error:
        _fail(error, key)


def remove(bucket: str, key: str) -> None:
    """Delete an object, if it is there. In a versioned bucket an older version of it stays behind.

    Raises:
        TransientError: S3 throttled or the connection broke.
    """
    try:
        clients.s3().delete_object(Bucket=bucket, Key=key)
    except (ClientError, BotoCoreError) as error:
        _fail(error, key)


def view_url(bucket: str, key: str, seconds: int, headers: Mapping[str, str] | None = None) -> str:
    """Return a URL that shows one object for a while. It is a secret: never log it.

    Args:
        headers: response headers to force, by S3's names (`ResponseContentDisposition`, ...).
    """
    parameters = {"Bucket": bucket, "Key": key, **(headers or {})}
    return clients.s3().generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
