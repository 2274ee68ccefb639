"""The caller: profile, usage, export, and the end of it all."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from functions.api import (
    billing,
    body,
    categories,
    erasure,
    export,
    notifications,
    profile,
    request,
    usage,
    waiting,
)
from functions.api.request import Env, caller
from functions.api.routes.items import Limit

logger = Logger(child=True)
router = request.router()

Wait = Annotated[int, Query(ge=0, le=10, description="seconds to wait for the end")]

POLL_SECONDS = 2
"""When to look again at what takes longer."""


@router.get("/usage")
def show_usage(
    month: Annotated[str | None, Query(description="2026-11; by default this month, in UTC")] = None,
    first: Annotated[str | None, Query(alias="from", description="a day, instead of a month")] = None,
    last: Annotated[
        str | None, Query(alias="to", description="a day, itself included; by default today")
    ] = None,
) -> usage.Usage:
    """Show what the caller has spent on models in a period, what they have stored, and how much they may."""
    user_id = caller()
    now = datetime.now(UTC)
    return usage.of(user_id, usage.period(month, first, last, now.date()), now)


@router.get("/categories")
def list_categories(
    limit: Limit = 100, cursor: Annotated[str | None, Query()] = None
) -> categories.Categories:
    """List the categories of the caller's items with their counts, the largest first."""
    user_id = caller()
    return categories.page(user_id, limit, cursor)


@router.get("/me")
def show_me() -> profile.Profile:
    """Show who the caller is, and how much they may."""
    return profile.mine(caller())


@router.patch("/me")
def change_me() -> profile.Profile:
    """Say what the caller wants to be written to about. What is left out stays as it is."""
    user_id = caller()
    change = body.read(request.event(), notifications.Change)
    notifications.change(user_id, change.notifications)
    logger.info("notifications changed", fields=sorted(change.notifications.model_fields_set))
    return profile.mine(user_id)


@router.delete("/me")
def delete_me(wait: Wait = 5) -> Response[erasure.Receipt]:
    """Delete everything of the caller, for good, and the account with it. There is no way back.

    200 with the receipt when it is done, 202 with the receipt so far when it goes on.
    A subscription that renews has to be ended first.
    """
    user_id = caller()
    request.no_body()
    billing.refuse_renewing(user_id)
    begun = erasure.begin(user_id, request.request_id())
    logger.info("erasure asked for", erasure_id=str(begun.receipt_id))
    return _told(waiting.until(erasure.is_finished, lambda: erasure.receipt(user_id), wait))


@router.get("/me/erasure")
def show_receipt() -> Response[erasure.Receipt]:
    """Show what became of the caller's request to delete everything, for as long as a token is valid."""
    return _told(erasure.receipt(caller()))


@router.get("/export")
def export_everything(
    wait: Wait = 5,
    fresh: Annotated[
        bool, Query(description="whether to make a new one, although the last is not an hour old")
    ] = False,
) -> Response[export.Export]:
    """Get a copy of everything of the caller: one of the last hour, or a new one.

    200 with the URL, or with the reason why the last one failed; 202 while it is made.
    """
    user_id = caller()
    export.begin(user_id, fresh, request.request_id())
    row = waiting.until(export.is_finished, lambda: export.latest(user_id), wait)
    shown = export.shown(row, Env.load().media_bucket)
    if shown.status == "running":
        return Response(HTTPStatus.ACCEPTED, "application/json", shown, headers=_later("/export"))
    return Response(HTTPStatus.OK, "application/json", shown)


def _told(receipt: erasure.Receipt) -> Response[erasure.Receipt]:
    if erasure.is_finished(receipt):
        return Response(HTTPStatus.OK, "application/json", receipt)
    return Response(HTTPStatus.ACCEPTED, "application/json", receipt, headers=_later("/me/erasure"))


def _later(path: str) -> dict[str, str | list[str]]:
    return {"Location": path, "Retry-After": str(POLL_SECONDS)}
