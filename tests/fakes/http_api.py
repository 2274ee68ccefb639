"""Requests as API Gateway hands them to a function: HTTP API, payload version 2.0, JWT authorizer."""

import base64
import copy
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from functions.api.handler import lambda_handler
from tests.conftest import LambdaContext
from tests.fakes import document

SAMPLES = Path(__file__).resolve().parents[2] / "events" / "samples" / "api"


def sample(name: str) -> dict[str, Any]:
    """Return a sample event, as `sam local invoke` is given it."""
    event: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return event


@dataclass
class Answer:
    """What the function answered; `body` is parsed where it is JSON."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def is_of_no_route(self) -> bool:
        """Whether there is no such path, or not for this method."""
        return self.status in (404, 405) and self.body["type"].endswith((":not-found", ":method-not-allowed"))


@dataclass
class Caller:
    """Somebody who is signed in, with a token that the authorizer has checked."""

    user_id: str
    client_id: str
    request_id: str = "JKJaXmPLvHcESHA="

    def event(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | str | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        claims: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the event of a request. A body that is no text or bytes is sent as JSON."""
        event = copy.deepcopy(sample("list_items"))
        raw_query = query if isinstance(query, str) else urlencode(query or {}, errors="surrogatepass")
        event |= {"rawPath": path, "rawQueryString": raw_query, "pathParameters": {"proxy": path[1:]}}
        event.pop("queryStringParameters", None)
        # API Gateway joins the values of a name that comes twice.
        values: dict[str, str] = {}
        # A lone surrogate is what a test sends on purpose; other bytes that are no UTF-8 arrive as �.
        decoding = "replace" if "%ff" in raw_query else "surrogatepass"
        for name, value in parse_qsl(raw_query, keep_blank_values=True, errors=decoding):
            values[name] = f"{values[name]},{value}" if name in values else value
        if values:
            event["queryStringParameters"] = values
        context = event["requestContext"]
        context["http"] |= {"method": method, "path": path}
        context["requestId"] = self.request_id
        context["authorizer"]["jwt"]["claims"] |= {"sub": self.user_id, "client_id": self.client_id}
        context["authorizer"]["jwt"]["claims"] |= claims or {}
        event["headers"] |= headers or {}
        if isinstance(body, bytes):
            event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        elif isinstance(body, str):
            event["body"] = body
        elif body is not None:
            event["body"] = json.dumps(body)
            event["headers"].setdefault("content-type", "application/json")
        return event

    def __call__(self, method: str, path: str, query: Any = None, **given: Any) -> Answer:
        return invoke(self.event(method, path, query, **given))

    def get(self, path: str, **query: Any) -> Answer:
        return self("GET", path, query)

    def patch(self, path: str, body: Any) -> Answer:
        return self("PATCH", path, body=body)

    def delete(self, path: str) -> Answer:
        return self("DELETE", path)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self("POST", path, body=body, headers=named)


def invoke(event: dict[str, Any], context: LambdaContext | None = None) -> Answer:
    """Call the function, and read its answer."""
    http = event["requestContext"]["http"]
    answer = lambda_handler(event, context or LambdaContext(remaining_ms=15_000))
    json.dumps(answer)
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    body = answer["body"]
    if answer["isBase64Encoded"]:
        assert headers.pop("content-encoding") == "gzip"
        body = gzip.decompress(base64.b64decode(body)).decode()
    if "json" in headers.get("content-type", "") and http["method"] != "HEAD":
        body = json.loads(body)
    read = Answer(answer["statusCode"], headers, body)
    operation = document.operation_of(http["method"], event["rawPath"])
    # Whatever a test asks for: what the API answers is what its document tells.
    told = operation and not read.is_of_no_route and document.misfit(operation, read)
    assert not told, f"{told}\nIf that is as it should be: run `make openapi`."
    return read


def assert_problem(answer: Answer, status: int, kind: str) -> None:
    """Expect a problem, whole and for nobody to keep."""
    assert (answer.status, answer.body.get("type")) == (status, f"urn:problem-type:magpie:{kind}"), (
        answer.body
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert answer.body["detail"]
    assert answer.body["correlation_id"] == "JKJaXmPLvHcESHA="
