"""HTTP APIs of the template, as Amazon API Gateway runs them: routes, JWT authorizers, CORS, throttling.

Events have payload format 2.0. The general rules are API Gateway's:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from local.functions import Cors, HttpApi, Route, Throttle
from local.runtime import PayloadTooLargeError, PoolClosedError, Result
from local.serving import Server
from local.tokens import ForbiddenError, KeySet, UnauthorizedError, authorize, token_scopes

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 10 * 1024 * 1024
"""Of a request: an API Gateway quota."""
MAX_HEADER_BYTES = 10_240
"""Of the request line and all headers together: an API Gateway quota."""
TEXT_TYPES = re.compile(
    r"text/|application/(json|.*\+json|xml|.*\+xml|javascript|x-www-form-urlencoded)|$", re.IGNORECASE
)
"""Bodies of these types reach the function as text if they are UTF-8, all others in base64."""
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
}
CORS_HEADERS = re.compile(r"access-control-", re.IGNORECASE)
WORKERS = 64

StartResponse = Callable[..., Any]


class Bucket:
    """A token bucket. Thread-safe."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._tokens = float(throttle.burst or 0)
        self._filled = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        rate, burst = self._throttle.rate, self._throttle.burst
        if rate is None or burst is None:
            return True
        with self._lock:
            now = time.monotonic()
            self._tokens = min(float(burst), self._tokens + (now - self._filled) * rate)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


@dataclass(frozen=True)
class _Match:
    route: Route
    parameters: Mapping[str, str]


class _Refusal(Exception):
    """An answer that no function was asked for."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class Gateway:
    """One HTTP API on one loopback port.

    Args:
        listener: a bound socket, which the server takes over.
        invoke: runs a function, by logical id, on a payload.
        key_sets: keys by issuer; an authorizer of any other issuer lets nobody in.
    """

    def __init__(
        self,
        api: HttpApi,
        listener: socket.socket,
        *,
        invoke: Callable[[str, bytes], Result],
        key_sets: Mapping[str, KeySet],
        account: str,
        region: str,
    ) -> None:
        self.api = api
        self._invoke = invoke
        self._key_sets = key_sets
        self._account = account
        self._region = region
        self._buckets = {route.key: Bucket(route.throttle) for route in api.routes}
        # The integration's time-out ends the request, not the function: as on AWS it runs on.
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="gateway")
        self._server = Server(self, listener, "gateway")
        self.url = self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        headers = _headers(environ)
        origin = headers.get("origin")
        cors = cors_headers(self.api.cors, origin)
        method = environ["REQUEST_METHOD"]
        if self.api.cors and method == "OPTIONS" and origin and "access-control-request-method" in headers:
            start_response("204 No Content", [*cors.items(), *preflight_headers(self.api.cors, cors).items()])
            return [b""]
        try:
            status, sent, body = self._answer(environ, headers)
        except _Refusal as refusal:
            status, body = refusal.status, json.dumps({"message": str(refusal)}).encode()
            sent = [("Content-Type", "application/json"), *refusal.headers.items()]
        if self.api.cors:
            sent = [(name, value) for name, value in sent if not CORS_HEADERS.match(name)]
            sent += cors.items()
        sent += [("Content-Length", str(len(body))), ("Apigw-Requestid", environ["magpie.request_id"])]
        start_response(f"{status} {_phrase(status)}", sent)
        return [b"" if method == "HEAD" else body]

    def _answer(
        self, environ: dict[str, Any], headers: Mapping[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        environ["magpie.request_id"] = request_id = base64.b64encode(uuid4().bytes[:11]).decode()
        path, _, query = _target(environ).partition("?")
        match = find_route(self.api, environ["REQUEST_METHOD"], unquote(path, errors="replace"))
        if match is None:
            raise _Refusal(404, "Not Found")
        claims: dict[str, Any] | None = None
        if match.route.authorizer is not None:
            claims = self._authorize(match.route, headers, query)
        if not self._buckets[match.route.key].take():
            raise _Refusal(429, "Too Many Requests")
        if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
            raise _Refusal(431, "Request Header Fields Too Large")
        body = self._read(environ)
        event = self._event(environ, headers, path, query, match, claims, body, request_id)
        return self._integrate(match.route, event)

    def _authorize(self, route: Route, headers: Mapping[str, str], query: str) -> dict[str, Any]:
        authorizer = route.authorizer
        if authorizer is None:
            raise TypeError("a route without an authorizer")
        key_set = self._key_sets.get(authorizer.issuer)
        request = {"header": headers, "querystring": dict(parse_qsl(query, keep_blank_values=True))}
        try:
            if key_set is None:
                raise UnauthorizedError("nobody knows this issuer's keys")
            return authorize(authorizer, route.scopes, request, key_set.find)
        except UnauthorizedError as error:
            logger.info("not authorized: %s", error)
            raise _Refusal(401, "Unauthorized", {"WWW-Authenticate": "Bearer"}) from error
        except ForbiddenError as error:
            raise _Refusal(
                403, "Forbidden", {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
            ) from error

    def _read(self, environ: dict[str, Any]) -> bytes:
        length = environ.get("CONTENT_LENGTH")
        if length and (not length.isdigit() or int(length) > MAX_BODY_BYTES):
            raise _Refusal(413, "Request Entity Too Large")
        if environ.get("wsgi.input_terminated"):
            body: bytes = environ["wsgi.input"].read(MAX_BODY_BYTES + 1)
        else:
            body = environ["wsgi.input"].read(int(length or 0))
        if len(body) > MAX_BODY_BYTES:
            raise _Refusal(413, "Request Entity Too Large")
        return body

    def _event(
        self,
        environ: dict[str, Any],
        headers: Mapping[str, str],
        path: str,
        query: str,
        match: _Match,
        claims: dict[str, Any] | None,
        body: bytes,
        request_id: str,
    ) -> dict[str, Any]:
        now = datetime.now(UTC)
        path = unquote(path, errors="replace")  # API Gateway decodes it, also in `rawPath`
        host = headers.get("host", "")
        seen = {name: value for name, value in headers.items() if name not in HOP_BY_HOP and name != "cookie"}
        seen |= {
            "x-amzn-trace-id": f"Root=1-{int(now.timestamp()):08x}-{uuid4().hex[:24]}",
            "x-forwarded-for": environ.get("REMOTE_ADDR", "127.0.0.1"),
            "x-forwarded-port": host.rpartition(":")[2],
            "x-forwarded-proto": "http",
        }
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": match.route.key,
            "rawPath": path,
            "rawQueryString": query,
        }
        if cookie := headers.get("cookie"):
            event["cookies"] = [part.strip() for part in cookie.split(";") if part.strip()]
        event["headers"] = dict(sorted(seen.items()))
        if query:
            collected: dict[str, list[str]] = {}
            for name, value in parse_qsl(query, keep_blank_values=True):
                collected.setdefault(name, []).append(value)
            event["queryStringParameters"] = {name: ",".join(values) for name, values in collected.items()}
        if match.parameters:
            event["pathParameters"] = dict(match.parameters)
        context: dict[str, Any] = {"accountId": self._account, "apiId": self.api.api_id}
        if claims is not None:
            scopes = token_scopes(claims) if match.route.scopes else None
            context["authorizer"] = {
                "jwt": {"claims": {name: _claim(value) for name, value in claims.items()}, "scopes": scopes}
            }
        context |= {
            "domainName": host,
            "domainPrefix": self.api.api_id,
            "http": {
                "method": environ["REQUEST_METHOD"],
                "path": path,
                "protocol": environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
                "sourceIp": environ.get("REMOTE_ADDR", "127.0.0.1"),
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": match.route.key,
            "stage": "$default",
            "time": f"{now:%d/%b/%Y:%H:%M:%S +0000}",
            "timeEpoch": int(now.timestamp() * 1000),
        }
        event["requestContext"] = context
        plain = _as_text(body, headers.get("content-type", ""))
        if body:
            event["body"] = base64.b64encode(body).decode() if plain is None else plain
        event["isBase64Encoded"] = bool(body) and plain is None
        return event

    def _integrate(self, route: Route, event: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        try:
            waiting = self._workers.submit(self._invoke, route.function, json.dumps(event).encode())
            result = waiting.result(timeout=route.timeout)
        except FutureTimeoutError as error:
            raise _Refusal(503, "Service Unavailable") from error
        except PayloadTooLargeError as error:
            raise _Refusal(413, "Request Entity Too Large") from error
        except (PoolClosedError, RuntimeError) as error:
            raise _Refusal(503, "Service Unavailable") from error
        if result.error is not None:
            logger.error("%s failed: %s", route.key, result.payload.decode(errors="replace"))
            raise _Refusal(500, "Internal Server Error")
        try:
            return read_response(result.payload)
        except (ValueError, TypeError) as error:
            logger.error("%s answers what is no response: %s", route.key, error)  # noqa: TRY400
            raise _Refusal(500, "Internal Server Error") from error


def find_route(api: HttpApi, method: str, path: str) -> _Match | None:
    """Return the most specific route: exact before parameters before greedy, a method before ANY.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
    """
    best: tuple[tuple[int, ...], _Match] | None = None
    for route in api.routes:
        if route.method not in ("ANY", method):
            continue
        matched = _match_path(route.path, path)
        if matched is None:
            continue
        parameters, ranks = matched
        specificity = (*ranks, route.method != "ANY")
        if best is None or specificity > best[0]:
            best = (specificity, _Match(route, parameters))
    return best[1] if best else None


def _match_path(pattern: str, path: str) -> tuple[dict[str, str], tuple[int, ...]] | None:
    """Parameters and a rank per segment (2 exact, 1 parameter, 0 greedy), or None."""
    wanted, given = pattern.strip("/").split("/"), path.lstrip("/").split("/")
    parameters: dict[str, str] = {}
    ranks: list[int] = []
    for position, segment in enumerate(wanted):
        if segment.startswith("{") and segment.endswith("+}"):
            rest = "/".join(given[position:])
            if not rest:
                return None
            parameters[segment[1:-2]] = rest
            return parameters, (*ranks, 0)
        if position >= len(given):
            return None
        if segment.startswith("{") and segment.endswith("}"):
            if not given[position]:
                return None
            parameters[segment[1:-1]] = given[position]
            ranks.append(1)
        elif segment == given[position]:
            ranks.append(2)
        else:
            return None
    return (parameters, tuple(ranks)) if len(wanted) == len(given) else None


def read_response(payload: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of what a function answered.

    Without a `statusCode` the whole answer is the body, in JSON.

    Raises:
        ValueError, TypeError: it is no response.
    """
    answer = json.loads(payload)
    if not isinstance(answer, dict) or "statusCode" not in answer:
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return 200, [("Content-Type", "application/json")], text.encode()
    status = int(answer["statusCode"])
    if not 100 <= status <= 599:
        raise ValueError(f"status {status}")
    collected: dict[str, str] = {}
    for name, value in (answer.get("headers") or {}).items():
        collected[str(name)] = value if isinstance(value, str) else json.dumps(value)
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        collected[str(name)] = ",".join(str(value) for value in values)
    if any("\r" in text or "\n" in text for pair in collected.items() for text in pair):
        raise ValueError("a line break in a header")
    headers = [(name, value) for name, value in collected.items() if name.lower() != "content-length"]
    headers += [("Set-Cookie", str(cookie)) for cookie in answer.get("cookies") or []]
    body = answer.get("body") or ""
    if not isinstance(body, str):
        body = json.dumps(body)
    content = base64.b64decode(body, validate=True) if answer.get("isBase64Encoded") else body.encode()
    if "content-type" not in {name.lower() for name, _ in headers}:
        headers.append(("Content-Type", "text/plain;charset=UTF-8"))
    return status, headers, content


def cors_headers(cors: Cors | None, origin: str | None) -> dict[str, str]:
    """What any answer tells a browser of this origin."""
    if cors is None or not origin or not _allowed(cors, origin):
        return {}
    headers = {
        "Access-Control-Allow-Origin": "*" if cors.origins == ("*",) and not cors.credentials else origin
    }
    if cors.origins != ("*",):
        headers["Vary"] = "Origin"
    if cors.expose:
        headers["Access-Control-Expose-Headers"] = ",".join(cors.expose)
    if cors.credentials:
        headers["Access-Control-Allow-Credentials"] = "true"
    return headers


def preflight_headers(cors: Cors, allowed: Mapping[str, str]) -> dict[str, str]:
    """What the answer to a preflight says besides; nothing to an origin that is not allowed."""
    if not allowed:
        return {}
    headers = {}
    if cors.methods:
        headers["Access-Control-Allow-Methods"] = ",".join(cors.methods)
    if cors.headers:
        headers["Access-Control-Allow-Headers"] = ",".join(cors.headers)
    if cors.max_age is not None:
        headers["Access-Control-Max-Age"] = str(cors.max_age)
    return headers


def _allowed(cors: Cors, origin: str) -> bool:
    return any(
        allowed in ("*", origin) or (allowed.endswith("://*") and origin.startswith(allowed[:-1]))
        for allowed in cors.origins
    )


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Request headers by lower-case name; several of one name are joined by commas, as WSGI does."""
    headers = {
        key[5:].replace("_", "-").lower(): str(value)
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = str(environ[key])
    return headers


def _target(environ: Mapping[str, Any]) -> str:
    """The request target as it was sent, without scheme and host."""
    target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"])
    return "/" + target.split("://", 1)[1].partition("/")[2] if "://" in target.split("?")[0] else target


def _as_text(body: bytes, content_type: str) -> str | None:
    if not TEXT_TYPES.match(content_type):
        return None
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _claim(value: Any) -> str:
    """A claim as API Gateway shows it: always a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{' '.join(_claim(part) for part in value)}]"
    return json.dumps(value)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
