"""Read a request's body into its model."""

import json
from http import HTTPStatus
from typing import TypeVar

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from pydantic import BaseModel, ValidationError

from functions.api.problems import Problem, invalid_input

T = TypeVar("T", bound=BaseModel)


def read(event: APIGatewayProxyEventV2, model: type[T]) -> T:
    """Return the body of a request, which must be JSON.

    Not left to the resolver's validation, which answers 500 to a form without a boundary, to bytes that
    are no text, and to JSON that is nested ten thousand deep.

    Raises:
        Problem: 415, it is declared as something else; 400, it is not JSON; 422, it does not fit.
    """
    declared = event.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in ("", "application/json"):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Send application/json.")
    try:
        content = json.loads(event.decoded_body or "")
    except (ValueError, RecursionError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed-request", "The body is not JSON.") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise invalid_input(
            [{**wrong, "loc": ("body", *wrong["loc"])} for wrong in error.errors(include_input=False)]
        ) from error
