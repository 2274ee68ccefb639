"""A user's objects: originals, derivatives, exports, reports and the working files of runs, in every version,
and unfinished uploads."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from functions.eraser import receipt
from shared import clients, objects, runs
from shared.errors import TransientError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef


def erase(buckets: Iterable[str], user_id: str, go_on: Callable[[], None]) -> None:
    """Delete every object of a user for good, and note on the receipt what it was.

    Args:
        go_on: is called after each thousand, and may raise to stop there.

    Raises:
        TransientError: S3 or the database gave up.
    """

    def note(gone: objects.Removed) -> None:
        receipt.add_objects(user_id, gone.versions, gone.size)
        go_on()

    for bucket in buckets:
        for prefix in folders(user_id):
            go_on()
            try:
                for upload in _uploads(bucket, prefix):
                    _abort(bucket, upload)
            except (ClientError, BotoCoreError) as error:
                raise TransientError("S3 did not answer as it should") from error
            objects.remove_versions(bucket, prefix, note)


def left(buckets: Iterable[str], user_id: str) -> list[str]:
    """Return the buckets that hold something of a user.

    Raises:
        TransientError: S3 did not answer.
    """
    found = []
    try:
        for bucket in buckets:
            for prefix in folders(user_id):
                page = clients.s3().list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=1)
                if page.get("Versions") or page.get("DeleteMarkers") or any(_uploads(bucket, prefix)):
                    found.append(bucket)
                    break
    except (ClientError, BotoCoreError) as error:
        raise TransientError("S3 did not answer as it should") from error
    return found


def folders(user_id: str) -> tuple[str, str]:
    """Return what the keys of all objects of a user begin with, and those of nobody else."""
    return f"{user_id}/", runs.folders(user_id)


def _uploads(bucket: str, prefix: str) -> "Iterator[MultipartUploadTypeDef]":
    pages = clients.s3().get_paginator("list_multipart_uploads")
    for page in pages.paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Uploads", [])


def _abort(bucket: str, upload: "MultipartUploadTypeDef") -> None:
    try:
        clients.s3().abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchUpload":  # completed or aborted meanwhile
            raise
