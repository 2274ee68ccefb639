"""What calls of models cost, written with what they brought.

The analyzer writes its line itself, in one statement with the reply that it paid for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from shared import erasures

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

# One statement, for the trigger that counts the money locks what everybody here spends until the commit.
_CHARGE = """
INSERT INTO usage_ledger (user_id, item_id, stage, provider, model, input_tokens, cost_usd)
SELECT line.user_id, line.item_id, line.stage, line.provider, line.model, line.input_tokens, line.cost_usd
  FROM unnest(%(user_ids)s::text[], %(item_ids)s::uuid[], %(stages)s::text[], %(providers)s::text[],
              %(models)s::text[], %(input_tokens)s::integer[], %(costs_usd)s::numeric[])
       AS line (user_id, item_id, stage, provider, model, input_tokens, cost_usd)
"""


@dataclass(frozen=True)
class Charge:
    """One line of the ledger: a call, or one item's share of it.

    Attributes:
        cost_usd: US dollars; the ledger rounds to nine decimal places.
    """

    user_id: str
    item_id: UUID | None
    stage: str
    provider: str
    model: str
    input_tokens: int
    cost_usd: float


def payers(cursor: "Cursor[DictRow]", user_ids: Iterable[str]) -> set[str]:
    """Hold the accounts of users until the commit, and return those of them who are not erased.

    Args:
        cursor: of a transaction that holds no item yet: whoever writes for a user holds the account first.
    """
    return {user_id for user_id in sorted(set(user_ids)) if not erasures.is_erased(cursor, user_id)}


def write(cursor: "Cursor[DictRow]", charges: Iterable[Charge]) -> None:
    """Write charges of users whose accounts are held. Late in its transaction: it counts the money."""
    lines = list(charges)
    if lines:
        cursor.execute(
            _CHARGE,
            {
                "user_ids": [line.user_id for line in lines],
                "item_ids": [line.item_id for line in lines],
                "stages": [line.stage for line in lines],
                "providers": [line.provider for line in lines],
                "models": [line.model for line in lines],
                "input_tokens": [line.input_tokens for line in lines],
                "costs_usd": [line.cost_usd for line in lines],
            },
        )


def charge(cursor: "Cursor[DictRow]", charges: Iterable[Charge]) -> None:
    """Write charges, but for those of users who were erased: nothing is written for them any more.

    Args:
        cursor: of a transaction that does nothing else.
    """
    lines = list(charges)
    alive = payers(cursor, (line.user_id for line in lines))
    write(cursor, [line for line in lines if line.user_id in alive])
