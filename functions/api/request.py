"""The request that is being answered: who asks, under which id, and what the template gave us.

Powertools keeps the current event where every router finds it; so does this module, and a route needs no
more than its own arguments.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import Route
from aws_lambda_powertools.event_handler.middlewares import NextMiddleware
from aws_lambda_powertools.event_handler.router import APIGatewayHttpRouter
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from pydantic import BaseModel, Field

from functions.api import identity, retry
from functions.api.problems import Problem, invalid_input, item_not_found
from shared.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class Env(Settings):
    """What the template must give the API."""

    uploads_bucket: str = Field(alias="UPLOADS_BUCKET")
    media_bucket: str = Field(alias="MEDIA_BUCKET")
    max_upload_bytes: int = Field(alias="MAX_UPLOAD_BYTES", gt=0)
    idempotency_table: str = Field(alias="IDEMPOTENCY_TABLE")
    user_pool_id: str = Field(alias="USER_POOL_ID")
    user_pool_client_id: str = Field(alias="USER_POOL_CLIENT_ID")
    hosted_ui_url: str = Field(alias="HOSTED_UI_URL")
    region: str = Field(alias="AWS_REGION")


def router() -> APIGatewayHttpRouter:
    """Return an empty router."""
    return APIGatewayHttpRouter()  # type: ignore[no-untyped-call]


def event() -> APIGatewayProxyEventV2:
    """Return the HTTP request as API Gateway told it."""
    return router().current_event


def caller() -> str:
    """Return the user id of whoever asks.

    Raises:
        Problem: 401, as `identity.caller`.
    """
    return identity.caller(event().raw_event, Env.load().user_pool_client_id)


def request_id() -> str:
    """Return the id of this request, which becomes the correlation id of what it sets going."""
    return str(event().request_context.request_id)


def path_id(text: str) -> UUID | None:
    """Return an id of a path, None where it can be nobody's."""
    try:
        return UUID(text)
    except ValueError:
        return None


def item_id(text: str) -> UUID:
    """Return the item id of a path.

    Raises:
        Problem: 404, it is none: what cannot be an item's id is nobody's item.
    """
    found = path_id(text)
    if found is None:
        raise item_not_found()
    return found


def no_body() -> None:
    """Refuse a body on a route that takes none.

    Raises:
        Problem: 400, there is one that says something.
    """
    try:
        said = (event().decoded_body or "").strip()
    except ValueError:  # it is no text
        said = "something"
    if said not in ("", "{}"):
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-request", "This request takes no body.")


def known_parameters_only(app: APIGatewayHttpResolver, next_middleware: NextMiddleware) -> Response[Any]:
    """Refuse a request with a parameter that its route does not know, or with one given twice.

    A filter that is misspelt and passed over would answer with more than was asked for.

    Raises:
        Problem: 422, names each; what cannot be a parameter's name is not repeated.
    """
    route: Route = app.context["_route"]
    if route.include_in_schema:
        given = Counter(name for name, _ in parse_qsl(_query_string(app), keep_blank_values=True))
        known = set(_parameters(route))
        wrong = [(name, "is no parameter of this route") for name in given if name not in known]
        wrong += [(name, "is given more than once") for name in given if name in known and given[name] > 1]
        if wrong:
            raise invalid_input(
                [
                    {"loc": ("query", name) if _NAME.fullmatch(name) else ("query",), "type": "", "msg": said}
                    for name, said in wrong
                ]
            )
    return next_middleware(app)


def _query_string(app: APIGatewayHttpResolver) -> str:
    return str(app.current_event.get("rawQueryString") or "")


def _parameters(route: Route) -> Iterator[str]:
    """Yield the names of a route's parameters, which may be the fields of a model."""
    for parameter in route.dependant.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from (field.alias or name for name, field in model.model_fields.items())
        else:
            yield parameter.alias


class Retry:
    """What a POST needs to be sent again without harm, from its `Idempotency-Key`.

    Args:
        operation: stable name of what is asked; the same key for another operation is another request.
        request: everything that the request says, JSON-ready.

    Raises:
        Problem: 400, the key cannot be used.
    """

    def __init__(self, operation: str, request: Mapping[str, Any]) -> None:
        self._operation = operation
        self._request = dict(request)
        self._user_id = caller()
        self._key = retry.read_key(event().headers.get("idempotency-key"))

    def derived_id(self, part: str = "") -> UUID:
        """Return the id of what the request makes: the same for the same key and request, else a new one.

        Args:
            part: tells apart several things that one request makes.
        """
        whole = {"operation": self._operation, "part": part, **self._request}
        return retry.derived_id(self._user_id, self._key, whole)

    def once(self, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Run something, or return what it returned when this user sent this request before.

        Args:
            run: must itself be harmless to run twice; its answer is kept for a day and so must hold no
                secret, and be small.

        Raises:
            Problem: as `retry.once`.
        """
        return retry.once(
            run,
            operation=self._operation,
            table=Env.load().idempotency_table,
            user_id=self._user_id,
            key=self._key,
            request=self._request,
            context=router().lambda_context,
        )
