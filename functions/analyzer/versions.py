"""What the database knows of an item's analyses, and what one more changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from functions.analyzer.chain import Answer
from functions.analyzer.providers import Provider
from shared import database, holding, items
from shared.errors import MagpieError, RejectedError
from shared.events import AnalysisComplete, ItemRejected, QuotaReached, Stage
from shared.quotas import OverQuotaError
from shared.text import storable

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

STAGE: Stage = "analyzer"
DONE = {"analyzed", "ready", "failed"}
"""Statuses of an item whose current analysis, if it has one, is stored: later stages go on from there."""


class SupersededError(MagpieError):
    """The item is gone, rejected or of another version of its object by now: nothing is to be done."""


@dataclass(frozen=True)
class Item:
    """The part of an item's row that matters here."""

    user_id: str
    item_id: UUID
    status: str
    error_code: str | None
    object_version: str | None
    sha256: str | None
    camera: str | None
    captured_at: datetime | None
    analysis_version: int | None


@dataclass(frozen=True)
class Question:
    """What makes two analyses of one version of an object different: the prompt and the run."""

    prompt_hash: str
    run_id: str


# One that waits until it fits counts as being in the status that it goes on from.
ITEM = """
SELECT user_id, item_id, coalesce(held_status, status) AS status, error_code, object_version, sha256, camera,
       captured_at, analysis_version
  FROM items
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""


def find(user_id: str, item_id: UUID) -> Item | None:
    """Return a user's item."""
    row = database.fetch_one(ITEM, {"user_id": user_id, "item_id": item_id})
    return Item(**row) if row else None


def ignored(item: Item | None, object_version: str | None) -> str | None:
    """Say why there is nothing to analyze; None when there is.

    Args:
        object_version: that the event speaks of; None means whichever is current.
    """
    if item is None:
        return "unknown item"
    if item.status == "rejected":
        return "rejected item"
    if item.status == "pending" or item.sha256 is None:
        return "item without a picture yet"
    if object_version is not None and object_version != item.object_version:
        return "another version of the object"
    return None


def unchanged(item: Item, cursor: "Cursor[DictRow]") -> bool:
    """Keep the item as it is until the end of the transaction, and say whether it still is of that version.

    Derivatives are only ever replaced under the row's lock: whoever shares it reads the right ones.
    """
    now = cursor.execute(ITEM + " FOR SHARE", {"user_id": item.user_id, "item_id": item.item_id}).fetchone()
    return now is not None and _same_object(item, Item(**now))


def existing(
    item: Item, question: Question, providers: Sequence[Provider] | None = None
) -> AnalysisComplete | None:
    """Return the event of the analysis of this version of the object that was asked for already.

    Args:
        providers: whose analysis it must be, of this very prompt; None takes any of the same run, since
            a late copy of an event must cost nothing, whatever was deployed in the meantime.
    """
    if item.status not in DONE or item.analysis_version is None:
        return None
    rows = database.fetch_all(
        """
        SELECT version, provider_used, model_used, prompt_hash
          FROM analyses
         WHERE user_id = %(user_id)s AND item_id = %(item_id)s AND object_version = %(object_version)s
           AND run_id = %(run_id)s AND version <= %(known)s
         ORDER BY version DESC
        """,
        {**_key(item, question), "known": item.analysis_version},
    )
    for row in rows:
        by = (row["provider_used"], row["model_used"])
        if providers is None or (
            row["prompt_hash"] == question.prompt_hash
            and by in {(provider.name, provider.model) for provider in providers}
        ):
            return event_of(item, question, row["version"], *by)
    return None


def unannounced(event: AnalysisComplete) -> bool:
    """Say whether the next stage has not yet worked on this analysis, so that it must be told (again)."""
    item = find(event.user_id, event.item_id)
    return item is not None and item.analysis_version == event.analysis_version and item.status == "analyzed"


def store(
    item: Item, question: Question, answer: Answer, trace_id: str | None, took: timedelta
) -> AnalysisComplete:
    """Add a version to the item's analyses and make it the current one.

    Returns:
        Its event, or that of the version which another delivery stored in the meantime.

    Raises:
        SupersededError: nothing was stored.
        TransientError: the database gave up.
    """
    from psycopg.types.json import Jsonb

    whole = storable(answer.analysis.model_dump(mode="json"))
    with database.transaction() as cursor:
        current = locked(cursor, item)
        row: dict[str, Any] = {
            **_key(item, question),
            "category": whole["category"],
            "headline": whole["headline"],
            "summary": whole["summary"],
            "raw_response": Jsonb(whole),
            "provider": answer.provider,
            "model": answer.model,
            "trace_id": trace_id,
        }
        found = cursor.execute(
            """
            SELECT version FROM analyses
             WHERE user_id = %(user_id)s AND item_id = %(item_id)s AND object_version = %(object_version)s
               AND prompt_hash = %(prompt_hash)s AND provider_used = %(provider)s
               AND model_used = %(model)s AND run_id = %(run_id)s
            """,
            row,
        ).fetchone()
        if found is None:
            found = cursor.execute(
                """
                INSERT INTO analyses (user_id, item_id, version, object_version, category, headline, summary,
                                      raw_response, provider_used, model_used, prompt_hash, run_id, trace_id)
                SELECT %(user_id)s, %(item_id)s, coalesce(max(version), 0) + 1, %(object_version)s,
                       %(category)s, %(headline)s, %(summary)s, %(raw_response)s, %(provider)s, %(model)s,
                       %(prompt_hash)s, %(run_id)s, %(trace_id)s
                  FROM analyses
                 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
                RETURNING version
                """,
                row,
            ).fetchone()
        assert found is not None  # noqa: S101 - RETURNING of an INSERT that did not raise
        version: int = found["version"]
        if current.status not in DONE or (current.analysis_version or 0) < version:
            make_current(cursor, item, version)
            items.record(
                cursor,
                item.user_id,
                item.item_id,
                STAGE,
                "analyzed",
                object_version=item.object_version,
                occurrence=f"analysis {version}",
                took=took,
                detail={"version": version, "provider": answer.provider, "model": answer.model},
            )
    return event_of(item, question, version, answer.provider, answer.model)


def fail(item: Item, question: Question, error: RejectedError) -> ItemRejected | None:
    """End an item that nobody can describe.

    An item that has an analysis keeps it: a new run that came to nothing takes nothing away, and only
    the timeline tells of it.

    Returns:
        The event to publish; None where the item stays as it is.

    Raises:
        SupersededError: nothing was stored.
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        current = locked(cursor, item)
        if current.analysis_version is None:
            return items.end(cursor, item.user_id, item.item_id, STAGE, "failed", error, item.object_version)
        _note_kept(cursor, item, question, error, current)
    return None


def keep(item: Item, question: Question, error: RejectedError) -> None:
    """Note on the timeline that a run came to nothing, whatever the item has or still waits for.

    Raises:
        SupersededError: nothing was stored.
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        _note_kept(cursor, item, question, error, locked(cursor, item))


def wait(item: Item, question: Question, error: OverQuotaError) -> QuotaReached | None:
    """Let an item wait that nobody may be paid to describe.

    An item that has an analysis stays as it is, and only the timeline tells of it.

    Returns:
        The event to publish; None where the item stays as it is.

    Raises:
        SupersededError: nothing was stored.
        TransientError: the database gave up.
    """
    with database.transaction() as cursor:
        current = locked(cursor, item)
        if current.analysis_version is None:
            holding.hold(
                cursor,
                item.user_id,
                item.item_id,
                STAGE,
                "processed",
                error,
                object_version=item.object_version,
            )
            return holding.reached(item.user_id, error)
        _note_kept(cursor, item, question, error, current)
    return None


def _note_kept(
    cursor: "Cursor[DictRow]",
    item: Item,
    question: Question,
    error: RejectedError | OverQuotaError,
    current: Item,
) -> None:
    code = error.code if isinstance(error, RejectedError) else holding.OVER_QUOTA
    items.record(
        cursor,
        item.user_id,
        item.item_id,
        STAGE,
        "kept",
        object_version=item.object_version,
        occurrence=f"{code} {question.run_id}",
        detail={"code": code, "message": error.sentence, "version": current.analysis_version},
    )


def _key(item: Item, question: Question) -> dict[str, Any]:
    return {
        "user_id": item.user_id,
        "item_id": item.item_id,
        "object_version": item.object_version or "",
        "prompt_hash": question.prompt_hash,
        "run_id": question.run_id,
    }


def event_of(item: Item, question: Question, version: int, provider: str, model: str) -> AnalysisComplete:
    """Return what is to be heard of a version of an item's analysis."""
    return AnalysisComplete(
        user_id=item.user_id,
        item_id=item.item_id,
        object_version=item.object_version,
        analysis_version=version,
        provider=provider,
        model=model,
        run_id=question.run_id or None,
    )


def _same_object(item: Item, now: Item) -> bool:
    return now.status != "rejected" and (now.object_version, now.sha256) == (item.object_version, item.sha256)


def locked(cursor: "Cursor[DictRow]", item: Item) -> Item:
    """Lock the item's row and return it as it is now.

    Raises:
        SupersededError: it is not what was analyzed.
    """
    row = cursor.execute(ITEM + " FOR UPDATE", {"user_id": item.user_id, "item_id": item.item_id}).fetchone()
    now = Item(**row) if row else None
    if now is None or not _same_object(item, now):
        raise SupersededError
    return now


def make_current(cursor: "Cursor[DictRow]", item: Item, version: int) -> None:
    """Let a version speak for an item, whose row is locked."""
    names = {"user_id": item.user_id, "item_id": item.item_id, "version": version}
    cursor.execute(
        """
        UPDATE items
           SET status = 'analyzed', held_status = NULL, analysis_version = %(version)s, error_code = NULL,
               error_message = NULL, updated_at = now()
         WHERE user_id = %(user_id)s AND item_id = %(item_id)s
        """,
        names,
    )
    cursor.execute("SELECT refresh_search_document(%(user_id)s, %(item_id)s)", names)
