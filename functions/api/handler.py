"""Answer every request that a signed-in user may make."""

from functools import cache
from http import HTTPStatus
from importlib import import_module
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.api import problems, request
from functions.api.routes import actions, items, page, runs, search, system

logger = Logger()
app = APIGatewayHttpResolver(
    enable_validation=True,
    debug=False,
    response_validation_error_http_code=HTTPStatus.INTERNAL_SERVER_ERROR,
)
problems.register(app)
app.use([request.known_parameters_only])
for routes in (items, actions, search, runs, system, page):
    app.include_router(routes.router)

LATER = {
    "duplicates": "duplicates",
    "scans": "scans",
    "imports": "imports",
    "usage": "account",
    "categories": "account",
    "me": "account",
    "export": "account",
    "billing": "billing",
    "openapi.json": "docs",
    "docs": "docs",
}
"""First part of a path → the routes that have all such paths. They are taken in by the first request for one:
a cold start is seldom asked for them, and need not wait for what only they import."""


@cache
def take_in(later: str) -> None:
    """Import one of the modules of `LATER`, and let the app have its routes."""
    app.include_router(import_module(f"functions.api.routes.{later}").router)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    first_part = APIGatewayProxyEventV2(event).path.removeprefix("/").partition("/")[0]
    if first_part in LATER:
        take_in(LATER[first_part])
    asked, http = event["requestContext"], event["requestContext"]["http"]
    if http["method"] != "HEAD":
        return app.resolve(event, context)
    # What GET answers, without the content: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    event = {**event, "requestContext": {**asked, "http": {**http, "method": "GET"}}}
    return app.resolve(event, context) | {"body": "", "isBase64Encoded": False}
