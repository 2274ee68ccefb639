"""What calls of models cost, written with what they brought.

The analyzer writes its line itself, in one statement with the reply that it paid for.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from shared import erasures

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

_CHARGE = """
INSERT INTO usage_ledger (user_id, item_id, stage, provider, model, input_tokens, cost_usd)
VALUES (%(user_id)s, %(item_id)s, %(stage)s, %(provider)s, %(model)s, %(input_tokens)s, %(cost_usd)s)
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


def charge(cursor: "Cursor[DictRow]", charges: Iterable[Charge]) -> None:
    """Write charges, but for those of users who were erased: nothing is written for them any more.

    Args:
        cursor: of a transaction that holds no item yet: whoever writes for a user holds the account first.
    """
    lines = list(charges)
    barred = {
        user_id for user_id in sorted({line.user_id for line in lines}) if erasures.is_erased(cursor, user_id)
    }
    written = [asdict(line) for line in lines if line.user_id not in barred]
    if written:
        cursor.executemany(_CHARGE, written)
