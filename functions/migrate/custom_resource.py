"""What CloudFormation is told about a custom resource: always something, or it waits for an hour."""

import json
from collections.abc import Mapping
from typing import Any

from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

PHYSICAL_ID = "magpie-migrations"
"""Never changes: a changed one would make CloudFormation delete the old resource."""

MAX_REASON = 1000
"""Characters; the whole answer may have 4,096 bytes."""


def answer(event: Mapping[str, Any], data: Mapping[str, str] | None, reason: str | None) -> dict[str, Any]:
    """Return the answer to a request: success with data, or failure with a reason.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
    """
    return {
        "Status": "SUCCESS" if reason is None else "FAILED",
        "Reason": (reason or "done")[:MAX_REASON],
        "PhysicalResourceId": event.get("PhysicalResourceId") or PHYSICAL_ID,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": dict(data or {}),
    }


def send(url: str, body: Mapping[str, Any]) -> None:
    """Put the answer where CloudFormation reads it.

    Raises:
        HTTPError: it could not be put, after five attempts.
        ValueError: the URL is not HTTPS.
    """
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError("a ResponseURL is HTTPS")
    retry = Retry(total=4, backoff_factor=0.3, status_forcelist=[500, 502, 503, 504], allowed_methods=None)
    with PoolManager(retries=retry, timeout=Timeout(connect=3, read=5)) as http:
        # Signed without a content type: any other value breaks the signature.
        reply = http.request("PUT", url, body=json.dumps(body).encode(), headers={"content-type": ""})
    if reply.status >= 300:
        raise HTTPError(f"the answer was refused with status {reply.status}")
