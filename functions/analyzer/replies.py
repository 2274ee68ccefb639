"""The stored replies and the money they cost, in PostgreSQL.

A reply belongs to a user's content, not to an item: an exact duplicate of the same user finds it too,
and no other user ever does. It goes when the last of the items goes that ever had this content.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from aws_lambda_powertools import Logger

from functions.analyzer import models, prompt
from functions.analyzer.chain import Kept, Key
from functions.analyzer.reply import Outcome, Reply
from functions.analyzer.versions import STAGE, Item, Question
from shared import database, erasures, parameters, quotas
from shared.errors import TransientError

logger = Logger(child=True)

WAIT_SECONDS = 30
"""To wait for another delivery that asks the same; then the message goes back to its queue."""
STORE_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each further attempt at storing what was paid for."""
HOLD_SECONDS = 200
"""A lock or a reservation whose holder vanished is freed after so long: a little over the function's
time-out."""

STORE = """
WITH item AS (
    SELECT user_id
      FROM items
     WHERE user_id = %(user_id)s AND (item_id = %(item_id)s OR sha256 = %(sha256)s)
     LIMIT 1
       FOR SHARE
), stored AS (
    INSERT INTO model_replies (user_id, sha256, prompt_hash, provider, model, run_id, try,
                               reply, input_tokens, output_tokens, replied_at)
    SELECT %(user_id)s, %(sha256)s, %(prompt_hash)s, %(provider)s, %(model)s, %(run_id)s,
           %(try)s, %(reply)s, %(input_tokens)s, %(output_tokens)s, %(now)s
      FROM item
    ON CONFLICT (user_id, sha256, prompt_hash, provider, model, run_id, try) DO NOTHING
    RETURNING user_id
), charged AS (
    INSERT INTO usage_ledger (user_id, item_id, stage, provider, model, input_tokens,
                              output_tokens, cost_usd, occurred_at)
    SELECT %(user_id)s, %(item_id)s, 'analyzer', %(provider)s, %(model)s, %(input_tokens)s,
           %(output_tokens)s, %(cost_usd)s, %(now)s
     WHERE %(used)s
       AND (EXISTS (SELECT FROM stored) OR NOT EXISTS (SELECT FROM item))
       AND NOT EXISTS (SELECT FROM usage_ledger AS before
                        WHERE before.user_id = %(user_id)s AND before.item_id = %(item_id)s
                          AND before.provider = %(provider)s AND before.model = %(model)s
                          AND before.occurred_at = %(now)s)
)
SELECT EXISTS (SELECT FROM item) AS stored
"""


@dataclass(frozen=True)
class StoredReplies:
    """The replies about one user's content, for one question. A `chain.Replies`.

    Attributes:
        item_id: the item that asks, for the ledger.
        sha256: of the original, hex.
        run_id: '' or the re-run that asks anew on purpose.
    """

    user_id: str
    item_id: UUID
    sha256: str
    prompt_hash: str
    run_id: str

    @classmethod
    def about(cls, item: Item, question: Question) -> Self:
        """Return the replies about an item's content."""
        return cls(item.user_id, item.item_id, item.sha256 or "", question.prompt_hash, question.run_id)

    def _question(self) -> dict[str, str]:
        return {
            "user_id": self.user_id,
            "sha256": self.sha256,
            "prompt_hash": self.prompt_hash,
            "run_id": self.run_id,
        }

    def _row(self, key: Key) -> dict[str, object]:
        provider, model, number = key
        return {**self._question(), "provider": provider, "model": model, "try": number}

    def all(self) -> Mapping[Key, Kept]:
        rows = database.fetch_all(
            """
            SELECT provider, model, try, reply, outcome
              FROM model_replies
             WHERE user_id = %(user_id)s AND sha256 = %(sha256)s
               AND prompt_hash = %(prompt_hash)s AND run_id = %(run_id)s
            """,
            self._question(),
        )
        return {
            (row["provider"], row["model"], row["try"]): Kept(
                Reply.parse(row["reply"]), Outcome(row["outcome"]) if row["outcome"] else None
            )
            for row in rows
        }

    def reserve(self, key: Key, max_tokens: int) -> UUID:
        """Set aside what a call may cost at the most.

        Raises:
            AccountDeletedError: nothing is bought for this user any more.
            OverQuotaError: it does not fit into what the user, or everybody, may spend this month.
            TransientError: the database gave up.
        """
        provider, model, _ = key
        most = models.most(provider, model, prompt.most_tokens(), max_tokens, datetime.now(UTC).date())
        return quotas.reserve_money(self.user_id, STAGE, most, timedelta(seconds=HOLD_SECONDS))

    def release(self, reservation: UUID) -> None:
        quotas.release(self.user_id, reservation)

    def keep(self, key: Key, reply: Reply, reservation: UUID | None) -> None:
        """Store a reply and what it cost in one transaction, which frees what was set aside for it.

        It is paid for, so it is tried more than once: the connection may have died during the call, and
        the database may just be restarting. Written twice it would still be one reply and one cost.

        Raises:
            TransientError: the database does not come back.
        """
        provider, model, number = key
        now = datetime.now(UTC)
        cost = models.cost(provider, model, reply.input_tokens, reply.output_tokens, now.date())
        used = reply.input_tokens + reply.output_tokens > 0
        if used and cost is None:
            logger.warning("the price of this model is unknown", provider=provider, model=model)
        row = {
            **self._row(key),
            "item_id": self.item_id,
            "reply": reply.raw,
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
            "cost_usd": cost or 0,
            "now": now,
            "used": used,
        }
        for pause in STORE_PAUSES:
            try:
                stored = _insert(row, reservation)
                break
            except TransientError as error:
                logger.warning("reply not stored yet", reason=str(error), provider=provider)
                time.sleep(pause)
        else:
            stored = _insert(row, reservation)
        logger.info(
            "reply charged",
            stored=stored,
            provider=provider,
            model=model,
            number=number,
            stop_reason=reply.stop_reason,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
        )

    def judged(self, key: Key, outcome: Outcome) -> None:
        with database.transaction() as cursor:
            cursor.execute(
                """
                UPDATE model_replies SET outcome = %(outcome)s
                 WHERE user_id = %(user_id)s AND sha256 = %(sha256)s AND prompt_hash = %(prompt_hash)s
                   AND provider = %(provider)s AND model = %(model)s AND run_id = %(run_id)s
                   AND try = %(try)s
                """,
                {**self._row(key), "outcome": outcome.value},
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the right to ask this question about this content.

        The lock lives in a transaction of a connection of its own. So it is freed when this process
        dies, works behind a pooler that hands out connections by transaction, and a broken connection
        on either side does not keep the other from storing what was paid for.

        Raises:
            TransientError: somebody else has been asking for longer than we wait.
        """
        import psycopg

        name = "/".join(["analyzer", *self._question().values()])
        holder = database.connect(parameters.get(database.DatabaseEnv.load().url_parameter))
        try:
            try:
                holder.execute("BEGIN")
                holder.execute(
                    """
                    SELECT set_config('lock_timeout', %(wait)s, true),
                           set_config('idle_in_transaction_session_timeout', %(hold)s, true)
                    """,
                    {"wait": f"{WAIT_SECONDS}s", "hold": f"{HOLD_SECONDS}s"},
                )
                holder.execute("SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))", {"name": name})
            except psycopg.errors.LockNotAvailable as error:
                raise TransientError("another delivery is asking about the same picture") from error
            except psycopg.OperationalError as error:
                raise TransientError(f"the database gave up: {type(error).__name__}") from error
            yield
        finally:
            holder.close()


def _insert(row: Mapping[str, object], reservation: UUID | None) -> bool:
    """Store a reply while there is an item that it is about, and charge it in any case.

    A deletion removes an item and what was said of it under the item's lock. So either it waits and finds
    this reply, or this waits and finds no item.

    Returns:
        Whether it is stored; False where the item was deleted while the model was asked.

    Raises:
        AccountDeletedError: so was everything else of the user. Nothing is stored or charged.
    """
    user_id = str(row["user_id"])
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        found = cursor.execute(STORE, row).fetchone()
        if reservation is not None:
            quotas.free(cursor, user_id, reservation)
    return bool(found and found["stored"])
