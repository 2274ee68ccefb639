"""Where the objects of an item are, and how to fetch them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared import items, objects

URL_LIFE = timedelta(days=7)
"""The longest that S3 allows. A URL ends earlier with the credentials that signed it: on Lambda, after
some hours. https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html"""


@dataclass(frozen=True)
class Buckets:
    """Names of the two buckets."""

    uploads: str
    media: str


def objects_of(row: Mapping[str, Any], buckets: Buckets) -> dict[str, Any]:
    """Return the objects of an item that are there: key, and where it can be fetched its URL.

    Args:
        row: of the item.
    """
    found: dict[str, Any] = {}
    name: dict[str, Any] = {"user_id": row["user_id"], "item_id": row["item_id"]}
    if row["status"] != "pending" and row["object_version"]:  # imported without an image there is none
        version = {"VersionId": row["object_version"]}
        # Like everywhere else, what somebody uploaded is saved and not shown.
        headers = {"ResponseContentType": "application/octet-stream", **version}
        found["original"] = _object(buckets.uploads, row["object_key"], headers)
        found["original"]["version"] = row["object_version"]
    if row["image_width"]:
        found["image"] = _object(buckets.media, items.image_key(**name), {})
    if row["thumbnail_width"]:
        found["thumbnail"] = {"key": items.thumbnail_key(**name)}
    return found


def _object(bucket: str, key: str, headers: Mapping[str, str]) -> dict[str, Any]:
    seconds = int(URL_LIFE.total_seconds())
    return {"key": key, "url": objects.view_url(bucket, key, seconds, headers)}
