"""Read a request's body into its model."""

import json
from http import HTTPStatus
from typing import Any, TypeVar

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from pydantic import BaseModel, ValidationError

from functions.api.problems import Problem, invalid_input

T = TypeVar("T", bound=BaseModel)

JSON = ("", "application/json", "application/merge-patch+json")
"""What a body may be declared as: RFC 7396 is what PATCH does."""


def is_there(event: APIGatewayProxyEventV2) -> bool:
    """Say whether a request has a body, where it need not."""
    return bool(event.body and event.body.strip())


def content(event: APIGatewayProxyEventV2) -> Any:
    """Return the body of a request, which must be JSON.

    Raises:
        Problem: 415, it is declared as something else; 400, it is not JSON.
    """
    declared = event.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in JSON:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Send application/json.")
    try:
        return json.loads(event.decoded_body or "")
    except (ValueError, RecursionError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-request", "The body is not JSON.") from error


def read(event: APIGatewayProxyEventV2, model: type[T]) -> T:
    """Return the body of a request as what it must be.

    Not left to the resolver's validation, which answers 500 to a form without a boundary, to bytes that
    are no text, and to JSON that is nested ten thousand deep.

    Raises:
        Problem: as `content`; 422, it does not fit.
    """
    try:
        # As text once more, in which no lone surrogate is left; strictly, so that "5" is no number and 1 is
        # not true; and whatever the model says of it, a field that is misspelt is not passed over.
        told = json.dumps(content(event), ensure_ascii=False).encode("utf-8", "replace")
        return model.model_validate_json(told, strict=True, extra="forbid")
    except ValidationError as error:
        raise invalid_input(
            [{**wrong, "loc": ("body", *wrong["loc"])} for wrong in error.errors(include_input=False)]
        ) from error
