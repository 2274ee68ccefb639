"""Paying: where to subscribe to a larger tier, and where to change that or end it."""

from http import HTTPStatus

from aws_lambda_powertools import Logger

from functions.api import billing, body, request
from functions.api.request import caller

logger = Logger(child=True)
router = request.router()


@router.post("/billing/checkout", status_code=HTTPStatus.CREATED)
def begin_checkout() -> billing.Place:
    """Begin a subscription on a page of Stripe's.

    The tier is there a moment after the payment; `GET /me` shows it.
    """
    user_id = caller()
    asked = body.read(request.event(), billing.NewCheckout)
    again = request.Retry("begin_checkout", asked.model_dump(mode="json", exclude_none=True))
    place = billing.checkout(user_id, asked, again)
    logger.info("checkout begun", tier=asked.tier)
    return place


@router.post("/billing/portal", status_code=HTTPStatus.CREATED)
def open_portal() -> billing.Place:
    """Open the page of Stripe's where the caller's subscription, card and invoices are."""
    user_id = caller()
    event = request.event()
    asked = body.read(event, billing.NewPortal) if body.is_there(event) else billing.NewPortal()
    again = request.Retry("open_portal", asked.model_dump(mode="json", exclude_none=True))
    return billing.portal(user_id, asked, again)
