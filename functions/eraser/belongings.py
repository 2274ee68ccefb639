"""A user's objects: originals, derivatives and exports in every version, and unfinished uploads."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from functions.eraser import receipt
from shared import clients, objects
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
        go_on()
        try:
            for upload in _uploads(bucket, user_id):
                _abort(bucket, upload)
        except (ClientError, BotoCoreError) as error:
            raise TransientError("S3 did not answer as it should") from error
        objects.remove_versions(bucket, folder(user_id), note)


def left(buckets: Iterable[str], user_id: str) -> list[str]:
    """Return the buckets that hold something of a user.

    Raises:
        TransientError: S3 did not answer.
    """
    found = []
    try:
        for bucket in buckets:
            page = clients.s3().list_object_versions(Bucket=bucket, Prefix=folder(user_id), MaxKeys=1)
            if page.get("Versions") or page.get("DeleteMarkers") or any(_uploads(bucket, user_id)):
                found.append(bucket)
    except (ClientError, BotoCoreError) as error:
        raise TransientError("S3 did not answer as it should") from error
    return found


def folder(user_id: str) -> str:
    """Return what the keys of all objects of a user begin with, and those of nobody else."""
    return f"{user_id}/"


def _uploads(bucket: str, user_id: str) -> "Iterator[MultipartUploadTypeDef]":
    pages = clients.s3().get_paginator("list_multipart_uploads")
    for page in pages.paginate(Bucket=bucket, Prefix=folder(user_id)):
        yield from page.get("Uploads", [])


def _abort(bucket: str, upload: "MultipartUploadTypeDef") -> None:
    try:
        clients.s3().abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchUpload":  # completed or aborted meanwhile
            raise
