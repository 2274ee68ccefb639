"""Answers an HTTP API with the event it got, or with what the query asks for."""

import base64
import time
from typing import Any


def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    asked = event.get("queryStringParameters", {}).get("answer")
    match asked:
        case "binary":
            body = base64.b64encode(bytes(range(256))).decode()
            return {
                "statusCode": 200,
                "headers": {"content-type": "image/png"},
                "body": body,
                "isBase64Encoded": True,
            }
        case "cookies":
            return {
                "statusCode": 201,
                "headers": {"x-own": "yes", "access-control-allow-origin": "https://evil.example"},
                "cookies": ["a=1; Path=/", "b=2"],
                "body": "set",
            }
        case "plain":
            return {"just": "data"}
        case "raise":
            raise ValueError("a secret")
        case "nonsense":
            return {"statusCode": "teapot"}
        case "slow":
            time.sleep(2)
    return {"event": event}
