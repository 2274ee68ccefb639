"""Write a manifest to S3 while it is made, in bounded memory."""

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from shared import clients, objects
from shared.errors import TransientError

PART_BYTES = 8 << 20
"""S3 takes parts from 5 MiB on, and 10,000 of them."""
HEADER = "user_id,item_id,key\n"


def line(user_id: str, item_id: str, key: str = "") -> str:
    """Return an item's line. Percent-encoded, so that no owner's or object's name needs quotes."""
    return f"{quote(user_id, safe='')},{item_id},{quote(key, safe='')}\n"


def write(bucket: str, key: str, lines: Iterable[str], permit: AbstractContextManager[None]) -> int:
    """Write lines under a key, replacing what was there, and return how many there were.

    Nothing is there before all of it is. Without a line nothing is written.

    Args:
        permit: is entered for the moment in which the object comes to be; what it raises keeps it from that.

    Raises:
        TransientError: S3 throttled or the connection broke; what was uploaded is given up.
    """
    upload: str | None = None
    parts: list[str] = []
    waiting: list[str] = [HEADER]
    size = count = 0
    s3 = clients.s3()

    def send() -> None:
        nonlocal upload, waiting, size
        if upload is None:
            upload = s3.create_multipart_upload(Bucket=bucket, Key=key, ContentType="text/csv")["UploadId"]
        body = "".join(waiting).encode()
        answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=len(parts) + 1, Body=body)
        parts.append(answer["ETag"])
        waiting, size = [], 0

    try:
        try:
            for each in lines:
                waiting.append(each)
                size += len(each)
                count += 1
                if size >= PART_BYTES:
                    send()
            if upload is None:
                if count:
                    body = "".join(waiting).encode()
                    with permit:
                        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/csv")
                return count
            if waiting:
                send()
            with permit:
                s3.complete_multipart_upload(
                    Bucket=bucket,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={
                        "Parts": [{"ETag": tag, "PartNumber": number} for number, tag in enumerate(parts, 1)]
                    },
                )
        except BaseException:
            if upload is not None:
                s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            raise
    except (ClientError, BotoCoreError) as error:
        raise TransientError("the manifest could not be written") from error
    return count


def keep_plan(bucket: str, key: str, plan: Mapping[str, Any], permit: AbstractContextManager[None]) -> None:
    """Keep what was planned, beside its manifest, which is there by now.

    Args:
        permit: as `write` is given it.

    Raises:
        TransientError: S3 throttled or the connection broke.
    """
    with permit:
        objects.write(bucket, key, json.dumps(plan).encode(), "application/json", "none")


def read_plan(bucket: str, key: str) -> dict[str, Any] | None:
    """Return what was planned before, None where nothing was.

    Raises:
        TransientError: S3 throttled or the connection broke.
    """
    try:
        found, _ = objects.read(bucket, key)
    except objects.ObjectGoneError:
        return None
    plan: dict[str, Any] = json.loads(found)
    return plan
