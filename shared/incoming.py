"""A webhook's HTTP request: the body as it was signed, and the few answers that it gets.

Anybody may send one, so whoever is not known for sure learns nothing: every refusal is the same 400, and what
is logged is one of a few reasons, never a header or a piece of the body. Each refusal is one log line, which
a metric filter of the template counts. What could not be done, for the moment, is answered with 5xx: the
provider sends it again.
"""

import base64
import json
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aws_lambda_powertools import Logger

from shared.errors import MagpieError, TransientError
from shared.parameters import MissingParameterError

logger = Logger(child=True)

MAX_BODY_BYTES = 256 * 1024
"""Of a delivery, unless its provider says more. Nothing is verified before it is read whole, and the gateway
lets 10 MB through: several times the largest that is sent for good is enough."""
MAX_DEPTH = 64
"""Levels of JSON in a delivery. Providers use ten; every reader that follows is to get by without care."""
RETRY_AFTER_SECONDS = 60

Reason = Literal[
    "too large",
    "not decodable",
    "not signed by them",
    "not of this time",
    "not readable",
    "not for us",
]


class RefusedError(MagpieError):
    """A delivery that is not from whom it says it is, or is nothing that this provider sends."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class NotConfiguredError(MagpieError):
    """What is needed to verify a delivery is not what it must be. The sentence is answered."""


@dataclass(frozen=True)
class Request:
    """A delivery, as it came.

    Attributes:
        body: the bytes that were signed.
        headers: names in lower case; one that came several times is joined by commas.
        request_id: of the gateway.
    """

    body: bytes
    headers: Mapping[str, str]
    request_id: str


def respond(
    event: Mapping[str, Any],
    provider: str,
    receive: Callable[[Request], None],
    most: int = MAX_BODY_BYTES,
) -> dict[str, Any]:
    """Let a function take a delivery, and return what the gateway is to answer.

    Args:
        event: of an HTTP API, payload format 2.0.
        receive: verifies and keeps it.
        most: bytes of a body.
    """
    try:
        receive(read(event, most))
    except RefusedError as error:
        # The metric filter listens for this message.
        logger.warning("webhook refused", provider=provider, reason=error.reason)
        return _answer(400, {"received": False})
    except (MissingParameterError, NotConfiguredError) as error:
        logger.error("webhook not configured", provider=provider, reason=str(error))  # noqa: TRY400
        return _problem("not-configured", "This is not set up yet", str(error))
    except TransientError as error:
        logger.warning("webhook failed for now", provider=provider, reason=str(error))
        return _problem("unavailable", "Try again in a moment", "A part that is needed does not respond.")
    except Exception as error:  # noqa: BLE001 - a provider is to try again, and hears nothing of our inside
        # Without the exception's own words, which may hold what was sent.
        logger.error("webhook failed", provider=provider, error=type(error).__name__, at=_frames(error))
        return _problem("internal-error", "Something went wrong on our side", "It has been written down.")
    return _answer(200, {"received": True})


def read(event: Mapping[str, Any], most: int = MAX_BODY_BYTES) -> Request:
    """Return the request in an event of the gateway, which encodes what is no text.

    Raises:
        RefusedError: it is larger than it may be, or not what the gateway makes.
    """
    told = event.get("body") or ""
    try:
        if event.get("isBase64Encoded"):
            if len(told) > (most + 2) // 3 * 4:
                raise RefusedError("too large")
            body = base64.b64decode(told, validate=True)
        else:
            body = told.encode()
    except ValueError as error:
        raise RefusedError("not decodable") from error
    if len(body) > most:
        raise RefusedError("too large")
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    return Request(body, headers, str(event["requestContext"]["requestId"]))


def text(body: bytes) -> str:
    """Return a body as text that PostgreSQL takes.

    Raises:
        RefusedError: it is not UTF-8, or holds NUL.
    """
    try:
        decoded = body.decode()
    except UnicodeDecodeError as error:
        raise RefusedError("not decodable") from error
    if "\x00" in decoded:
        raise RefusedError("not decodable")
    return decoded


def parse(said: str) -> dict[str, Any]:
    """Return the JSON object of a verified body: at most `MAX_DEPTH` deep, no name twice, numbers finite.

    Its texts may hold NUL and halves of characters, written as escapes: `shared.text` takes them out.

    Raises:
        RefusedError: it is none.
    """
    try:
        document = json.loads(
            said, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise RefusedError("not readable") from error
    if not isinstance(document, dict) or _depth(document) > MAX_DEPTH:
        raise RefusedError("not readable")
    return document


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _no_constant(_: str) -> None:
    raise ValueError("no number")


def _finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise ValueError("too large a number")
    return number


def _depth(document: Any) -> int:
    depth, level = 0, [document]
    while level:
        depth += 1
        level = [inner for outer in level for inner in _inner(outer)]
    return depth


def _inner(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _frames(error: Exception) -> list[str]:
    """Return where an exception came from, the innermost place last."""
    stack = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in stack]


def _answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def _problem(kind: str, title: str, detail: str) -> dict[str, Any]:
    """Return the answer to a delivery that is to come again, as the API tells its problems."""
    status = 500 if kind == "internal-error" else 503
    problem = {"type": f"urn:problem-type:magpie:{kind}", "title": title, "status": status, "detail": detail}
    again = {"Content-Type": "application/problem+json", "Retry-After": str(RETRY_AFTER_SECONDS)}
    return _answer(status, problem, again)
