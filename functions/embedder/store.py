"""Read what is to be embedded, and keep what was made of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from functions.embedder.verdict import Key, Task, ToEmbed
from shared import database, embeddings, holding, items, ledger, quotas
from shared.embeddings import DIMENSIONS, VectorModel
from shared.errors import RejectedError
from shared.events import ItemRejected
from shared.ledger import Charge
from shared.quotas import OverQuotaError

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

# One that waits until it fits counts as being in the status that it goes on from.
ITEMS = """
SELECT items.user_id, items.item_id, coalesce(items.held_status, items.status) AS status, items.error_code,
       items.error_message, items.object_version, items.analysis_version, analyses.raw_response,
       corrections.category, corrections.headline, corrections.summary, corrections.tags,
       corrections.corrected_at,
       embeddings.model AS embedded_by, embeddings.source_hash AS embedded_hash,
       embeddings.analysis_version AS embedded_version
  FROM unnest(%(user_ids)s::text[], %(item_ids)s::uuid[]) AS wanted (user_id, item_id)
  JOIN items ON items.user_id = wanted.user_id AND items.item_id = wanted.item_id
  LEFT JOIN analyses ON analyses.user_id = items.user_id
                    AND analyses.item_id = items.item_id
                    AND analyses.version = items.analysis_version
  LEFT JOIN corrections ON corrections.user_id = items.user_id AND corrections.item_id = items.item_id
  LEFT JOIN embeddings ON embeddings.user_id = items.user_id AND embeddings.item_id = items.item_id
"""

# A vector of the same text and model, whichever of the user's items it was made for.
SAME_TEXT = """
SELECT DISTINCT ON (wanted.user_id, wanted.source_hash)
       wanted.user_id, wanted.source_hash, embeddings.embedding::text AS vector
  FROM unnest(%(user_ids)s::text[], %(hashes)s::text[]) AS wanted (user_id, source_hash)
  JOIN embeddings ON embeddings.user_id = wanted.user_id
                 AND embeddings.model = %(model)s
                 AND embeddings.source_hash = wanted.source_hash
"""

# A vector that came with an import, of the analysis that it came with, by the model that is asked here.
IMPORTED = """
SELECT came.user_id, came.item_id, came.embedding::text AS vector, came.embedded_at
  FROM unnest(%(user_ids)s::text[], %(item_ids)s::uuid[], %(analysis_versions)s::integer[])
       AS wanted (user_id, item_id, analysis_version)
  JOIN import_items AS came ON came.user_id = wanted.user_id AND came.item_id = wanted.item_id
 WHERE came.embedding IS NOT NULL
   AND came.embedding_model = %(model)s
   AND came.embedding_version = wanted.analysis_version
"""

# In one order for everybody, so that two batches that share items cannot lock each other out.
LOCK_CURRENT = """
SELECT items.user_id, items.item_id
  FROM unnest(%(user_ids)s::text[], %(item_ids)s::uuid[], %(object_versions)s::text[],
              %(analysis_versions)s::integer[])
       AS made (user_id, item_id, object_version, analysis_version)
  JOIN items ON items.user_id = made.user_id AND items.item_id = made.item_id
 WHERE items.analysis_version = made.analysis_version
   AND items.object_version IS NOT DISTINCT FROM made.object_version
   AND (coalesce(items.held_status, items.status) IN ('analyzed', 'ready')
        OR items.status = 'failed' AND items.error_code = 'not_embeddable')
 ORDER BY items.user_id, items.item_id
   FOR UPDATE OF items
"""

# Of items that are locked, in a statement of its own: it sees what was committed while a lock was waited for.
CORRECTED = """
SELECT corrections.user_id, corrections.item_id, corrections.corrected_at
  FROM unnest(%(user_ids)s::text[], %(item_ids)s::uuid[]) AS locked (user_id, item_id)
  JOIN corrections ON corrections.user_id = locked.user_id AND corrections.item_id = locked.item_id
"""

KEEP = """
INSERT INTO embeddings (user_id, item_id, model, dimensions, embedding, analysis_version, source_hash,
                        created_at)
VALUES (%(user_id)s, %(item_id)s, %(model)s, %(dimensions)s, %(vector)s::halfvec, %(analysis_version)s,
        %(source_hash)s, coalesce(%(made_at)s::timestamptz, now()))
    ON CONFLICT (user_id, item_id) DO UPDATE
   SET model = excluded.model, dimensions = excluded.dimensions, embedding = excluded.embedding,
       analysis_version = excluded.analysis_version, source_hash = excluded.source_hash,
       created_at = excluded.created_at
"""

# What an import brought was changed when its source says, not when it arrived.
READY = """
UPDATE items
   SET status = 'ready', held_status = NULL, error_code = NULL, error_message = NULL,
       updated_at = coalesce((SELECT came.updated_at
                                FROM import_items AS came
                                JOIN analyses AS said ON said.user_id = came.user_id
                                                     AND said.item_id = came.item_id
                               WHERE came.user_id = items.user_id AND came.item_id = items.item_id
                                 AND came.sha256 IS NOT DISTINCT FROM items.sha256
                                 AND said.version = items.analysis_version AND said.run_id = ''
                                 AND coalesce(items.held_status, items.status) = 'analyzed'), now())
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""

FORGET = "DELETE FROM embeddings WHERE user_id = %(user_id)s AND item_id = %(item_id)s"


@dataclass(frozen=True)
class Kept:
    """What became of what one call brought.

    Attributes:
        ready: keys of the items that are ready now.
        ended: what to publish about those that have ended.
        waiting: keys of those that wait until money may be spent again.
        outdated: keys of those that somebody has corrected since they were read.
    """

    ready: set[Key]
    ended: list[ItemRejected]
    waiting: set[Key]
    outdated: set[Key]


def read(asked: Iterable[ToEmbed]) -> "dict[Key, DictRow]":
    """Return the rows of the items asked for: current analysis, corrections, and their vector's origin."""
    keys = list({each.key for each in asked})
    rows = database.fetch_all(
        ITEMS, {"user_ids": [user_id for user_id, _ in keys], "item_ids": [item_id for _, item_id in keys]}
    )
    return {(row["user_id"], row["item_id"]): row for row in rows}


def same_text(tasks: Sequence[Task], model: VectorModel) -> dict[tuple[str, str], str]:
    """Return the vectors that users already have of the same texts, by user and hash."""
    rows = database.fetch_all(
        SAME_TEXT,
        {
            "user_ids": [task.user_id for task in tasks],
            "hashes": [task.source_hash for task in tasks],
            "model": model.name,
        },
    )
    return {(row["user_id"], row["source_hash"]): row["vector"] for row in rows}


def imported(tasks: Sequence[Task], model: VectorModel) -> dict[Key, tuple[str, datetime]]:
    """Return the vectors that came with items, and when they were made, unless somebody corrected these."""
    as_they_came = [task for task in tasks if task.corrected_at is None]
    rows = database.fetch_all(
        IMPORTED,
        {
            "user_ids": [task.user_id for task in as_they_came],
            "item_ids": [task.item_id for task in as_they_came],
            "analysis_versions": [task.analysis_version for task in as_they_came],
            "model": model.name,
        },
    )
    return {(row["user_id"], row["item_id"]): (row["vector"], row["embedded_at"]) for row in rows}


def keep(
    model: VectorModel,
    vectors: Sequence[tuple[Task, str]],
    *,
    reused: bool,
    took: timedelta,
    ended: Sequence[tuple[Task, RejectedError]] = (),
    over: Sequence[tuple[Task, OverQuotaError]] = (),
    tokens: Mapping[Key, int] | None = None,
    made_at: Mapping[Key, datetime] | None = None,
    reserved: Mapping[str, UUID] | None = None,
) -> Kept:
    """Write in one transaction what one call brought, charges included.

    What a newer version of the object or of the analysis has overtaken is charged and not written, and so
    is what was corrected since it was read.

    Args:
        over: tasks that nobody may be paid for, and why: they wait.
        made_at: when vectors were made, of those that were not made now.
        reserved: what was set aside for the call, by user, and is free with the charges.
    """
    tasks = [task for task, _ in [*vectors, *ended, *over]]
    charges = [_charge(key, model, count) for key, count in (tokens or {}).items()]
    with database.transaction() as cursor:
        payers = ledger.payers(cursor, (charge.user_id for charge in charges))
        locked = _lock_current(cursor, tasks)
        corrected = _corrected(cursor, locked)
        current = {
            task.key for task in tasks if task.key in locked and corrected.get(task.key) == task.corrected_at
        }
        ready = [(task, vector) for task, vector in vectors if task.key in current]
        if ready:
            rows = [_row(task, model, vector, (made_at or {}).get(task.key)) for task, vector in ready]
            cursor.executemany(KEEP, rows)
            cursor.executemany(READY, rows)
        with cursor.connection.pipeline():  # the timeline's lines without waiting for each
            for task, _ in ready:
                items.record(
                    cursor,
                    task.user_id,
                    task.item_id,
                    "embedder",
                    "ready",
                    object_version=task.object_version,
                    occurrence=f"analysis {task.analysis_version} by {model.name}",
                    took=took,
                    detail={"provider": model.provider, "model": model.name, "reused": reused},
                )
        rejections = [_end(cursor, task, error) for task, error in ended if task.key in current]
        waiting = [(task, error) for task, error in over if task.key in current]
        for task, error in waiting:
            _wait(cursor, task, error)
        # Last, because what everybody spends is counted in one place, which is locked until the commit.
        ledger.write(cursor, [charge for charge in charges if charge.user_id in payers])
        for user_id, reservation in sorted((reserved or {}).items()):
            quotas.free(cursor, user_id, reservation)
    keys = {task.key for task, _ in ready}
    return Kept(keys, rejections, {task.key for task, _ in waiting}, locked - current)


def _lock_current(cursor: "Cursor[DictRow]", tasks: Sequence[Task]) -> set[Key]:
    cursor.execute(
        LOCK_CURRENT,
        {
            "user_ids": [task.user_id for task in tasks],
            "item_ids": [task.item_id for task in tasks],
            "object_versions": [task.object_version for task in tasks],
            "analysis_versions": [task.analysis_version for task in tasks],
        },
    )
    return {(row["user_id"], row["item_id"]) for row in cursor.fetchall()}


def _corrected(cursor: "Cursor[DictRow]", keys: Iterable[Key]) -> dict[Key, datetime]:
    """Return when a person last corrected items that are locked, of those that were."""
    named = list(keys)
    cursor.execute(
        CORRECTED,
        {"user_ids": [user_id for user_id, _ in named], "item_ids": [item_id for _, item_id in named]},
    )
    return {(row["user_id"], row["item_id"]): row["corrected_at"] for row in cursor.fetchall()}


def _wait(cursor: "Cursor[DictRow]", task: Task, error: OverQuotaError) -> None:
    holding.hold(
        cursor,
        task.user_id,
        task.item_id,
        "embedder",
        "analyzed",
        error,
        object_version=task.object_version,
        wanted=embeddings.most_usd(embeddings.VOYAGE, task.text),
    )


def _end(cursor: "Cursor[DictRow]", task: Task, error: RejectedError) -> ItemRejected:
    cursor.execute(FORGET, {"user_id": task.user_id, "item_id": task.item_id})
    return items.end(cursor, task.user_id, task.item_id, "embedder", "failed", error, task.object_version)


def _row(task: Task, model: VectorModel, vector: str, made_at: datetime | None) -> dict[str, Any]:
    return {
        "user_id": task.user_id,
        "item_id": task.item_id,
        "model": model.name,
        "dimensions": DIMENSIONS,
        "vector": vector,
        "analysis_version": task.analysis_version,
        "source_hash": task.source_hash,
        "made_at": made_at,
    }


def _charge(key: Key, model: VectorModel, tokens: int) -> Charge:
    user_id, item_id = key
    return Charge(
        user_id=user_id,
        item_id=item_id,
        stage="embedder",
        provider=model.provider,
        model=model.name,
        input_tokens=tokens,
        cost_usd=embeddings.cost_usd(model, tokens),
    )
