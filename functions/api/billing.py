"""Where somebody goes to pay, and to stop paying: Stripe's own pages, for the one who asks."""

import json
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from functions.api import billing_stripe, request
from functions.api.problems import Problem, invalid_input
from functions.api.request import Retry
from shared import addresses, database, erasures, profiles
from shared.models import Model
from shared.settings import Settings

if TYPE_CHECKING:
    from psycopg.rows import DictRow

OPEN = ("active", "trialing", "past_due", "unpaid", "paused")
"""Statuses of a subscription that has not ended: a second one beside it would be paid twice."""

SUBSCRIPTION = """
SELECT email, stripe_customer_id, subscription_status, subscription_period_end, subscription_cancels
  FROM user_profiles
 WHERE user_id = %(user_id)s
"""

Url = Annotated[str, Field(min_length=1, max_length=2000)]


class BillingEnv(Settings):
    """Where people may be sent back to."""

    allowed_origins: str = Field(alias="ALLOWED_ORIGINS")


class NewCheckout(Model):
    """What somebody wants to subscribe to."""

    tier: Literal["plus", "team"]
    success_url: Url | None = Field(
        None, description="on one of the deployment's own origins; by default the page"
    )
    cancel_url: Url | None = Field(
        None, description="on one of the deployment's own origins; by default the page"
    )


class NewPortal(Model):
    """Where somebody wants to be afterwards."""

    return_url: Url | None = Field(
        None, description="on one of the deployment's own origins; by default the page"
    )


class Place(Model):
    """A page of Stripe's, for the one who asked. Send their browser there; it is good for a short time."""

    url: str


class Subscription(Model):
    """What somebody pays for, as Stripe has told it."""

    status: str = Field(
        description="Stripe's word: trialing, active, past_due, unpaid, paused, canceled, incomplete, …"
    )
    period_end: datetime | None = Field(description="until when it is paid, or was")
    cancels: bool = Field(description="whether it ends then, instead of renewing")


def checkout(user_id: str, asked: NewCheckout, again: Retry) -> Place:
    """Return where to subscribe.

    Raises:
        Problem: 409, there is a subscription already; 422, a URL leads elsewhere; 501, nothing is sold
            here; 503, Stripe does not answer.
        AccountDeletedError: nothing is sold to somebody who is erased.
    """
    success, cancel = _ours("success_url", asked.success_url), _ours("cancel_url", asked.cancel_url)
    again.once(dict)  # nothing is remembered but what the caller's key stands for: the answer is a secret
    row = _mine(user_id)
    if row["subscription_status"] in OPEN:
        raise Problem(
            HTTPStatus.CONFLICT,
            "already-subscribed",
            "There is a subscription. POST /billing/portal leads to where it can be changed.",
        )
    stripe_client = billing_stripe.client()
    lookup_key = profiles.tiers()["tiers"][asked.tier]["lookup_key"]
    params = {
        "mode": "subscription",
        "line_items": [{"price": billing_stripe.price(stripe_client, lookup_key), "quantity": 1}],
        "success_url": success,
        "cancel_url": cancel,
        # Whose it is: the first on the session alone, the second on every event of the subscription.
        "client_reference_id": user_id,
        "subscription_data": {"metadata": {"user_id": user_id}},
    }
    if row["stripe_customer_id"]:
        known = {**params, "customer": row["stripe_customer_id"]}
        try:
            return Place(url=billing_stripe.open_checkout(stripe_client, known, _key(again, known)))
        except billing_stripe.UnknownCustomerError:
            pass  # deleted there, and the event has not come yet: they become a customer anew
    if email := _mailbox(row["email"]):
        params["customer_email"] = email
    return Place(url=billing_stripe.open_checkout(stripe_client, params, _key(again, params)))


def portal(user_id: str, asked: NewPortal, again: Retry) -> Place:
    """Return where to change what one pays for, the card, or to end it.

    Raises:
        Problem: 409, there is nothing to change; 422, 501, 503 as `checkout`.
        AccountDeletedError: they are erased.
    """
    back = _ours("return_url", asked.return_url)
    again.once(dict)
    customer_id = _mine(user_id)["stripe_customer_id"]
    if customer_id is None:
        raise _no_subscription()
    stripe_client = billing_stripe.client()
    key = _key(again, {"customer": customer_id, "return_url": back})
    try:
        return Place(url=billing_stripe.open_portal(stripe_client, customer_id, back, key))
    except billing_stripe.UnknownCustomerError as error:
        raise _no_subscription() from error


def subscription(user_id: str) -> Subscription | None:
    """Return what somebody pays for, None where they never did."""
    return _shown(database.fetch_one(SUBSCRIPTION, {"user_id": user_id}))


def refuse_renewing(user_id: str) -> None:
    """Refuse to delete somebody who would go on being charged: only they can say that it shall end.

    Raises:
        Problem: 409, a subscription renews.
    """
    found = subscription(user_id)
    if found is not None and found.status in OPEN and not found.cancels:
        raise Problem(
            HTTPStatus.CONFLICT,
            "subscription-renews",
            "You would go on being charged. End the subscription first, where POST /billing/portal leads.",
        )


def _shown(row: "DictRow | None") -> Subscription | None:
    if row is None or row["subscription_status"] is None:
        return None
    return Subscription(
        status=row["subscription_status"],
        period_end=row["subscription_period_end"],
        cancels=row["subscription_cancels"],
    )


def _mine(user_id: str) -> "DictRow":
    """Return what is known of whoever pays, who has a profile from now on."""
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        profiles.ensure(cursor, user_id)
        row = cursor.execute(SUBSCRIPTION, {"user_id": user_id}).fetchone()
    assert row is not None  # noqa: S101 - it was there, or has just been made
    return row


def _key(again: Retry, params: dict[str, Any]) -> str:
    """Return the key under which Stripe knows a request again.

    Stripe refuses another request under an old key. Ours may be another although the caller's is not:
    prices change, and somebody becomes a customer.
    """
    return str(again.derived_id(json.dumps(params, sort_keys=True)))


def _mailbox(email: str | None) -> str | None:
    """Return an address that Stripe will take, None where there is none: people can type it there too."""
    try:
        return email if email and email.isascii() and addresses.read(email) else None
    except addresses.AddressError:
        return None


def _origins() -> list[str]:
    """Return where people may be sent back to: where the API is, with the page on it, and the other pages."""
    event = request.event()
    scheme = event.headers.get("x-forwarded-proto", "https")
    allowed = BillingEnv.load().allowed_origins.split(",")
    return [f"{scheme}://{event.request_context.domain_name}", *(place for place in allowed if place)]


def _ours(field: str, url: str | None) -> str:
    """Return a URL that is ours, the page's where none was given.

    Stripe sends people there who trust the page that they come from: it must not lead anywhere else.

    Raises:
        Problem: 422, it does.
    """
    places = _origins()
    if url is None:
        return f"{places[0]}/"
    if not any(_leads_to(place, url) for place in places):
        told = f"must begin with one of: {', '.join(places)}"
        raise invalid_input([{"loc": ("body", field), "type": "", "msg": told}])
    return url


def _leads_to(place: str, url: str) -> bool:
    """Say whether a URL is of an origin, and would be to every browser, however it repairs what is odd."""
    rest = url.removeprefix(place)
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>')
    return is_plain and rest != url and (not rest or rest[0] in "/?#")


def _no_subscription() -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "no-subscription",
        "You have never subscribed to anything. POST /billing/checkout begins a subscription.",
    )
