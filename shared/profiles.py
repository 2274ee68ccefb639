"""Profiles: who uses this deployment, and how much of it they may.

Cognito knows who people are; a profile only says what they may do here. It is made when somebody confirms
their address, or at their first sign-in, whichever comes to the database first.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aws_lambda_powertools import Logger
from pydantic import Field

from shared import addresses
from shared.settings import Settings
from shared.text import clean

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

logger = Logger(child=True)

DUPLICATE = "another account has the same e-mail address"
"""Why the later of two accounts with spellings of one address is suspended."""

_INSERT = """
INSERT INTO user_profiles (user_id, email, email_key, status, status_reason, subscription_tier, usage_limits)
VALUES (%(user_id)s, %(email)s, %(email_key)s, %(status)s, %(reason)s, %(tier)s, %(limits)s)
    ON CONFLICT DO NOTHING
RETURNING user_id
"""

_ONE = """
SELECT user_id, email, status, status_reason, subscription_tier, usage_limits, created_at
  FROM user_profiles
 WHERE user_id = %(user_id)s
"""

_MOVE = """
UPDATE user_profiles
   SET email = %(email)s, email_key = %(email_key)s, updated_at = now()
 WHERE user_id = %(user_id)s
   AND status = 'active'
   AND email IS DISTINCT FROM %(email)s
"""

_AUDIT = """
INSERT INTO audit_log (user_id, event, outcome, detail)
VALUES (%(user_id)s, 'suspended', 'duplicate_address', %(detail)s)
"""


class TierEnv(Settings):
    """In which tier somebody is who has subscribed to none."""

    default_tier: str = Field(alias="DEFAULT_TIER", min_length=1)


@dataclass(frozen=True)
class Profile:
    """What a user may do here.

    Attributes:
        email: as Cognito has it, or None where nobody has said it yet.
        usage_limits: `items`, `storage_bytes`, `model_usd_per_month`, `scans`; null is no limit.
    """

    user_id: str
    email: str | None
    status: Literal["active", "suspended"]
    status_reason: str | None
    subscription_tier: str
    usage_limits: Mapping[str, Any]
    created_at: datetime


@cache
def tiers() -> Mapping[str, Any]:
    """Return what tiers.json says."""
    tiers: dict[str, Any] = json.loads(Path(__file__).with_name("tiers.json").read_text(encoding="utf-8"))
    return tiers


def limits(tier: str) -> Mapping[str, Any]:
    """Return what a tier may: `items`, `storage_bytes`, `model_usd_per_month`, `scans`; None is no limit."""
    limits: Mapping[str, Any] = tiers()["tiers"][tier]["limits"]
    return limits


def effective(usage_limits: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the limits of a profile, of which those that it does not name are as in the default tier."""
    return {**limits(TierEnv.load().default_tier), **usage_limits}


def ensure(cursor: "Cursor[DictRow]", user_id: str, email: str | None = None) -> Profile:
    """Return the profile of a user, made when there is none.

    Whoever is new gets the default tier. Two accounts with spellings of one address can come at the same
    time: the one that comes second is suspended, for a person to look at. Running it again changes nothing,
    unless the address is another one meanwhile.

    Args:
        cursor: of a transaction that has made sure that the user is not erased.
        email: of the user, which they have proved to be theirs or an administrator has given them.
    """
    found = cursor.execute(_ONE, {"user_id": user_id}).fetchone()
    if found is None:
        found = _make(cursor, user_id, email)
    elif email is not None and found["status"] == "active" and found["email"] != clean(email):
        found = _move(cursor, user_id, clean(email), found)
    return Profile(**found)


def _make(cursor: "Cursor[DictRow]", user_id: str, email: str | None) -> "DictRow":
    tier = TierEnv.load().default_tier
    values = {
        "user_id": user_id,
        "email": None if email is None else clean(email),
        "email_key": _key(email),
        "status": "active",
        "reason": None,
        "tier": tier,
        "limits": json.dumps(limits(tier)),
    }
    if cursor.execute(_INSERT, values).fetchone() is None:
        # Either this user's own row has come meanwhile, or somebody has the address.
        values |= {"email_key": None, "status": "suspended", "reason": DUPLICATE}
        if cursor.execute(_INSERT, values).fetchone() is not None:
            cursor.execute(_AUDIT, {"user_id": user_id, "detail": json.dumps({"reason": DUPLICATE})})
            logger.warning("profile suspended", user_id=user_id, reason=DUPLICATE)
    row = cursor.execute(_ONE, {"user_id": user_id}).fetchone()
    assert row is not None  # noqa: S101 - it was there, or has just been made
    return row


def _move(cursor: "Cursor[DictRow]", user_id: str, email: str, found: "DictRow") -> "DictRow":
    """Follow somebody to their new address; one that another account has stays that account's."""
    from psycopg.errors import UniqueViolation

    try:
        with cursor.connection.transaction():
            cursor.execute(_MOVE, {"user_id": user_id, "email": email, "email_key": _key(email)})
    except UniqueViolation:
        logger.warning("address not taken over", user_id=user_id, reason=DUPLICATE)
        return found
    return cursor.execute(_ONE, {"user_id": user_id}).fetchone() or found


def _key(email: str | None) -> str | None:
    """Return what all spellings of an address have in common; an address that is none has nothing."""
    try:
        return None if email is None else addresses.read(email).key
    except addresses.AddressError:
        return None
