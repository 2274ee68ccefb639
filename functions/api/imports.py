"""The caller's imports: begun, filled, read and undone. What an import brought, its rows remember.

Nothing is paid for here: an image goes the way of every upload, and an analysis that came with it is found
by the analyzer. An item without an image goes to the embedder at once.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from aws_lambda_powertools import Logger

from functions.api import deletion
from functions.api.cursor import Cursor
from functions.api.import_answers import Part, Taken
from functions.api.import_drafts import Draft
from functions.api.import_rows import Code
from functions.api.problems import import_not_found, import_undone
from shared import database, erasures, items, objects, quotas
from shared.quotas import OverQuotaError

if TYPE_CHECKING:
    from psycopg import Cursor as DatabaseCursor
    from psycopg.rows import DictRow

    Database = DatabaseCursor[DictRow]

logger = Logger(child=True)

UNDONE_TOGETHER = 25
"""Items that are deleted between two looks at the clock."""

_COLUMNS = """
SELECT user_id, import_id, name, fingerprint, created_at, undone_at FROM imports
"""

ONE = _COLUMNS + "WHERE user_id = %(user_id)s AND import_id = %(import_id)s"

LIST = (
    _COLUMNS
    + """
 WHERE user_id = %(user_id)s
   AND (%(created_at)s::timestamptz IS NULL
        OR (created_at, import_id) < (%(created_at)s::timestamptz, %(before)s::uuid))
 ORDER BY created_at DESC, import_id DESC
 LIMIT %(limit)s
"""
)

BEGIN = """
INSERT INTO imports (user_id, import_id, fingerprint, name)
VALUES (%(user_id)s, %(import_id)s, %(fingerprint)s, %(name)s)
    ON CONFLICT (user_id, import_id) DO NOTHING
"""

# One that is undone to its end begins again.
REOPEN = """
UPDATE imports SET undone_at = NULL
 WHERE user_id = %(user_id)s AND import_id = %(import_id)s AND undone_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM import_items AS came
                    WHERE came.user_id = %(user_id)s AND came.import_id = %(import_id)s)
"""

COUNTS = """
SELECT count(*) AS total,
       count(*) FILTER (WHERE items.status = 'pending') AS waiting,
       count(*) FILTER (WHERE items.status IN ('processed', 'analyzed')) AS working,
       count(*) FILTER (WHERE items.status = 'ready') AS ready,
       count(*) FILTER (WHERE items.status = 'rejected') AS rejected,
       count(*) FILTER (WHERE items.status = 'failed') AS failed,
       count(*) FILTER (WHERE items.status = 'over_quota') AS over_quota,
       count(came.sha256) AS announced,
       coalesce(sum(came.file_size), 0)::bigint AS announced_bytes,
       count(*) FILTER (WHERE items.sha256 = came.sha256) AS same,
       coalesce(sum(items.file_size) FILTER (WHERE items.sha256 = came.sha256), 0)::bigint AS same_bytes,
       count(*) FILTER (WHERE items.sha256 <> came.sha256) AS different,
       count(came.embedding) AS embeddings,
       (SELECT count(*) FROM analyses
         WHERE analyses.user_id = %(user_id)s AND analyses.import_id = %(import_id)s) AS analyses
  FROM import_items AS came
  JOIN items ON items.user_id = came.user_id AND items.item_id = came.item_id
 WHERE came.user_id = %(user_id)s AND came.import_id = %(import_id)s
"""

BROUGHT = """
SELECT came.item_id, items.status, items.error_code, items.error_message, items.file_size, items.sha256,
       came.file_size AS announced_size, came.sha256 AS announced_sha256
  FROM import_items AS came
  JOIN items ON items.user_id = came.user_id AND items.item_id = came.item_id
 WHERE came.user_id = %(user_id)s AND came.import_id = %(import_id)s
   AND (%(after)s::uuid IS NULL OR came.item_id > %(after)s::uuid)
 ORDER BY came.item_id
 LIMIT %(limit)s
"""

# Nobody undoes the import until the transaction ends.
HELD = ONE + " FOR SHARE"

CREATE = """
INSERT INTO items (user_id, item_id, filename, object_key, correlation_id, created_at)
SELECT %(user_id)s, new.item_id, new.filename, new.object_key, %(correlation_id)s,
       coalesce(new.created_at, now())
  FROM jsonb_to_recordset(%(rows)s::jsonb)
       AS new (item_id uuid, filename text, object_key text, created_at timestamptz)
    ON CONFLICT (user_id, item_id) DO NOTHING
RETURNING item_id
"""

# A deletion that is done bars nothing any more. One that is not would take what comes.
UNMARK = """
DELETE FROM deleted_items
 WHERE user_id = %(user_id)s AND item_id = ANY (%(item_ids)s::uuid[]) AND objects_removed_at IS NOT NULL
"""

MARKED = """
SELECT item_id FROM deleted_items WHERE user_id = %(user_id)s AND item_id = ANY (%(item_ids)s::uuid[])
"""

COUNTED = """
UPDATE items SET counted = true, counted_bytes = new.size
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (item_id uuid, size bigint)
 WHERE items.user_id = %(user_id)s AND items.item_id = new.item_id
"""

TAKE_BACK = "DELETE FROM items WHERE user_id = %(user_id)s AND item_id = ANY (%(item_ids)s::uuid[])"

ADD_ANALYSES = """
INSERT INTO analyses (user_id, item_id, version, analysis_id, category, headline, summary, raw_response,
                      provider_used, model_used, prompt_hash, trace_id, created_at, import_id, source)
SELECT %(user_id)s, new.item_id, new.version, new.analysis_id, new.category, new.headline, new.summary,
       new.raw_response, new.provider, new.model, 'imported-' || new.version, new.trace_id,
       coalesce(new.created_at, now()), %(import_id)s, new.source
  FROM jsonb_to_recordset(%(rows)s::jsonb)
       AS new (item_id uuid, version integer, analysis_id uuid, category text, headline text, summary text,
               raw_response jsonb, provider text, model text, trace_id text, created_at timestamptz,
               source jsonb)
    ON CONFLICT DO NOTHING
RETURNING item_id, version
"""

REMEMBER = """
INSERT INTO import_items (user_id, item_id, import_id, source, updated_at, sha256, file_size, embedding,
                          embedding_model, embedding_version, embedding_source, embedded_at)
SELECT %(user_id)s, new.item_id, %(import_id)s, new.source, coalesce(new.updated_at, now()), new.sha256,
       new.file_size, new.embedding::halfvec, new.embedding_model, new.embedding_version,
       new.embedding_source, coalesce(new.embedded_at, now())
  FROM jsonb_to_recordset(%(rows)s::jsonb)
       AS new (item_id uuid, source jsonb, updated_at timestamptz, sha256 text, file_size bigint,
               embedding text, embedding_model text, embedding_version integer, embedding_source jsonb,
               embedded_at timestamptz)
"""

# Until its image is there, an item may get one that it came without, or another.
ANNOUNCE = """
UPDATE import_items AS came
   SET sha256 = new.sha256, file_size = new.file_size
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS new (item_id uuid, sha256 text, file_size bigint), items
 WHERE came.user_id = %(user_id)s AND came.import_id = %(import_id)s AND came.item_id = new.item_id
   AND items.user_id = %(user_id)s AND items.item_id = came.item_id AND items.object_version IS NULL
"""

# Of items that no image will come for, the newest analysis speaks at once.
SPEAK = """
UPDATE items
   SET status = 'analyzed', analysis_version = newest.version
  FROM (SELECT analyses.item_id, max(analyses.version) AS version
          FROM analyses
         WHERE analyses.user_id = %(user_id)s AND analyses.item_id = ANY (%(item_ids)s::uuid[])
         GROUP BY analyses.item_id) AS newest
 WHERE items.user_id = %(user_id)s AND items.item_id = newest.item_id
"""

INDEX = """
SELECT refresh_search_document(%(user_id)s, new.item_id) FROM unnest(%(item_ids)s::uuid[]) AS new (item_id)
"""

FOUND = """
SELECT items.item_id, items.status, items.error_code, items.object_version, came.import_id,
       came.sha256 AS announced_sha256,
       EXISTS (SELECT FROM embeddings
                WHERE embeddings.user_id = %(user_id)s AND embeddings.item_id = items.item_id) AS embedded,
       ARRAY(SELECT analyses.version FROM analyses
              WHERE analyses.user_id = %(user_id)s AND analyses.item_id = items.item_id) AS versions
  FROM items
  LEFT JOIN import_items AS came ON came.user_id = items.user_id AND came.item_id = items.item_id
 WHERE items.user_id = %(user_id)s AND items.item_id = ANY (%(item_ids)s::uuid[])
"""

UNDO = """
UPDATE imports SET undone_at = coalesce(undone_at, now())
 WHERE user_id = %(user_id)s AND import_id = %(import_id)s
RETURNING import_id
"""

HELD_MARKS = """
SELECT item_id, object_key FROM deleted_items
 WHERE user_id = %(user_id)s AND item_id = ANY (%(item_ids)s::uuid[]) AND objects_removed_at IS NULL
 ORDER BY item_id
   FOR UPDATE
"""

FINISHED = """
UPDATE deleted_items SET objects_removed_at = now()
 WHERE user_id = %(user_id)s AND item_id = ANY (%(item_ids)s::uuid[]) AND objects_removed_at IS NULL
"""

LEFT = "SELECT count(*) AS items FROM import_items WHERE user_id = %(user_id)s AND import_id = %(import_id)s"


def import_id_of(user_id: str, fingerprint: str) -> UUID:
    """Return the id of a user's import of a source."""
    return uuid5(NAMESPACE_URL, f"magpie:import:{user_id}/{fingerprint}")


def begin(user_id: str, fingerprint: str, name: str) -> UUID:
    """Begin an import, or find the one of the same source; one that was undone is open again.

    Raises:
        Problem: 409, it is being undone.
        AccountDeletedError: nothing is made for this user any more.
    """
    import_id = import_id_of(user_id, fingerprint)
    names = {"user_id": user_id, "import_id": import_id, "fingerprint": fingerprint, "name": name}
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        cursor.execute(BEGIN, names)
        cursor.execute(REOPEN, names)
        _held(cursor, user_id, import_id)
    return import_id


def one(user_id: str, import_id: UUID) -> "DictRow":
    """Return one of a user's imports.

    Raises:
        Problem: 404, the user has no such import.
    """
    row = database.fetch_one(ONE, {"user_id": user_id, "import_id": import_id})
    if row is None:
        raise import_not_found()
    return row


def page(user_id: str, limit: int, after: Cursor | None) -> "list[DictRow]":
    """Return at most `limit` of a user's imports, newest first."""
    return database.fetch_all(
        LIST,
        {
            "user_id": user_id,
            "created_at": after.created_at if after else None,
            "before": after.item_id if after else None,
            "limit": limit,
        },
    )


def counts(user_id: str, import_id: UUID) -> "DictRow":
    """Return how far the items of an import are, and how their images compare."""
    row = database.fetch_one(COUNTS, {"user_id": user_id, "import_id": import_id})
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return row


def brought(user_id: str, import_id: UUID, limit: int, after: UUID | None) -> "list[DictRow]":
    """Return at most `limit` items of an import, in the order of their ids."""
    return database.fetch_all(
        BROUGHT, {"user_id": user_id, "import_id": import_id, "limit": limit, "after": after}
    )


@dataclass(frozen=True)
class Outcome:
    """What became of an item that came.

    Attributes:
        awaits_image: it has not come yet.
        awaits_vector: the embedder is to be told, and nobody else does.
    """

    draft: Draft
    taken: Taken
    awaits_image: bool = False
    awaits_vector: bool = False


def take(user_id: str, import_id: UUID, drafts: Sequence[Draft], correlation_id: str) -> list[Outcome]:
    """Store what came, all in one transaction, and say of each item what became of it.

    What this import brought before is told as if it were brought now. Items are made as long as there is
    room for them; those that do not fit any more are refused, each for itself.

    Args:
        drafts: of different items.

    Raises:
        Problem: 404, the user has no such import; 409, it is undone.
        AccountDeletedError: nothing is made for this user any more.
        TransientError: the database gave up; nothing was stored.
    """
    names: dict[str, Any] = {"user_id": user_id, "import_id": import_id}
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        _held(cursor, user_id, import_id)
        made, barred = _create(cursor, names, drafts, correlation_id)
        coming = [_announced(each) for each in drafts if each.image is not None]
        if coming:
            cursor.execute(ANNOUNCE, {**names, "rows": json.dumps(coming)})
        wanted = {**names, "item_ids": [each.item.item_id for each in drafts]}
        too_many = _count(cursor, names, made)
        found = {row["item_id"]: row for row in cursor.execute(FOUND, wanted)}
    return [_outcome(each, found.get(each.item.item_id), import_id, barred, too_many) for each in drafts]


def undo(
    user_id: str,
    import_id: UUID,
    uploads_bucket: str,
    media_bucket: str,
    goes_on: Callable[[], bool],
) -> tuple[int, int]:
    """Delete items of an import as items are deleted, until there is none or no time.

    Returns:
        How many were removed, and how many are left.

    Raises:
        Problem: 404, the user has no such import.
        AccountDeletedError: they go with everything else of their user.
        TransientError: S3 or the database gave up. Sent again, it goes on where it stopped.
    """
    names = {"user_id": user_id, "import_id": import_id}
    with database.transaction() as cursor:
        erasures.refuse_erased(cursor, user_id)
        if cursor.execute(UNDO, names).fetchone() is None:
            raise import_not_found()
    removed = 0
    while (not removed or goes_on()) and (rows := brought(user_id, import_id, UNDONE_TOGETHER, None)):
        for row in rows:
            deletion.mark(user_id, row["item_id"])
        _remove_objects(user_id, rows, uploads_bucket, media_bucket)
        removed += len(rows)
    left = database.fetch_one(LEFT, names)
    assert left is not None  # noqa: S101 - an aggregate always has a row
    return removed, left["items"]


def _remove_objects(user_id: str, rows: "Sequence[DictRow]", uploads_bucket: str, media_bucket: str) -> None:
    """Remove the objects of items whose rows are gone, many at once, as `shared.deletion` does one by one.

    The marks are held meanwhile. Where S3 gives up, the night's work goes on from them. What no image was
    ever announced for has no objects to look for.

    Args:
        rows: as `brought` returned them.

    Raises:
        TransientError: S3 or the database gave up.
    """
    names = {"user_id": user_id, "item_ids": [row["item_id"] for row in rows]}
    uploaded = {row["item_id"] for row in rows if row["announced_sha256"] or row["sha256"]}
    with database.transaction() as cursor:
        held = cursor.execute(HELD_MARKS, names).fetchall()
        marks = [mark for mark in held if mark["item_id"] in uploaded]
        originals = [mark["object_key"] for mark in marks]
        media = [items.image_key(user_id, mark["item_id"]) for mark in marks]
        media += [items.thumbnail_key(user_id, mark["item_id"]) for mark in marks]
        for bucket, keys in ((uploads_bucket, originals), (media_bucket, media)):
            if keys:
                removed = objects.remove_versions_of(bucket, keys)
                logger.info("objects removed", versions=removed.versions, bytes=removed.size)
        cursor.execute(FINISHED, names)


def _held(cursor: "Database", user_id: str, import_id: UUID) -> None:
    row = cursor.execute(HELD, {"user_id": user_id, "import_id": import_id}).fetchone()
    if row is None:
        raise import_not_found()
    if row["undone_at"] is not None:
        raise import_undone()


def _create(
    cursor: "Database", names: dict[str, Any], drafts: Sequence[Draft], correlation_id: str
) -> tuple[list[Draft], set[UUID]]:
    """Make what is not there yet; returns what was made, and the items whose deletion is not done."""
    rows = json.dumps([_item(names["user_id"], each) for each in drafts])
    created = cursor.execute(CREATE, {**names, "correlation_id": correlation_id, "rows": rows})
    made = {row["item_id"] for row in created}
    names = {**names, "item_ids": sorted(made)}
    # After the INSERT, which may have waited for a deletion, whose mark these statements see.
    cursor.execute(UNMARK, names)
    barred = {row["item_id"] for row in cursor.execute(MARKED, names)}
    new = [each for each in drafts if each.item.item_id in made - barred]
    added = _add_analyses(cursor, names, new)
    empty = {each.item.item_id for each in new if each.image is None} - {item_id for item_id, _ in added}
    if barred | empty:
        cursor.execute(TAKE_BACK, {**names, "item_ids": sorted(barred | empty)})
    new = [each for each in new if each.item.item_id not in empty]
    _remember(cursor, names, new, added)
    return new, barred


def _count(cursor: "Database", names: dict[str, Any], made: Sequence[Draft]) -> dict[UUID, str]:
    """Count the items that were made, and take back those that do not fit; returns why each of them does not.

    Last, because the counters are held until the commit: so items are made first, and room is found after.
    """
    user_id: str = names["user_id"]
    fits, too_many = list(made), {}
    try:
        _reserve(cursor, user_id, made)
    except OverQuotaError:
        fits = []
        for each in made:
            try:
                _reserve(cursor, user_id, [each])
                fits.append(each)
            except OverQuotaError as error:
                too_many[each.item.item_id] = error.sentence
    if too_many:
        cursor.execute(TAKE_BACK, {**names, "item_ids": sorted(too_many)})
    rows = [{"item_id": str(each.item.item_id), "size": _coming_bytes(each)} for each in fits]
    if rows:
        cursor.execute(COUNTED, {**names, "rows": json.dumps(rows)})
    return too_many


def _reserve(cursor: "Database", user_id: str, made: Sequence[Draft]) -> None:
    """Reserve room for items and for their images, for all of them or for none.

    Raises:
        OverQuotaError: they do not all fit.
    """
    quotas.reserve(cursor, user_id, "items", len(made))
    try:
        quotas.reserve(cursor, user_id, "storage_bytes", sum(map(_coming_bytes, made)))
    except OverQuotaError:
        quotas.adjust(cursor, user_id, "items", -len(made))
        raise


def _coming_bytes(each: Draft) -> int:
    return each.image.size if each.image else 0


def _add_analyses(
    cursor: "Database", names: Mapping[str, Any], new: Sequence[Draft]
) -> set[tuple[UUID, int]]:
    """Store analyses; returns those that were: the id of another may belong to another item of the user."""
    rows = [
        {
            "item_id": str(each.item.item_id),
            "version": version,
            "analysis_id": str(analysis.analysis_id),
            "category": analysis.category,
            "headline": analysis.headline,
            "summary": analysis.summary,
            "raw_response": analysis.raw,
            "provider": analysis.provider,
            "model": analysis.model,
            "trace_id": analysis.trace_id,
            "created_at": _when(analysis.created_at or each.item.created_at),
            "source": analysis.source,
        }
        for each in new
        for version, analysis in each.analyses.items()
    ]
    if not rows:
        return set()
    stored = cursor.execute(ADD_ANALYSES, {**names, "rows": json.dumps(rows)})
    return {(row["item_id"], row["version"]) for row in stored}


def _remember(
    cursor: "Database", names: dict[str, Any], new: Sequence[Draft], added: set[tuple[UUID, int]]
) -> None:
    """Note what came, and let those speak that no image will come for."""
    cursor.execute(REMEMBER, {**names, "rows": json.dumps([_memory(each, added) for each in new])})
    spoken = {**names, "item_ids": [each.item.item_id for each in new if each.image is None]}
    if spoken["item_ids"]:
        cursor.execute(SPEAK, spoken)
        cursor.execute(INDEX, spoken)
    with cursor.connection.pipeline():  # the timeline's lines without waiting for each
        for each in new:
            items.record(
                cursor,
                names["user_id"],
                each.item.item_id,
                "api",
                "imported",
                occurrence=str(names["import_id"]),
                detail={"import_id": str(names["import_id"]), "analyses": len(each.analyses)},
            )


def _item(user_id: str, each: Draft) -> dict[str, Any]:
    item_id = each.item.item_id
    return {
        "item_id": str(item_id),
        "filename": each.item.filename,
        "object_key": items.uploads_key(user_id, item_id),
        "created_at": _when(each.item.created_at),
    }


def _announced(each: Draft) -> dict[str, Any]:
    image = each.image
    return {
        "item_id": str(each.item.item_id),
        "sha256": image.sha256 if image else None,
        "file_size": image.size if image else None,
    }


def _memory(each: Draft, added: set[tuple[UUID, int]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        **_announced(each),
        "source": each.item.source,
        "updated_at": _when(each.item.updated_at),
    }
    embedding = each.embedding
    if embedding is not None and (each.item.item_id, each.newest) in added:
        row |= {
            "embedding": embedding.vector,
            "embedding_model": embedding.model,
            "embedding_version": each.newest,
            "embedding_source": embedding.source,
            "embedded_at": _when(embedding.created_at or each.item.created_at),
        }
    return row


def _when(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _outcome(
    each: Draft,
    found: "DictRow | None",
    import_id: UUID,
    barred: set[UUID],
    too_many: Mapping[UUID, str],
) -> Outcome:
    item_id = each.item.item_id
    if item_id in too_many:
        return Outcome(each, refused(item_id, "over_quota", too_many[item_id]))
    if found is None and item_id in barred:
        return Outcome(each, refused(item_id, "being_deleted", "Its deletion is not done: try again later."))
    if found is None:
        sentence = "It has neither an image nor an analysis that can be taken."
        taken = refused(item_id, "nothing_to_import", sentence)
        return Outcome(each, taken.model_copy(update={"analyses": _parts(each, set(), TAKEN_ID)}))
    if found["import_id"] != import_id:
        embedding = each.embedding_part and (EXISTS if found["embedded"] else LEFT_ALONE)
        parts = _parts(each, set(found["versions"]), LEFT_ALONE, EXISTS)
        return Outcome(each, Taken(item_id=item_id, status="exists", analyses=parts, embedding=embedding))
    return Outcome(
        each,
        Taken(
            item_id=item_id,
            status="imported",
            analyses=_parts(each, set(found["versions"]), TAKEN_ID),
            embedding=each.embedding_part,
        ),
        awaits_image=each.image is not None and found["object_version"] is None,
        awaits_vector=found["announced_sha256"] is None and found["status"] == "analyzed",
    )


EXISTS = Part(status="exists")
LEFT_ALONE = Part(
    status="skipped", code="item_exists", message="The item was there before, and is left as it is."
)
TAKEN_ID = Part(status="refused", code="duplicate_id", message="An analysis of another item has this id.")


def _parts(each: Draft, there: set[int], absent: Part, present: Part | None = None) -> list[Part]:
    """Return what is told of the analyses that came: of those that could be taken, whether they are there."""
    parts = list(each.parts)
    for version, place in each.places.items():
        if version not in there:
            parts[place] = absent
        elif present is not None:
            parts[place] = present
    return parts


def refused(item_id: UUID | None, code: Code, sentence: str) -> Taken:
    """Return what is told of an item that cannot be taken."""
    return Taken(item_id=item_id, status="refused", code=code, message=sentence, analyses=[])
