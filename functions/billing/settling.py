"""Work out, from all that Stripe has told, whose a customer is and what they may have, and write it down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.billing import account, store
from functions.billing.entitlement import UnknownPriceError, judge
from functions.billing.told import Told
from shared import erasures, profiles
from shared.events import LimitsChanged
from shared.outcomes import Outcome

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow


@dataclass(frozen=True)
class Settled:
    """What became of an event.

    Attributes:
        user_id: whose it is, if anybody's here.
        changes: of whoever may have something else than before.
        alarm: whether a person has to hear of it.
    """

    outcome: Outcome
    reason: str | None = None
    user_id: str | None = None
    changes: Sequence[LimitsChanged] = ()
    alarm: bool = False


def settle(cursor: "Cursor[DictRow]", event_id: str, customer_id: str) -> Settled:
    """Bring whoever an event is about up to date. Doing it again changes nothing.

    Raises:
        InvalidEventError: the event has another shape than Stripe's. Nothing was changed.
    """
    store.hold_customer(cursor, customer_id)
    rows = store.events(cursor, customer_id)
    told = store.told(rows, event_id)
    own = next((each for each in told if each.event_id == event_id), None)
    if own is None:
        return Settled("ignored", "what it said was about somebody who is erased")
    linked = store.linked(cursor, customer_id)
    known = {str(row["user_id"]) for row in rows if row["user_id"]}
    owner = account.owner(told) or linked or min(known, default=None)
    if owner is None:
        return Settled("waiting", f"no event of customer {customer_id} says whose it is")
    if erasures.is_erased(cursor, owner):
        return _of_the_erased(cursor, customer_id, told)
    if store.profile(cursor, owner) is None:
        return Settled("ignored", f"nobody here has the user id {owner}")
    others = [each.event_id for each in told if each.user_id not in (None, owner)]
    store.attribute(cursor, customer_id, owner, others)
    changes = []
    try:
        with cursor.connection.transaction():
            # Whoever has lost the customer first: no two profiles may name it.
            losing = {user_id for user_id in (linked, *known) if user_id and user_id != owner}
            for user_id in [*sorted(losing), owner]:
                if not erasures.is_erased(cursor, user_id):
                    changes += _bring_up_to_date(cursor, user_id)
    except UnknownPriceError as error:
        return Settled("failed", str(error), owner, alarm=True)
    if own.user_id not in (None, owner):
        return _taken(cursor, own, owner, changes)
    return Settled("applied", user_id=owner, changes=changes)


def as_it_is(user_id: str) -> list[LimitsChanged]:
    """Return what is to be said of a user whose change may never have been said."""
    tier = store.tier(user_id)
    return [] if tier is None else [LimitsChanged(user_id=user_id, tier=tier)]


def _taken(cursor: "Cursor[DictRow]", own: Told, owner: str, changes: Sequence[LimitsChanged]) -> Settled:
    """Refuse somebody a customer who is somebody else's."""
    named = str(own.user_id)
    reason = f"it names {named}, but customer {own.customer_id} belongs to {owner}"
    is_here = not erasures.is_erased(cursor, named) and store.profile(cursor, named) is not None
    return Settled("failed", reason, named if is_here else None, changes, alarm=True)


def _of_the_erased(cursor: "Cursor[DictRow]", customer_id: str, told: Sequence[Told]) -> Settled:
    """Forget what came about somebody who is erased, unless they are still charged."""
    renewing = [
        each.subscription_id
        for each in account.fold(told).subscriptions
        if each.status not in account.ENDED and not each.cancels
    ]
    if renewing:
        reason = (
            f"subscription {renewing[0]} of somebody who is erased goes on: cancel it in Stripe, "
            "give back what was paid since, and redrive"
        )
        return Settled("failed", reason, alarm=True)
    reason = "it is about somebody who is erased"
    store.forget(cursor, customer_id, reason)
    return Settled("ignored", reason)


def _bring_up_to_date(cursor: "Cursor[DictRow]", user_id: str) -> list[LimitsChanged]:
    """Write down how a user stands by all events of all their customers; returns a change of what they may.

    Raises:
        UnknownPriceError: as `judge`.
    """
    before = store.profile(cursor, user_id)
    if before is None:
        return []
    told: list[Told] = []
    for customer_id in sorted(store.customers(cursor, user_id)):
        of_customer = store.told(store.events(cursor, customer_id))
        if account.owner(of_customer) in (None, user_id):
            told += of_customer
    default = profiles.TierEnv.load().default_tier
    standing = judge(account.fold(told), profiles.tiers()["tiers"], default)
    store.stand(cursor, user_id, standing, before)
    if standing.tier == before["subscription_tier"]:
        return []
    return [LimitsChanged(user_id=user_id, tier=standing.tier)]
