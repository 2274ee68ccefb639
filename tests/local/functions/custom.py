"""A custom resource that remembers what it was asked in the answer's data."""

import json
import urllib.request
from typing import Any


def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    print(json.dumps({"asked": event["RequestType"], "number": event["ResourceProperties"]["Number"]}))  # noqa: T201
    fail = event["ResourceProperties"]["Number"] == "13"
    answer = {
        "Status": "FAILED" if fail else "SUCCESS",
        "Reason": "thirteen is no number" if fail else "",
        "PhysicalResourceId": event.get("PhysicalResourceId", "made-1"),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT")  # noqa: S310
    with urllib.request.urlopen(request):  # noqa: S310
        pass
