"""Who the caller is, and how much they may."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from functions.api import billing, notifications
from functions.api.notifications import Notifications
from shared import database, erasures, profiles
from shared.models import Model


class Profile(Model):
    """The caller, as this deployment knows them."""

    user_id: str
    email: str | None = Field(description="null until Cognito has said it")
    status: Literal["active", "suspended"]
    tier: str
    limits: dict[str, Any] = Field(
        description="items, storage_bytes, model_usd_per_month, scans; null is no limit"
    )
    subscription: billing.Subscription | None = Field(description="null where there never was one")
    notifications: Notifications
    sends_mail: bool = Field(description="whether this deployment sends mail at all")
    created_at: datetime


def mine(user_id: str) -> Profile:
    """Return the caller's profile, made when an administrator has made them and nobody a profile.

    Raises:
        AccountDeletedError: they have none any more, and get no other.
    """
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        known = profiles.ensure(cursor, user_id)
        asked = notifications.of(cursor, user_id)
    return Profile(
        user_id=known.user_id,
        email=known.email,
        status=known.status,
        tier=known.subscription_tier,
        limits=dict(profiles.effective(known.usage_limits)),
        subscription=billing.subscription(user_id),
        notifications=asked,
        sends_mail=notifications.are_sent(),
        created_at=known.created_at,
    )
