"""Objects in S3, by bucket, key and version."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from shared import clients, signatures
from shared.errors import MagpieError, TransientError

CHUNK_BYTES = 1 << 20
ORIGINAL_SHA256 = "original-sha256"
"""Name of the S3 metadata that ties a derivative to the bytes it shows."""
GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound"}
PARALLEL = 8
"""Requests at once, where many objects are listed one by one."""
PAGE = 1000
"""Versions that S3 lists, and deletes, at once."""
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What a key may hold and an XML document may not, which is what names several objects to S3."""


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


def exists(bucket: str, key: str) -> bool:
    """Say whether an object is there.

    Raises:
        TransientError: S3 throttled or the connection broke.
    """
    try:
        clients.s3().head_object(Bucket=bucket, Key=key)
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] in GONE:
            return False
        _fail(error, key)
    return True


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


@dataclass(frozen=True)
class Removed:
    """What is gone for good: versions of objects, delete markers among them, and their bytes."""

    versions: int
    size: int


def _ignore(_: Removed) -> None:
    pass


def remove_versions(
    bucket: str, prefix: str, each_page: Callable[[Removed], None] = _ignore, *, exactly: bool = False
) -> Removed:
    """Delete for good what begins with a prefix: every version of every object, and every delete marker.

    Args:
        prefix: of the keys. Of a folder it ends with a slash, for `ab` is a prefix of `abc/` too.
        each_page: hears of each thousand that has gone, and may raise to stop there.
        exactly: the prefix is a whole key, and what only begins with it stays.

    Raises:
        TransientError: S3 throttled, refused some of it, or the connection broke. What has gone is gone.
    """
    versions = size = 0
    before: list[Any] = []
    try:
        while True:
            # From the start each time: what was listed before is gone.
            page = clients.s3().list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE)
            found: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            if exactly:  # listed in the order of their keys, the shortest first
                found = [each for each in found if each["Key"] == prefix]
            if not found:
                return Removed(versions, size)
            if found == before:
                raise TransientError("S3 does not delete what it was told to")
            before = found
            _delete_versions(bucket, [(each["Key"], each["VersionId"]) for each in found])
            gone = Removed(len(found), sum(each.get("Size", 0) for each in found))
            versions, size = versions + gone.versions, size + gone.size
            each_page(gone)
            if not page["IsTruncated"]:
                return Removed(versions, size)
    except (ClientError, BotoCoreError) as error:
        _fail(error, prefix)


def remove_versions_of(bucket: str, keys: Sequence[str]) -> Removed:
    """Delete for good every version and delete marker of some objects, which are listed several at a time.

    Raises:
        TransientError: as `remove_versions`.
    """
    from concurrent.futures import ThreadPoolExecutor

    def listed(key: str) -> list[Any]:
        page = clients.s3().list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=PAGE)
        found: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        return [each for each in found if each["Key"] == key]

    versions = size = 0
    left = list(keys)
    before: list[Any] = []
    try:
        with ThreadPoolExecutor(PARALLEL) as pool:
            while left:  # once more what had any: there may be more of them than are listed at once
                found = [each for page in pool.map(listed, left) for each in page]
                if found and found == before:
                    raise TransientError("S3 does not delete what it was told to")
                before = found
                for start in range(0, len(found), PAGE):
                    pairs = [(each["Key"], each["VersionId"]) for each in found[start : start + PAGE]]
                    _delete_versions(bucket, pairs)
                versions += len(found)
                size += sum(each.get("Size", 0) for each in found)
                left = sorted({each["Key"] for each in found})
    except (ClientError, BotoCoreError) as error:
        _fail(error, keys[0])
    return Removed(versions, size)


def _delete_versions(bucket: str, found: list[tuple[str, str]]) -> None:
    together = [pair for pair in found if not _NOT_IN_XML.search(pair[0])]
    for key, version in found:
        if _NOT_IN_XML.search(key):
            clients.s3().delete_object(Bucket=bucket, Key=key, VersionId=version)
    if together:
        answer = clients.s3().delete_objects(
            Bucket=bucket,
            Delete={
                "Objects": [{"Key": key, "VersionId": version} for key, version in together],
                "Quiet": True,
            },
        )
        if answer.get("Errors"):
            raise TransientError(f"S3 refused to delete {len(answer['Errors'])} versions")


def view_url(bucket: str, key: str, seconds: int, headers: Mapping[str, str] | None = None) -> str:
    """Return a URL that shows one object for a while. It is a secret: never log it.

    Args:
        headers: response headers to force, by S3's names (`ResponseContentDisposition`, ...).
    """
    if not headers:
        return signatures.get_url(bucket, key, seconds)
    parameters = {"Bucket": bucket, "Key": key, **headers}
    return clients.s3().generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
