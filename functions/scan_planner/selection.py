"""Read which items a run is over, in the order of their keys, a page at a time."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from functions.scan_planner.plan import Left
from shared import database, quotas, runs
from shared.runs import EVERYBODY, RunInput

if TYPE_CHECKING:
    from psycopg.rows import DictRow

PAGE = 10_000
COUNT_TIMEOUT = "240s"
"""For the one statement that looks at every item; the function has 300 seconds."""

Key = tuple[str, str]
"""Whose, and which, as text: where a part of the manifest ends."""

_OF_ONE = "  FROM items WHERE items.user_id = %(user_id)s"
_OF_ALL = "  FROM items WHERE items.user_id IS NOT NULL"

# What came with an import is not stale: whoever wants it described anew asks by prompt or model.
# A pending item is still being uploaded, unless it has been so for an hour; a rejected one has only its bytes
# to be tried again; and what was never described has nothing to embed. What is said of analyses is looked up
# item by item, in subqueries that PostgreSQL cannot turn into a join: a page of a join was seen to read all
# analyses from the first one on.
_WANTED = """
   AND (items.status <> 'pending'
        OR %(status)s::text = 'pending' AND items.updated_at < now() - interval '1 hour')
   AND (%(process)s::boolean OR items.status <> 'rejected')
   AND (%(process)s::boolean OR %(analyze)s::boolean OR items.analysis_version IS NOT NULL)
   AND (%(status)s::text IS NULL OR items.status = %(status)s)
   AND (%(since)s::timestamptz IS NULL OR items.created_at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR items.created_at < %(until)s)
   AND (%(ids)s::uuid[] IS NULL OR items.item_id = ANY (%(ids)s::uuid[]))
   AND (%(category)s::text IS NULL OR items.category = %(category)s)
   AND (NOT %(stale)s::boolean
        OR (SELECT analyses.import_id IS NULL
                   AND (analyses.prompt_hash <> %(prompt_hash)s
                        OR (analyses.provider_used || ' ' || analyses.model_used) <> ALL (%(models)s::text[]))
              FROM analyses
             WHERE analyses.user_id = items.user_id AND analyses.item_id = items.item_id
               AND analyses.version = items.analysis_version))
   AND (NOT %(stale_prompt)s::boolean
        OR (SELECT analyses.prompt_hash <> %(prompt_hash)s
              FROM analyses
             WHERE analyses.user_id = items.user_id AND analyses.item_id = items.item_id
               AND analyses.version = items.analysis_version))
   AND (NOT %(stale_model)s::boolean
        OR (SELECT (analyses.provider_used || ' ' || analyses.model_used) <> ALL (%(models)s::text[])
              FROM analyses
             WHERE analyses.user_id = items.user_id AND analyses.item_id = items.item_id
               AND analyses.version = items.analysis_version))
   AND (%(failed_in)s::uuid IS NULL
        OR EXISTS (SELECT FROM scan_results AS results
                    WHERE results.user_id = items.user_id AND results.item_id = items.item_id
                      AND results.run_id = %(failed_in)s AND results.run_owner = %(user_id)s
                      AND results.outcome IN ('failed', 'rejected')))
"""

_KEYS = "SELECT items.user_id, items.item_id::text"
_PAGE = """
   AND (items.user_id, items.item_id) > (%(after_user)s::text, %(after_item)s::uuid)
 ORDER BY items.user_id, items.item_id
 LIMIT %(limit)s
"""

# What has an analysis by the current prompt and one of the current models costs nothing again, and what has a
# vector of its current analysis by the current model neither.
_COUNTED = """
SELECT count(*) AS items,
       count(*) FILTER (WHERE %(analyze)s::boolean AND items.status <> 'rejected' AND (%(force)s::boolean
           OR NOT EXISTS (SELECT FROM analyses AS known
                           WHERE known.user_id = items.user_id AND known.item_id = items.item_id
                             AND known.object_version = coalesce(items.object_version, '')
                             AND known.prompt_hash = %(prompt_hash)s
                             AND (known.provider_used || ' ' || known.model_used)
                                 = ANY (%(models)s::text[])))) AS analyses,
       count(*) FILTER (WHERE %(embed)s::boolean
           AND NOT EXISTS (SELECT FROM embeddings
                            WHERE embeddings.user_id = items.user_id AND embeddings.item_id = items.item_id
                              AND embeddings.model = %(vector_model)s
                              AND embeddings.analysis_version = items.analysis_version)) AS embeddings
"""

SELECT = _KEYS + _OF_ONE + _WANTED + _PAGE
SELECT_OF_ALL = _KEYS + _OF_ALL + _WANTED + _PAGE
COUNT = _COUNTED + _OF_ONE + _WANTED
COUNT_OF_ALL = _COUNTED + _OF_ALL + _WANTED

AVERAGE = """
SELECT count(*) AS calls, avg(input_tokens) AS input_tokens, avg(output_tokens) AS output_tokens,
       avg(cost_usd) AS usd
  FROM (SELECT input_tokens, output_tokens, cost_usd FROM usage_ledger
         WHERE user_id = %(user_id)s AND stage = %(stage)s AND provider = %(provider)s AND model = %(model)s
           AND occurred_at > now() - interval '30 days'
         ORDER BY occurred_at DESC
         LIMIT 1000) AS latest
"""

AVERAGE_OF_ALL = """
SELECT count(*) AS calls, avg(input_tokens) AS input_tokens, avg(output_tokens) AS output_tokens,
       avg(cost_usd) AS usd
  FROM (SELECT input_tokens, output_tokens, cost_usd FROM usage_ledger
         WHERE stage = %(stage)s AND provider = %(provider)s AND model = %(model)s
           AND occurred_at > now() - interval '30 days'
         LIMIT 1000) AS latest
"""

FIRST: Key = ("", "00000000-0000-0000-0000-000000000000")


def names(asked: RunInput, question: Mapping[str, Any] | None, vector_model: str) -> dict[str, Any]:
    """Return what the statements are run with.

    Args:
        question: the prompt and the models of now, as the analyzer tells them; None where nobody asks it.
    """
    select = asked.select
    assert select is not None  # noqa: S101 - a run over a prefix selects no items
    providers = (question or {}).get("providers", [])
    return {
        "user_id": asked.owner,
        "ids": list(select.ids) if select.ids else None,
        "status": select.status,
        "since": select.since,
        "until": select.until,
        "category": select.category,
        "stale_prompt": select.stale_prompt,
        "stale": select.stale,
        "stale_model": select.stale_model,
        "failed_in": select.failed_in,
        "prompt_hash": (question or {}).get("prompt_hash", ""),
        "models": [f"{each['provider']} {each['model']}" for each in providers],
        "vector_model": vector_model,
        "force": asked.force,
        **{step: step in asked.stages for step in ("process", "analyze", "embed")},
    }


def count(values: Mapping[str, Any]) -> "DictRow":
    """Return how many items there are, and how many analyses and vectors of them are to be paid for.

    Raises:
        TransientError: the database gave up; of tens of millions it does, within its time.
    """
    with database.transaction() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %(limit)s, true)", {"limit": COUNT_TIMEOUT})
        row = cursor.execute(runs.whose(values["user_id"], COUNT, COUNT_OF_ALL), dict(values)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return row


def keys(values: Mapping[str, Any], after: Key, most: int) -> Iterator[Key]:
    """Yield the keys of at most so many items behind a key, in their order."""
    statement = runs.whose(values["user_id"], SELECT, SELECT_OF_ALL)
    left = most
    while left > 0:
        limit = min(PAGE, left)
        page = database.fetch_all(
            statement, {**values, "after_user": after[0], "after_item": after[1], "limit": limit}
        )
        for row in page:
            after = (row["user_id"], row["item_id"])
            yield after
        left -= len(page)
        if len(page) < limit:
            return


def average(user_id: str, stage: str, provider: str, model: str) -> "DictRow | None":
    """Return what the latest calls of an owner took on the average."""
    return database.fetch_one(
        runs.whose(user_id, AVERAGE, AVERAGE_OF_ALL),
        {"user_id": user_id, "stage": stage, "provider": provider, "model": model},
    )


def left(user_id: str) -> Left:
    """Return what may still be spent on models this month; what is set aside for calls counts as spent."""
    everybody = quotas.budget()
    assert everybody.limit is not None  # noqa: S101 - the deployment has a budget, if one of nothing
    shared = float(everybody.limit - everybody.used)
    if user_id == EVERYBODY:
        return Left(None, shared)
    (own,) = (quota for quota in quotas.standing(user_id) if quota.meter == "model_usd")
    return Left(None if own.limit is None else float(own.limit - own.used), shared)
