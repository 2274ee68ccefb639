"""The rows that billing reads and writes: events of customers, and the profiles of those whose they are.

A customer is held by a lock of its own and a user by their profile's row, in this order. What is read after
that is all that there is, so that two events about one person cannot overtake each other.
"""

import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from functions.billing.entitlement import Standing
from functions.billing.told import FORGOTTEN, Told, read
from shared import database, profiles
from shared.errors import InvalidEventError

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

# An event says itself whose it is, or another of the same customer does.
EVENT_OF_ALL = """
SELECT event_id, event_type, subject, handled_at IS NOT NULL AS handled
  FROM webhook_events
 WHERE provider = 'stripe' AND event_id = %(event_id)s
"""

EVENTS_OF_ALL = """
SELECT event_id, body, user_id FROM webhook_events
 WHERE provider = 'stripe' AND subject = %(customer_id)s
"""

LINKED_OF_ALL = """
SELECT user_id FROM user_profiles WHERE stripe_customer_id = %(customer_id)s
"""

CUSTOMERS = """
SELECT DISTINCT subject FROM webhook_events
 WHERE user_id = %(user_id)s AND provider = 'stripe' AND subject <> ''
"""

# Also those of types that are not read: all of them speak of a person. What waited for this is done with it.
ATTRIBUTE_OF_ALL = """
UPDATE webhook_events
   SET user_id = %(user_id)s,
       outcome = CASE WHEN outcome = 'waiting' THEN 'applied' ELSE outcome END,
       reason = CASE WHEN outcome = 'waiting' THEN NULL ELSE reason END
 WHERE provider = 'stripe' AND subject = %(customer_id)s AND event_id <> ALL (%(others)s)
   AND (user_id IS DISTINCT FROM %(user_id)s OR outcome = 'waiting')
"""

# What comes late about somebody who is erased: that it came may be kept, what it says may not.
FORGET_OF_ALL = """
UPDATE webhook_events
   SET user_id = NULL, body = %(forgotten)s, outcome = 'ignored', reason = %(reason)s,
       handled_at = coalesce(handled_at, clock_timestamp())
 WHERE provider = 'stripe' AND subject = %(customer_id)s
"""

TIER = "SELECT subscription_tier FROM user_profiles WHERE user_id = %(user_id)s"

PROFILE = """
SELECT subscription_tier, usage_limits, stripe_customer_id, subscription_status, subscription_period_end,
       subscription_cancels
  FROM user_profiles
 WHERE user_id = %(user_id)s
   FOR UPDATE
"""

# Limits that somebody was given by hand last until their tier changes.
STAND = """
UPDATE user_profiles
   SET usage_limits = CASE WHEN subscription_tier = %(tier)s THEN usage_limits ELSE %(limits)s::jsonb END,
       subscription_tier = %(tier)s,
       stripe_customer_id = %(customer_id)s,
       subscription_status = %(status)s,
       subscription_period_end = %(period_end)s,
       subscription_cancels = %(cancels)s,
       updated_at = now()
 WHERE user_id = %(user_id)s
"""

AUDIT = """
INSERT INTO audit_log (user_id, event, outcome, detail)
VALUES (%(user_id)s, 'subscription_changed', %(outcome)s, %(detail)s)
"""


def event(event_id: str) -> "DictRow | None":
    """Return the row of an event, None where there is none any more."""
    return database.fetch_one(EVENT_OF_ALL, {"event_id": event_id})


def hold_customer(cursor: "Cursor[DictRow]", customer_id: str) -> None:
    """Let nobody else work on a customer until the transaction ends."""
    cursor.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%(customer)s, 0))",
        {"customer": f"stripe/{customer_id}"},
    )


def events(cursor: "Cursor[DictRow]", customer_id: str) -> "list[DictRow]":
    """Return every event of a customer: id, body, and whose it was taken for."""
    return cursor.execute(EVENTS_OF_ALL, {"customer_id": customer_id}).fetchall()


def told(rows: "Collection[DictRow]", event_id: str | None = None) -> list[Told]:
    """Return what events say, without those that say nothing to us.

    Args:
        event_id: of the one that must be readable. Of others, whoever handles them tells.

    Raises:
        InvalidEventError: that one is not.
    """
    found = []
    for row in rows:
        try:
            found.append(read(row["body"]))
        except InvalidEventError:
            if row["event_id"] == event_id:
                raise
    return [each for each in found if each is not None]


def linked(cursor: "Cursor[DictRow]", customer_id: str) -> str | None:
    """Return the user whose profile names a customer, None where no profile does."""
    row = cursor.execute(LINKED_OF_ALL, {"customer_id": customer_id}).fetchone()
    return None if row is None else str(row["user_id"])


def customers(cursor: "Cursor[DictRow]", user_id: str) -> set[str]:
    """Return the customers that were ever taken for a user's."""
    return {row["subject"] for row in cursor.execute(CUSTOMERS, {"user_id": user_id})}


def attribute(cursor: "Cursor[DictRow]", customer_id: str, user_id: str, others: Collection[str]) -> None:
    """Note whose a customer's events are.

    Args:
        others: ids of events that name somebody else.
    """
    values = {"customer_id": customer_id, "user_id": user_id, "others": list(others)}
    cursor.execute(ATTRIBUTE_OF_ALL, values)


def forget(cursor: "Cursor[DictRow]", customer_id: str, reason: str) -> None:
    """Keep of the events of a customer only that there were some."""
    values = {"customer_id": customer_id, "forgotten": FORGOTTEN, "reason": reason}
    cursor.execute(FORGET_OF_ALL, values)


def tier(user_id: str) -> str | None:
    """Return the tier that a user has, None where nobody has this id."""
    row = database.fetch_one(TIER, {"user_id": user_id})
    return None if row is None else str(row["subscription_tier"])


def profile(cursor: "Cursor[DictRow]", user_id: str) -> "DictRow | None":
    """Return what a user has, and hold it until the transaction ends; None where nobody has this id."""
    return cursor.execute(PROFILE, {"user_id": user_id}).fetchone()


def stand(cursor: "Cursor[DictRow]", user_id: str, standing: Standing, before: "DictRow") -> bool:
    """Write down how a user stands, and return whether that is new. What stays as it was writes nothing."""
    now = {
        "subscription_tier": standing.tier,
        "stripe_customer_id": standing.customer_id,
        "subscription_status": standing.status,
        "subscription_period_end": standing.period_end,
        "subscription_cancels": standing.cancels,
    }
    if all(before[column] == value for column, value in now.items()):
        return False
    limits = json.dumps(profiles.limits(standing.tier))
    cursor.execute(STAND, {"user_id": user_id, "limits": limits, **vars(standing)})
    told = {
        "tier": standing.tier,
        "tier_before": before["subscription_tier"],
        "status_before": before["subscription_status"],
        "period_end": standing.period_end and standing.period_end.isoformat(),
        "cancels": standing.cancels,
    }
    cursor.execute(
        AUDIT, {"user_id": user_id, "outcome": standing.status or "none", "detail": json.dumps(told)}
    )
    return True
