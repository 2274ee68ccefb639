"""What somebody may have for what they pay: the one place that turns subscriptions into a tier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from functions.billing.account import ENDED, STATUSES, Account
from functions.billing.told import Subscription
from shared.errors import MagpieError

GRANTING = ("active", "trialing", "past_due")
"""Statuses in which a subscription gives its tier. While a payment is overdue Stripe tries again, for as long
as its settings say, and then says `unpaid` or `canceled`: that is the grace, and there is no second clock."""


class UnknownPriceError(MagpieError):
    """A subscription that grants something is for a price that no tier has: a person must look."""


@dataclass(frozen=True)
class Standing:
    """What a profile says of somebody's subscriptions.

    Attributes:
        status, period_end, cancels: of the subscription that counts most.
    """

    tier: str
    customer_id: str | None = None
    status: str | None = None
    period_end: datetime | None = None
    cancels: bool = False


def judge(account: Account, tiers: Mapping[str, Any], default_tier: str) -> Standing:
    """Return what somebody may have: the best of what they pay for, and never less than who pays nothing.

    Args:
        tiers: by name, from the smallest to the largest.

    Raises:
        UnknownPriceError: the tier of a subscription cannot be told.
    """
    names = list(tiers)
    lookup = {tier["lookup_key"]: name for name, tier in tiers.items() if tier["lookup_key"]}
    granted = [_granted(each, lookup, names) for each in account.subscriptions]
    tier = max([default_tier, *(name for name in granted if name)], key=names.index)
    latest = account.customer_ids[-1] if account.customer_ids else None
    if not account.subscriptions:
        return Standing(tier, latest)
    counts = max(
        range(len(granted)),
        key=lambda place: _weight(account.subscriptions[place], granted[place], names, place),
    )
    chosen = account.subscriptions[counts]
    customer_id = chosen.customer_id if chosen.customer_id in account.customer_ids else latest
    return Standing(tier, customer_id, chosen.status, chosen.period_end, chosen.cancels)


def _granted(subscription: Subscription, lookup: Mapping[str, str], names: Sequence[str]) -> str | None:
    if subscription.status not in GRANTING:
        return None
    keys = [price.lookup_key or f"{price.price_id} without a key" for price in subscription.prices]
    tiers = [lookup[key] for key in keys if key in lookup]
    if not tiers:
        raise UnknownPriceError(
            f"no tier has the price of subscription {subscription.subscription_id} "
            f"({', '.join(keys) or 'none'}): give it in Stripe a lookup key of shared/tiers.json, and redrive"
        )
    return max(tiers, key=names.index)


def _weight(
    subscription: Subscription, granted: str | None, names: Sequence[str], place: int
) -> tuple[int, ...]:
    """Return how much a subscription counts: by its tier, by how alive it is, the latest in the end."""
    is_open = subscription.status in STATUSES and subscription.status not in ENDED
    alive = STATUSES.index(subscription.status) if is_open else -1
    return (names.index(granted) if granted else -1, alive, place)
