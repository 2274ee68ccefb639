"""How much somebody may have, and that it is never more.

What is reserved counts as used. A reservation is one statement that compares and adds, so that however many
ask at once, no limit is ever passed; and it comes last in its transaction, because it holds the counter
until the commit: a user's items before their storage, money after both. Deletions lower the counters by
triggers, and so does what is written to the ledger raise them (migrations/0006_quotas.sql).
docs/decisions/0020-quotas.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from aws_lambda_powertools import Logger
from pydantic import Field

from shared import database, erasures, profiles
from shared.errors import MagpieError, TransientError
from shared.settings import Settings

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

logger = Logger(child=True)

DEPLOYMENT = "*"
"""In place of a user id: everybody together. It cannot be a person, whose id is made by Cognito."""

Meter = Literal["items", "storage_bytes", "scans", "model_usd"]
"""What is counted. `model_usd` is counted anew each month of UTC; the others stand."""

NANODOLLAR = Decimal("0.000000001")

_LIMIT_NAMES: Mapping[Meter, str] = {"model_usd": "model_usd_per_month"}

LIMITS = """
SELECT usage_limits FROM user_profiles WHERE user_id = %(user_id)s
"""

# Raised when it still fits, in one statement; a limit that is null lets everything in. Where all is used,
# what costs nothing or nobody knows how much does not fit either.
RESERVE = """
INSERT INTO usage_counters (user_id, meter, period, used)
SELECT %(user_id)s, %(meter)s, %(period)s, %(amount)s
 WHERE %(limit)s::numeric IS NULL OR (0 < %(limit)s::numeric AND %(amount)s <= %(limit)s::numeric)
    ON CONFLICT (user_id, meter, period) DO UPDATE
   SET used = usage_counters.used + excluded.used
 WHERE %(limit)s::numeric IS NULL
    OR (usage_counters.used < %(limit)s::numeric
        AND usage_counters.used + excluded.used <= %(limit)s::numeric)
RETURNING used
"""

HOLD_MONEY = "SELECT hold_money()"

# What is there although it was not asked for first, or is less than was reserved.
ADJUST = """
INSERT INTO usage_counters (user_id, meter, period, used)
VALUES (%(user_id)s, %(meter)s, %(period)s, greatest(%(amount)s, 0))
    ON CONFLICT (user_id, meter, period) DO UPDATE SET used = greatest(usage_counters.used + %(amount)s, 0)
"""

USED = """
SELECT meter, used FROM usage_counters
 WHERE user_id = %(user_id)s AND period IN ('', %(period)s)
"""

BUDGET_OF_ALL = """
SELECT used FROM usage_counters WHERE user_id = '*' AND meter = 'model_usd' AND period = %(period)s
"""

RESERVED = """
INSERT INTO quota_reservations (user_id, reservation_id, stage, period, usd, expires_at)
VALUES (%(user_id)s, %(reservation_id)s, %(stage)s, %(period)s, %(usd)s,
        clock_timestamp() + %(lasts)s::interval)
"""

FREE = "DELETE FROM quota_reservations WHERE user_id = %(user_id)s AND reservation_id = %(reservation_id)s"

# Of whoever died between asking and being told. Who is just giving one back is not waited for.
EXPIRED_OF_ALL = """
DELETE FROM quota_reservations AS held
 USING (SELECT user_id, reservation_id, period FROM quota_reservations
         WHERE expires_at < clock_timestamp()
           FOR UPDATE SKIP LOCKED) AS expired
 WHERE held.user_id = expired.user_id AND held.reservation_id = expired.reservation_id
   AND held.period = expired.period
"""


class QuotaEnv(Settings):
    """What the whole deployment may spend on asking models, in a month."""

    model_budget_usd: Decimal = Field(alias="MODEL_BUDGET_USD", ge=0)


class OverQuotaError(MagpieError):
    """It does not fit: neither an error of ours nor of the input, and it may fit later.

    Attributes:
        owner: the user, or `DEPLOYMENT`.
        limit, used, wanted: in the meter's unit; `used` is at the time of asking.
        resets_at: when the meter begins anew; None where only room or a higher limit helps.
    """

    def __init__(
        self,
        owner: str,
        meter: Meter,
        limit: Decimal,
        used: Decimal,
        wanted: Decimal,
        now: datetime | None = None,
    ) -> None:
        self.owner = owner
        self.meter = meter
        self.limit = limit
        self.used = used
        self.wanted = wanted
        self.resets_at = next_month(now or datetime.now(UTC)) if meter == "model_usd" else None
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """What is said to the user: what, how much, and when it is better."""
        if self.resets_at is not None:
            return self._of_a_month(self.resets_at)
        if self.meter == "storage_bytes":
            have = f"You have {readable_size(self.used)} of {readable_size(self.limit)} of storage"
            more = f"{readable_size(self.wanted)} more do not fit"
            return f"{have}, and {more}. Delete some items, or move to a larger plan."
        have = f"You have {self.used:,.0f} of {self.limit:,.0f} {self.meter}"
        more = "one more does" if self.wanted == 1 else f"{self.wanted:,.0f} more do"
        some = "some" if self.meter == "items" else "one"
        return f"{have}, and {more} not fit. Delete {some}, or move to a larger plan."

    def _of_a_month(self, resets_at: datetime) -> str:
        anew = f"It begins anew on {resets_at:%-d %B %Y}"
        if self.owner == DEPLOYMENT:
            shared = "The budget that everybody here shares for asking models is used up."
            return f"{shared} {anew}; nothing of yours is lost."
        spent = f"Of {_money(self.limit)} for asking models this month, {_money(self.used)} are used"
        call = f", and another call may cost {_money(self.wanted)}" if self.wanted else ""
        return f"{spent}{call}. {anew}; until then a larger plan helps."


@dataclass(frozen=True)
class Quota:
    """One meter of one user.

    Attributes:
        limit: None for none.
        used: reservations included.
        resets_at: None where it stands.
    """

    meter: Meter
    limit: Decimal | None
    used: Decimal
    resets_at: datetime | None


def reserve(cursor: "Cursor[DictRow]", user_id: str, meter: Meter, amount: int) -> None:
    """Count `amount` more of what stands, if it fits. The last thing that a transaction does; `items` first.

    Raises:
        OverQuotaError: it does not fit. Nothing was counted; the transaction can go on.
    """
    if amount > 0:
        _reserve(cursor, user_id, meter, "", Decimal(amount), limit_of(cursor, user_id, meter))


def adjust(cursor: "Cursor[DictRow]", user_id: str, meter: Meter, amount: int) -> None:
    """Count what is there whether it fits or not, or, below nought, is not there after all."""
    if amount:
        values = {"user_id": user_id, "meter": meter, "period": "", "amount": Decimal(amount)}
        cursor.execute(ADJUST, values)


def reserve_money(user_id: str, stage: str, usd: Decimal, lasts: timedelta) -> UUID:
    """Reserve what a call may cost at the most, of the user's and of the deployment's month.

    Free it once the ledger says what the call did cost (`free`, in the same transaction), or when it
    never happened. What is not freed expires. Where the month may end before the call does, both months
    are reserved: in whichever of them it is charged, there is room.

    Args:
        usd: rounded up to the nanodollar.
        lasts: longer than the call and storing its answer.

    Raises:
        AccountDeletedError: nothing is bought for this user any more.
        OverQuotaError: it does not fit into one of the two, or they are used up. Nothing was reserved.
        TransientError: the database gave up.
    """
    now = datetime.now(UTC)
    usd = usd.quantize(NANODOLLAR, ROUND_CEILING)
    reservation_id = uuid4()
    budget = QuotaEnv.load().model_budget_usd
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        limit = limit_of(cursor, user_id, "model_usd")
        cursor.execute(HOLD_MONEY)
        for month in sorted({period(now), period(now + lasts)}):
            _reserve(cursor, user_id, "model_usd", month, usd, limit, now)
            _reserve(cursor, DEPLOYMENT, "model_usd", month, usd, budget, now)
            values = {"user_id": user_id, "reservation_id": reservation_id, "stage": stage, "period": month}
            cursor.execute(RESERVED, {**values, "usd": usd, "lasts": lasts})
    return reservation_id


def free(cursor: "Cursor[DictRow]", user_id: str, reservation_id: UUID) -> None:
    """Give a reservation back; one that has expired is gone already. Late in its transaction."""
    cursor.execute(FREE, {"user_id": user_id, "reservation_id": reservation_id})


def release(user_id: str, reservation_id: UUID) -> None:
    """Give a reservation back whose call never happened.

    What became of the call matters more: where the database has given up, the reservation is left to expire.
    """
    try:
        with database.transaction() as cursor:
            free(cursor, user_id, reservation_id)
    except TransientError as error:
        logger.warning("reservation left to expire", reason=str(error))


def expire() -> int:
    """Give back the reservations whose holders died, and return how many they were."""
    with database.transaction() as cursor:
        # Before the rows: whoever charges holds the money already when they give their reservation back.
        cursor.execute(HOLD_MONEY)
        return cursor.execute(EXPIRED_OF_ALL).rowcount


def limit_of(cursor: "Cursor[DictRow]", user_id: str, meter: Meter) -> Decimal | None:
    """Return a user's limit, None for none; that of the default tier for whoever has no profile."""
    row = cursor.execute(LIMITS, {"user_id": user_id}).fetchone()
    return _limit(row, meter)


def standing(user_id: str) -> list[Quota]:
    """Return every meter of a user, as it stands now."""
    now = datetime.now(UTC)
    profile = database.fetch_one(LIMITS, {"user_id": user_id})
    rows = database.fetch_all(USED, {"user_id": user_id, "period": period(now)})
    used = {row["meter"]: row["used"] for row in rows}
    meters: tuple[Meter, ...] = ("items", "storage_bytes", "scans", "model_usd")
    return [
        Quota(
            meter,
            _limit(profile, meter),
            used.get(meter, Decimal(0)),
            next_month(now) if meter == "model_usd" else None,
        )
        for meter in meters
    ]


def budget() -> Quota:
    """Return what the deployment has spent and reserved this month, and what it may."""
    now = datetime.now(UTC)
    row = database.fetch_one(BUDGET_OF_ALL, {"period": period(now)})
    used = row["used"] if row else Decimal(0)
    return Quota("model_usd", QuotaEnv.load().model_budget_usd, used, next_month(now))


def period(when: datetime) -> str:
    """Return the month that money is counted in: `2026-11`."""
    return f"{when.astimezone(UTC):%Y-%m}"


def next_month(when: datetime) -> datetime:
    """Return the first moment of the next month of UTC."""
    when = when.astimezone(UTC)
    return datetime(when.year + when.month // 12, when.month % 12 + 1, 1, tzinfo=UTC)


def _reserve(
    cursor: "Cursor[DictRow]",
    owner: str,
    meter: Meter,
    month: str,
    amount: Decimal,
    limit: Decimal | None,
    now: datetime | None = None,
) -> None:
    values = {"user_id": owner, "meter": meter, "period": month, "amount": amount, "limit": limit}
    if cursor.execute(RESERVE, values).fetchone() is None:
        assert limit is not None  # noqa: S101 - without one everything fits
        rows = cursor.execute(USED, {"user_id": owner, "period": month}).fetchall()
        used = next((row["used"] for row in rows if row["meter"] == meter), Decimal(0))
        raise OverQuotaError(owner, meter, limit, used, amount, now)


def _limit(profile: "Mapping[str, Any] | None", meter: Meter) -> Decimal | None:
    limits = profiles.effective(profile["usage_limits"] if profile else {})
    found = limits[_LIMIT_NAMES.get(meter, meter)]
    return None if found is None else Decimal(str(found))


def readable_size(number: Decimal) -> str:
    """Return bytes for people: `1.5 GB`, in powers of 1000."""
    if number < 1000:
        return f"{number:.0f} bytes"
    size, units = number / 1000, ["kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:,.1f} {units[0]}"


def _money(usd: Decimal) -> str:
    """Return US dollars for people; of less than ten cents the first digits that say something."""
    return f"${usd:,.2f}" if not usd or usd >= Decimal("0.1") else f"${float(usd):.2g}"
