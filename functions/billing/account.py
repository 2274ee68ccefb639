"""What all events about somebody's customers come to: the same, in whatever order they arrived.

Stripe delivers in no order, twice, and days late (https://docs.stripe.com/webhooks#event-ordering). So no
event changes a state: each time all of them are put in order and read from the first to the last.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from functions.billing.told import TYPES, Subscription, Told

ENDED = ("incomplete_expired", "canceled")
"""What a subscription never comes back from."""

STATUSES = ("incomplete", "paused", "unpaid", "past_due", "trialing", "active", *ENDED)
"""In the order in which they count within one second, of which nobody knows what came first: an end is the
end, and before that it is taken in favour of whoever pays."""


@dataclass(frozen=True)
class Account:
    """What somebody has at Stripe.

    Attributes:
        customer_ids: those that are not deleted, the one that was heard of last at the end.
        subscriptions: all that there ever were, the one that was heard of last at the end.
    """

    customer_ids: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()


def owner(told: Iterable[Told]) -> str | None:
    """Return whose a customer is: whoever was named first, since nobody takes it over later."""
    return next((each.user_id for each in in_order(told) if each.user_id), None)


def fold(told: Iterable[Told]) -> Account:
    """Return what events come to. Each may be there once or more, in any order."""
    customers: dict[str, None] = {}
    keys: dict[str, str] = {}
    subscriptions: dict[str, Subscription] = {}
    deleted: set[str] = set()
    for each in in_order(told):
        customers.pop(each.customer_id, None)
        customers[each.customer_id] = None
        if each.type == "customer.deleted":
            deleted.add(each.customer_id)
        elif each.subscription is not None:
            for price in each.subscription.prices:
                if price.lookup_key:
                    keys[price.price_id] = price.lookup_key
            before = subscriptions.pop(each.subscription.subscription_id, each.subscription)
            now = before if before.status in ENDED else each.subscription
            subscriptions[now.subscription_id] = now
        elif each.subscription_id in subscriptions:
            known = subscriptions[each.subscription_id]
            subscriptions[each.subscription_id] = replace(known, status=_paid(known.status, each.type))
    return Account(
        tuple(customer for customer in customers if customer not in deleted),
        tuple(_as_it_is(each, keys, deleted) for each in subscriptions.values()),
    )


def in_order(told: Iterable[Told]) -> list[Told]:
    """Return events in the order in which they happened, as far as that can be known, each once."""
    return sorted({each.event_id: each for each in told}.values(), key=_place)


def _as_it_is(subscription: Subscription, keys: Mapping[str, str], deleted: Container[str]) -> Subscription:
    """Return a subscription with what it does not say itself.

    A price is what it was called when somebody bought it: when a newer one takes over its lookup key, it is
    left without any. And whoever is deleted is charged no more, whether each end was heard of or not.
    """
    prices = tuple(
        replace(price, lookup_key=price.lookup_key or keys.get(price.price_id))
        for price in subscription.prices
    )
    if subscription.customer_id in deleted and subscription.status not in ENDED:
        return replace(subscription, prices=prices, status="canceled", cancels=False)
    return replace(subscription, prices=prices)


def _place(told: Told) -> tuple[int, int, int, str]:
    status = told.subscription.status if told.subscription else ""
    rank = STATUSES.index(status) if status in STATUSES else -1
    return told.created, TYPES.index(told.type), rank, told.event_id


def _paid(status: str, event_type: str) -> str:
    """Return what an invoice makes of its subscription, until that says so itself."""
    if event_type == "invoice.payment_failed" and status == "active":
        return "past_due"
    if event_type == "invoice.paid" and status == "past_due":
        return "active"
    return status
