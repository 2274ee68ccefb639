"""Answer every request that a signed-in user may make."""

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.api import problems, request
from functions.api.routes import (
    account,
    actions,
    billing,
    docs,
    duplicates,
    imports,
    items,
    page,
    runs,
    scans,
    search,
    system,
)

logger = Logger()
app = APIGatewayHttpResolver(
    enable_validation=True,
    debug=False,
    response_validation_error_http_code=HTTPStatus.INTERNAL_SERVER_ERROR,
)
problems.register(app)
app.use([request.known_parameters_only])
for routes in (
    *(items, actions, search, duplicates, runs, scans, imports),
    *(account, billing, system, docs, page),
):
    app.include_router(routes.router)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    asked, http = event["requestContext"], event["requestContext"]["http"]
    if http["method"] != "HEAD":
        return app.resolve(event, context)
    # What GET answers, without the content: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    event = {**event, "requestContext": {**asked, "http": {**http, "method": "GET"}}}
    return app.resolve(event, context) | {"body": "", "isBase64Encoded": False}
