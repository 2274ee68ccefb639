"""Read which objects of the uploads bucket a run brings in."""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from functions.scan_planner import manifest
from shared import clients, items
from shared.errors import TransientError


def lines(
    bucket: str, prefix: str, after: Mapping[str, Any] | None, most: int
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the line of each object under a prefix, and the key that a next part would begin behind.

    Folders' markers are no originals. Whose an object is, and which item it belongs to, its key says.

    Raises:
        TransientError: S3 did not answer as it should.
    """
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    if after:
        asked["StartAfter"] = str(after["key"])
    found = 0
    try:
        for page in clients.s3().get_paginator("list_objects_v2").paginate(**asked):
            for stored in page.get("Contents", []):
                key = stored["Key"]
                if key.endswith("/"):
                    continue
                owner = key.partition("/")[0]
                yield manifest.line(owner, str(items.item_id(bucket, key)), key), {"key": key}
                found += 1
                if found == most:
                    return
    except (ClientError, BotoCoreError) as error:
        raise TransientError("the uploads bucket could not be listed") from error
