"""What an event of Stripe says, whatever version of its API it was written in.

Shapes: https://docs.stripe.com/api/events/types. Since version 2025-03-31 a period stands on the items of a
subscription, and an invoice names its subscription below `parent`; before, both stood on the object itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidEventError

FORGOTTEN = "{}"
"""In place of the body of an event about somebody who is erased."""

TYPES = (
    "checkout.session.completed",
    "invoice.payment_failed",
    "invoice.paid",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.deleted",
)
"""What is read, in the order in which events of one second count: what a subscription says of itself comes
after what an invoice says of it."""

USER_ID = "user_id"
"""Under which our user's id stands in the metadata that a checkout gives a subscription."""

_CAN_BE_SOMEBODY = re.compile(r"[^/\x00]{1,128}")

Seconds = Annotated[int, Field(ge=0, lt=2**37)]
Metadata = Annotated[Mapping[str, str] | None, Field(default=None)]


@dataclass(frozen=True)
class Price:
    """What an item costs. The lookup key says the tier; it may have moved on to a newer price."""

    price_id: str
    lookup_key: str | None


@dataclass(frozen=True)
class Subscription:
    """A subscription as one event shows it.

    Attributes:
        status: Stripe's word.
        prices: of its items.
        period_end: until when it is paid, or would be.
        cancels: whether it ends by itself instead of renewing.
    """

    subscription_id: str
    customer_id: str
    status: str
    prices: tuple[Price, ...]
    period_end: datetime | None
    cancels: bool


@dataclass(frozen=True)
class Told:
    """One event.

    Attributes:
        created: by Stripe's clock, in whole seconds.
        user_id: whose customer it is, where it says so.
        subscription: of an event about one.
        subscription_id: of the subscription that an invoice belongs to.
    """

    event_id: str
    created: int
    type: str
    customer_id: str
    user_id: str | None = None
    subscription: Subscription | None = None
    subscription_id: str | None = None


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Price(_Shape):
    id: str
    lookup_key: str | None = None


class _Item(_Shape):
    price: _Price | None = None
    current_period_end: Seconds | None = None


class _Items(_Shape):
    data: list[_Item] = []


class _Subscription(_Shape):
    id: str
    customer: str
    status: str
    items: _Items = _Items()
    metadata: Metadata
    cancel_at_period_end: bool = False
    cancel_at: Seconds | None = None
    current_period_end: Seconds | None = None


class _OfSubscription(_Shape):
    subscription: str | None = None
    metadata: Metadata


class _Parent(_Shape):
    subscription_details: _OfSubscription | None = None


class _Invoice(_Shape):
    customer: str
    subscription: str | None = None
    subscription_details: _OfSubscription | None = None
    parent: _Parent | None = None


class _Session(_Shape):
    customer: str
    client_reference_id: str | None = None
    metadata: Metadata


class _Customer(_Shape):
    id: str
    metadata: Metadata


class _Data(_Shape):
    object: dict[str, Any]


class _Event(_Shape):
    id: str
    type: str
    created: Seconds
    data: _Data


def read(body: str) -> Told | None:
    """Return what an event says, None where it is of a type that is not read, or forgotten.

    Raises:
        InvalidEventError: it has another shape than Stripe's.
    """
    if body == FORGOTTEN:
        return None
    try:
        event = _Event.model_validate_json(body)
        return _READERS[event.type](event) if event.type in _READERS else None
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_input=False))
        raise InvalidEventError(f"not an event of Stripe as it is known: {wrong}") from None


def _session(event: _Event) -> Told:
    said = _Session.model_validate(event.data.object)
    return Told(
        event.id,
        event.created,
        event.type,
        said.customer,
        user_id=_user(said.metadata, said.client_reference_id),
    )


def _subscription(event: _Event) -> Told:
    said = _Subscription.model_validate(event.data.object)
    ends = [item.current_period_end for item in said.items.data] + [said.current_period_end]
    latest = max((end for end in ends if end is not None), default=None)
    return Told(
        event.id,
        event.created,
        event.type,
        said.customer,
        user_id=_user(said.metadata),
        subscription=Subscription(
            said.id,
            said.customer,
            "canceled" if event.type.endswith(".deleted") else said.status,
            tuple(Price(item.price.id, item.price.lookup_key) for item in said.items.data if item.price),
            None if latest is None else datetime.fromtimestamp(latest, UTC),
            # The portal says it in the one way or the other, by how the subscription is billed.
            said.cancel_at_period_end or said.cancel_at is not None,
        ),
    )


def _invoice(event: _Event) -> Told:
    said = _Invoice.model_validate(event.data.object)
    details = (said.parent and said.parent.subscription_details) or said.subscription_details
    return Told(
        event.id,
        event.created,
        event.type,
        said.customer,
        user_id=_user(details.metadata) if details else None,
        subscription_id=said.subscription or (details.subscription if details else None),
    )


def _customer(event: _Event) -> Told:
    said = _Customer.model_validate(event.data.object)
    return Told(event.id, event.created, event.type, said.id, user_id=_user(said.metadata))


def _user(metadata: Mapping[str, str] | None, otherwise: str | None = None) -> str | None:
    """Return whom an event names, None where that can be nobody: whoever opens a payment link of Stripe's may
    put anything into it."""
    said = (metadata or {}).get(USER_ID) or otherwise
    return said if said and _CAN_BE_SOMEBODY.fullmatch(said) else None


_READERS = {
    "checkout.session.completed": _session,
    "invoice.payment_failed": _invoice,
    "invoice.paid": _invoice,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "customer.deleted": _customer,
}
