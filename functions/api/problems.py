"""What went wrong, as RFC 9457 says it: one shape for every error, and nothing from inside.

Each kind has a `type` that never changes, so that a client can tell errors apart without reading prose.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.middlewares import NextMiddleware
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from shared.erasures import AccountDeletedError
from shared.errors import MagpieError, TransientError
from shared.quotas import DEPLOYMENT, OverQuotaError

logger = Logger(child=True)

TYPE_PREFIX = "urn:problem-type:magpie:"
CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of every answer: it belongs to one user for one moment, and most hold URLs that are secrets."""


MAX_ERRORS = 20
MAX_NAME = 100
MAX_MESSAGE = 300
"""Fields that a problem lists, and letters that it says of each: a body may have a million of either."""


class Problem(MagpieError):
    """An error that the caller is told about. Raise it anywhere below a route.

    Args:
        kind: the end of `type`, stable for ever.
        detail: a sentence about this case, for a person.
        errors: what is wrong with which field: `{"field", "message"}`.
        headers: to send along.
        members: of this kind of problem, beside those that all have.
    """

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def response(self, correlation_id: str) -> Response[str]:
        """Return the answer that tells it."""
        body: dict[str, Any] = {
            "type": TYPE_PREFIX + self.kind,
            "title": TITLES[self.kind],
            "status": int(self.status),
            "detail": self.detail,
            "correlation_id": correlation_id,
            **self.members,
        }
        if self.errors:
            body["errors"] = self.errors
        return Response(int(self.status), CONTENT_TYPE, json.dumps(body), headers=HEADERS | self.headers)


TITLES = {
    "malformed-request": "The request cannot be read",
    "invalid-cursor": "The cursor is not one of ours",
    "invalid-input": "Something in the request is not as it should be",
    "invalid-idempotency-key": "The Idempotency-Key cannot be used",
    "not-signed-in": "Sign in first",
    "account-deleted": "The account was deleted",
    "not-found": "There is nothing here",
    "item-not-found": "There is no such item",
    "item-deleted": "The item has been deleted",
    "item-not-fit": "This item is not in a state for that",
    "run-not-found": "There is no such run",
    "scan-not-found": "There is no such scan",
    "import-not-found": "There is no such import",
    "import-undone": "The import is being undone",
    "too-many-runs": "Too many runs at a time",
    "over-quota": "There is no room left for that",
    "already-subscribed": "There is a subscription already",
    "no-subscription": "There is no subscription",
    "subscription-renews": "The subscription goes on",
    "billing-not-configured": "Nothing is sold here",
    "erasure-not-found": "Nobody asked to delete this account",
    "method-not-allowed": "This cannot be done here",
    "request-in-progress": "The same request is still being answered",
    "idempotency-key-reused": "The Idempotency-Key belongs to another request",
    "too-large": "The file is too large",
    "unsupported-media-type": "The body is not JSON",
    "unavailable": "Try again in a moment",
    "internal-error": "Something went wrong on our side",
}
"""Every kind, with its title: the same for every case of a kind."""


def invalid_input(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Return the problem of input that does not fit its model.

    Args:
        errors: as pydantic lists them. What was sent is not repeated.
    """
    told = f"See `errors` for {'each field' if len(errors) <= MAX_ERRORS else f'the first {MAX_ERRORS}'}."
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-input",
        told,
        errors=[{"field": _field(error["loc"]), "message": _message(error)} for error in errors[:MAX_ERRORS]],
    )


def _message(error: Mapping[str, Any]) -> str:
    """Return what is wrong, in words. What our own validators say, pydantic puts behind a word of its own."""
    said = str(error.get("msg", error["type"])).removeprefix("Value error, ")
    return said if len(said) <= MAX_MESSAGE else said[: MAX_MESSAGE - 1] + "…"


def _field(place: Sequence[str | int]) -> str:
    """Return what a client calls a field. Where parameters are read as one model, pydantic names that too."""
    if len(place) == 3 and place[0] == "query" and isinstance(place[2], str):
        place = (place[0], place[2])
    return ".".join(str(part)[:MAX_NAME] for part in place)[:MAX_NAME]


def not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "not-found", "No route of this API has this path.")


def method_not_allowed(allowed: Collection[str]) -> Problem:
    """Return the problem of a path that takes other methods; where it takes GET, also HEAD."""
    told = ", ".join(sorted({*allowed, "HEAD"} if "GET" in allowed else allowed))
    return Problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method-not-allowed",
        f"This path takes {told}.",
        headers={"Allow": told},
    )


def account_deleted() -> Problem:
    return Problem(
        HTTPStatus.FORBIDDEN,
        "account-deleted",
        "Everything of this account was deleted, at its owner's request. GET /me/erasure shows the receipt.",
    )


def import_not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "import-not-found", "You have no import with this id.")


def import_undone() -> Problem:
    return Problem(
        HTTPStatus.CONFLICT, "import-undone", "Undo it to its end first; then it can be begun anew."
    )


def over_quota(error: OverQuotaError) -> Problem:
    """Return the problem of what does not fit: what, how much, and when that changes by itself, if ever.

    How much everybody together may spend, and has, is nobody's business but the operator's.
    """
    shared = error.owner == DEPLOYMENT
    number = float if error.meter == "model_usd" else int
    resets_at = error.resets_at
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "over-quota",
        error.sentence,
        headers={"Retry-After": str(_seconds_until(resets_at))} if resets_at else {},
        members={
            "meter": "deployment" if shared else error.meter,
            "limit": None if shared else number(error.limit),
            "used": None if shared else number(error.used),
            "wanted": number(error.wanted),
            "resets_at": resets_at.isoformat() if resets_at else None,
        },
    )


def _seconds_until(moment: datetime) -> int:
    return max(1, math.ceil((moment - datetime.now(UTC)).total_seconds()))


def item_not_found() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "item-not-found", "You have no item with this id.")


def unavailable() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "A part that is needed for this answer does not respond. Nothing was lost.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def internal_error() -> Problem:
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "It has been written down under the correlation id, and is not your fault.",
    )


def register(app: APIGatewayHttpResolver) -> None:
    """Make an app answer whatever is raised with a problem, and unknown routes too."""

    def tell(problem: Problem) -> Response[str]:
        return problem.response(str(app.current_event.request_context.request_id))

    def found_nothing(_: NotFoundError) -> Response[str]:
        path = app.current_event.path
        routes = [*app._static_routes, *app._dynamic_routes]
        allowed = {route.method for route in routes if route.rule.match(path)}
        return tell(method_not_allowed(allowed) if allowed else not_found())

    def does_not_fit(error: RequestValidationError) -> Response[str]:
        return tell(invalid_input(error.errors()))

    def passes(error: TransientError) -> Response[str]:
        logger.warning("request failed for now", reason=str(error))
        return tell(unavailable())

    def erased(_: AccountDeletedError) -> Response[str]:
        return tell(account_deleted())

    def does_not_fit_in(error: OverQuotaError) -> Response[str]:
        logger.info("over quota", meter=error.meter, shared=error.owner == DEPLOYMENT)
        return tell(over_quota(error))

    def unexpected(error: Exception) -> Response[str]:
        # Everything else is a bug or a missing permission, an answer that breaks its own model included.
        logger.error("request failed", exc_info=error)
        return tell(internal_error())

    def with_headers(_: APIGatewayHttpResolver, next_middleware: NextMiddleware) -> Response[Any]:
        response: Response[Any] = next_middleware(app)
        response.headers = {**HEADERS, **response.headers}
        return response

    app.exception_handler(Problem)(tell)
    app.exception_handler(NotFoundError)(found_nothing)
    app.exception_handler(RequestValidationError)(does_not_fit)
    app.exception_handler(TransientError)(passes)
    app.exception_handler(AccountDeletedError)(erased)
    app.exception_handler(OverQuotaError)(does_not_fit_in)
    app.exception_handler(Exception)(unexpected)
    app.use([with_headers])
