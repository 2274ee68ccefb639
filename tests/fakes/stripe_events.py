"""Events of Stripe in the shapes in which it sends them, of its API's present version and of an older one.

`stripe_bodies/VERSION/TYPE.json` is one event of each type that is handled, as of November 2026:
https://docs.stripe.com/api/events/types. A test changes in it what it is about.
"""

import hashlib
import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

from functions.billing.told import TYPES

BODIES = Path(__file__).parent / "stripe_bodies"
NEW, OLD = "2026-10-28.endive", "2024-06-20"
VERSIONS = (NEW, OLD)
"""Before and after 2025-03-31, when periods moved to the items and subscriptions of invoices to `parent`."""

USER, CUSTOMER, SUBSCRIPTION = "USER", "cus_TSYexample", "sub_1SVdoPKqExample"
"""What the recorded events are about."""

LOOKUP_KEYS = {"plus": "magpie_plus_monthly", "team": "magpie_team_monthly"}

_numbers = itertools.count(1)


@cache
def _recorded(kind: str, version: str) -> str:
    return (BODIES / version / f"{kind}.json").read_text()


def recorded(kind: str, version: str = NEW) -> dict[str, Any]:
    """Return the recorded event of a type."""
    event: dict[str, Any] = json.loads(_recorded(kind, version))
    return event


def event(
    kind: str,
    created: int,
    *,
    user: str | None = USER,
    customer: str = CUSTOMER,
    subscription: str = SUBSCRIPTION,
    status: str | None = None,
    tier: str | None = "plus",
    lookup_key: str | None = None,
    period_end: int | None = None,
    cancels: bool = False,
    event_id: str | None = None,
    version: str = NEW,
) -> dict[str, Any]:
    """Return an event of a type, about something else than the recorded one.

    Args:
        user: whom it names; None leaves it out, as a subscription made in the dashboard does.
        tier: of the price; None for one whose lookup key has moved on, or is `lookup_key`.
    """
    assert kind in TYPES
    made = recorded(kind, version)
    # As with Stripe's own, the order of ids says nothing.
    number = hashlib.sha256(str(next(_numbers)).encode()).hexdigest()[:12]
    made |= {"id": event_id or f"evt_{number}", "created": created}
    about = made["data"]["object"]
    if kind == "customer.deleted":
        about["id"] = customer
        return made
    about["customer"] = customer
    if kind == "checkout.session.completed":
        about |= {"client_reference_id": user, "subscription": subscription}
    elif kind.startswith("invoice."):
        details = (about.get("parent") or about)["subscription_details"]
        details["metadata"] = {"user_id": user} if user else {}
        (details if "parent" in about else about)["subscription"] = subscription
    else:
        (item,) = about["items"]["data"]
        item["price"]["lookup_key"] = LOOKUP_KEYS.get(tier or "", lookup_key)
        item["price"]["id"] += "" if tier in (None, "plus") else tier
        about |= {
            "id": subscription,
            "metadata": {"user_id": user} if user else {},
            "status": "canceled" if kind.endswith("deleted") else status or "active",
            # The present version ends a subscription on a date, the older one with its period.
            "cancel_at_period_end": cancels and version == OLD,
            "cancel_at": 1797761999 if cancels else None,
        }
        if period_end is not None:
            (item if version == NEW else about)["current_period_end"] = period_end
    return made


def body(made: dict[str, Any]) -> str:
    """Return an event as the text that Stripe signs."""
    return json.dumps(made, indent=2)
