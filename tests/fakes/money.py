"""Limits on money, and whether the counters agree with the ledger."""

import json
from decimal import Decimal
from typing import Any

import psycopg

Database = psycopg.Connection[dict[str, Any]]

NO_LIMITS: dict[str, float | None] = dict.fromkeys(("items", "storage_bytes", "model_usd_per_month", "scans"))

SPENT = """
SELECT coalesce(user_id, '*') AS user_id, sum(usd) AS usd
  FROM (SELECT user_id, cost_usd AS usd FROM usage_ledger
         UNION ALL
        SELECT user_id, usd FROM quota_reservations) AS spent
 GROUP BY GROUPING SETS ((user_id), ())
HAVING sum(usd) > 0
"""


def allow(db: Database, user_id: str, **limits: float | None) -> None:
    """Give a person these limits and no others, by the names of `user_profiles.usage_limits`."""
    db.execute(
        """
        INSERT INTO user_profiles (user_id, subscription_tier, usage_limits) VALUES (%s, 'free', %s)
            ON CONFLICT (user_id) DO UPDATE SET usage_limits = excluded.usage_limits
        """,
        (user_id, json.dumps(NO_LIMITS | limits)),
    )


def spend(db: Database, user_id: str, usd: float) -> None:
    """Let somebody have spent so much this month."""
    db.execute(
        "INSERT INTO usage_ledger (user_id, stage, provider, model, cost_usd)"
        " VALUES (%s, 'api', 'voyage', 'm', %s)",
        (user_id, usd),
    )


def books(db: Database) -> dict[str, Decimal]:
    """Return what is spent and set aside, by user and by everybody (`*`); counters and ledger must agree."""
    rows = db.execute(
        "SELECT user_id, used FROM usage_counters WHERE meter = 'model_usd' AND used > 0"
    ).fetchall()
    counted = {row["user_id"]: row["used"] for row in rows}
    spent = {row["user_id"]: row["usd"] for row in db.execute(SPENT).fetchall()}
    assert counted == spent
    return counted


def set_aside(db: Database) -> int:
    """Return how many reservations are open."""
    return len(db.execute("SELECT FROM quota_reservations").fetchall())
