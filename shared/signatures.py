"""Signature Version 4 in a URL, for many objects at once.

A list shows a hundred thumbnails, each by a URL of its own. botocore takes some 0.15 ms for one, most
of it to find out again where the bucket is and to go through its hooks; here, what is the same for all of
them is asked of botocore once and kept. A test compares the two.
https://docs.aws.amazon.com/AmazonS3/latest/developerguide/sigv4-query-string-auth.html
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from shared import clients

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PROBE = "probe"


@dataclass(frozen=True)
class _Place:
    """Where a bucket's objects are: the URL before the key, its parts, and the scope of signatures."""

    base: str
    host: str
    path: str
    region: str


def get_url(bucket: str, key: str, seconds: int, now: datetime | None = None) -> str:
    """Return a URL that gets one object of a bucket for a while. It is a secret: never log it.

    Args:
        now: when it was signed, in UTC; left out, now.
    """
    import boto3

    place = _place(clients.s3(), bucket)
    # The session that the client was made from. A function's role has keys that are replaced in time.
    session = boto3.DEFAULT_SESSION
    found = session.get_credentials() if session else None
    if found is None:
        raise RuntimeError("there are no credentials to sign with")
    credentials = found.get_frozen_credentials()
    moment = f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{moment[:8]}/{place.region}/s3/aws4_request"
    query = _query(credentials.access_key, credentials.token or "", scope, moment, seconds)
    escaped = quote(key, safe="/~")
    request = f"GET\n{place.path}{escaped}\n{query}\nhost:{place.host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    signing_key = _signing_key(str(credentials.secret_key), moment[:8], place.region)
    signed = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}".encode()
    signature = hmac.new(signing_key, signed, hashlib.sha256).hexdigest()
    return f"{place.base}{escaped}?{query}&X-Amz-Signature={signature}"


@lru_cache(maxsize=16)
def _place(client: "S3Client", bucket: str) -> _Place:
    """Ask botocore, which knows regions, partitions and endpoints of somebody's own."""
    whole = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _PROBE}, ExpiresIn=1)
    url = urlsplit(whole)
    region = parse_qs(url.query)["X-Amz-Credential"][0].split("/")[2]
    path = url.path.removesuffix(_PROBE)
    return _Place(f"{url.scheme}://{url.netloc}{path}", url.netloc, path, region)


@lru_cache(maxsize=8)
def _query(access_key: str, token: str, scope: str, moment: str, seconds: int) -> str:
    """Return what all URLs of one second say, in the order of the names, as it has to be signed."""
    said = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{access_key}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(seconds),
        "X-Amz-Security-Token": token,
        "X-Amz-SignedHeaders": "host",
    }
    return "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in said.items() if value)


@lru_cache(maxsize=4)
def _signing_key(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
