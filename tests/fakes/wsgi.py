"""The API as a WSGI application, for tools that speak HTTP: in this process, signed in as somebody."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request

from functions.api.handler import lambda_handler
from tests.conftest import LambdaContext
from tests.fakes.http_api import Caller

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(caller: Caller, context: LambdaContext) -> Any:
    """Return an application in which every request is this caller's.

    Args:
        context: of Lambda, the same for every request.
    """

    def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        headers = {name.lower(): value for name, value in request.headers.items() if name != "Authorization"}
        event = caller.event(
            request.method,
            request.path,
            request.query_string.decode("latin-1"),
            body=request.get_data() or None,
            headers={**headers, "accept-encoding": "identity"},
        )
        answer = lambda_handler(event, context)
        phrase = HTTPStatus(answer["statusCode"]).phrase
        start_response(f"{answer['statusCode']} {phrase}", list(answer["headers"].items()))
        return [(answer["body"] or "").encode()]

    return serve
