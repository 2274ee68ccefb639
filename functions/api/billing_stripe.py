"""Ask Stripe, through its SDK: how long, how often, and what becomes of each failure.

Nothing that Stripe says of a failure is passed on: its sentences quote what was sent, the key's end included.
"""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from aws_lambda_powertools import Logger
from pydantic import Field

from functions.api.problems import RETRY_AFTER_SECONDS, Problem, unavailable
from shared import parameters
from shared.errors import MagpieError
from shared.settings import Settings

if TYPE_CHECKING:
    from stripe import StripeClient, StripeError

logger = Logger(child=True)

T = TypeVar("T")

TIMEOUT_SECONDS = (1.0, 3.5)
"""To connect, and between two bytes. The API has 15 seconds for two calls; the second is tried twice."""


class StripeEnv(Settings):
    """How Stripe is asked."""

    key_parameter: str = Field(alias="STRIPE_KEY_PARAMETER")
    base_url: str | None = Field(None, alias="STRIPE_BASE_URL", description="for tests and proxies")


class UnknownCustomerError(MagpieError):
    """Stripe does not know the customer: deleted there, or of another key."""


class RefusedError(MagpieError):
    """Stripe refuses what we ask: a wrong key, a restricted one, a parameter that it does not take."""


def client() -> "StripeClient":
    """Return a client of Stripe's.

    Raises:
        Problem: 501, there is no key.
        TransientError: Parameter Store does not answer.
    """
    env = StripeEnv.load()
    key = parameters.find(env.key_parameter)
    if key is None:
        logger.warning("no key for stripe", parameter=env.key_parameter)
        raise not_configured()
    import stripe

    # It would write a file into the home folder, and tell of this machine.
    stripe.enable_telemetry = False
    # It logs each request, and of failures the whole sentence.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    return stripe.StripeClient(
        key,
        base_addresses={"api": env.base_url} if env.base_url else {},
        http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
    )


def price(stripe_client: "StripeClient", lookup_key: str) -> str:
    """Return the id of the price that is sold under a lookup key today.

    Raises:
        Problem: 501, nothing is; others as `ask`.
    """
    found = ask(
        lambda: stripe_client.v1.prices.list({"lookup_keys": [lookup_key], "active": True, "limit": 1})
    )
    if not found.data:
        logger.error("no price at stripe", lookup_key=lookup_key)
        raise not_configured()
    return found.data[0].id


def open_checkout(stripe_client: "StripeClient", asked: Mapping[str, Any], key: str) -> str:
    """Return the URL of a page on which somebody subscribes.

    Args:
        asked: https://docs.stripe.com/api/checkout/sessions/create
        key: the same for the same request; Stripe then answers with the same page.

    Raises:
        Problem, UnknownCustomerError, RefusedError: as `ask`.
    """
    params: Any = dict(asked)
    session = ask(
        lambda: stripe_client.v1.checkout.sessions.create(
            params, {"idempotency_key": key, "max_network_retries": 1}
        )
    )
    if not session.url:
        raise RefusedError("Stripe made a checkout without a page of its own")
    return session.url


def open_portal(stripe_client: "StripeClient", customer_id: str, return_url: str, key: str) -> str:
    """Return the URL of the page on which a customer changes or ends what they pay for.

    Raises:
        Problem, UnknownCustomerError, RefusedError: as `ask`.
    """
    session = ask(
        lambda: stripe_client.v1.billing_portal.sessions.create(
            {"customer": customer_id, "return_url": return_url},
            {"idempotency_key": key, "max_network_retries": 1},
        )
    )
    return session.url


def ask(call: Callable[[], T]) -> T:
    """Return what Stripe answers.

    Raises:
        Problem: 503, it throttles, is down or does not answer in time; 409, the same request is at work.
        UnknownCustomerError: it does not know the customer that was named.
        RefusedError: it refuses anything else.
    """
    import stripe

    try:
        return call()
    except stripe.StripeError as error:
        raise _judged(error) from None


def _judged(error: "StripeError") -> MagpieError:
    """Tell what passes from what somebody has to mend. Of what Stripe says, only codes are kept."""
    import stripe

    status, code = error.http_status, error.code
    param = getattr(error, "param", None)
    told = f"{type(error).__name__} {status or ''} {code or ''} {param or ''}".strip()
    if status == HTTPStatus.CONFLICT:
        return Problem(
            HTTPStatus.CONFLICT,
            "request-in-progress",
            "Ask again in a moment, with the same key.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )
    passes = isinstance(error, stripe.APIConnectionError | stripe.RateLimitError)
    if passes or status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < 400:
        logger.warning("stripe does not answer as it should", answer=told, request_id=error.request_id)
        return unavailable()
    if code == "resource_missing" and param == "customer":
        return UnknownCustomerError("Stripe does not know this customer")
    logger.error("stripe refuses", answer=told, request_id=error.request_id)
    return RefusedError(f"Stripe refuses: {told}")


def not_configured() -> Problem:
    return Problem(
        HTTPStatus.NOT_IMPLEMENTED,
        "billing-not-configured",
        "Nothing is sold here yet. Who runs this has to give Stripe's secret key and a price for each tier: "
        "docs/stripe.md.",
    )
