"""The caller's items, as they are read: listed, one with all that is known of it, its history."""

from typing import TYPE_CHECKING
from uuid import UUID

from functions.api.listing import Listing, Place
from shared import database

if TYPE_CHECKING:
    from psycopg.rows import DictRow

TIMELINE_SHOWN = 100
"""Lines of an item's timeline that come with it, the last ones. The timeline itself has all, page by page."""

# What an answer about an item says. What a person corrected comes before what the model said.
_SHOWN = """
       items.item_id, items.filename, items.kind, items.status, items.error_code, items.error_message,
       items.created_at, items.updated_at, items.format, items.width, items.height, items.file_size,
       items.sha256, items.perceptual_hash, items.dominant_colours, items.captured_at, items.camera,
       items.location, items.duplicate_of, items.image_width, items.image_height, items.thumbnail_width,
       items.thumbnail_height, items.category, analyses.provider_used, analyses.model_used,
       coalesce(corrections.headline, analyses.headline) AS headline,
       coalesce(corrections.summary, analyses.summary) AS summary,
       coalesce(to_jsonb(corrections.tags), analyses.raw_response -> 'subcategories') AS tags,
       corrections.category AS corrected_category, corrections.headline AS corrected_headline,
       corrections.summary AS corrected_summary, corrections.tags AS corrected_tags, corrections.corrected_at
"""

_JOINED = """
  LEFT JOIN analyses ON analyses.user_id = items.user_id
                    AND analyses.item_id = items.item_id
                    AND analyses.version = items.analysis_version
  LEFT JOIN corrections ON corrections.user_id = items.user_id AND corrections.item_id = items.item_id
"""


def _list(conditions: str, by: str) -> str:
    # The page is found before anything is joined to it, so that nothing is read of items that are not on it.
    return f"""
SELECT {_SHOWN}, lower(items.filename) AS lower_name
  FROM (SELECT items.item_id
          FROM items
         WHERE items.user_id = %(user_id)s {conditions}
         ORDER BY {by}
         LIMIT %(limit)s) AS page
  JOIN items ON items.user_id = %(user_id)s AND items.item_id = page.item_id
  {_JOINED}
 ORDER BY {by}
"""  # noqa: S608 - put together of constants


ONE = f"""
SELECT {_SHOWN}, items.object_key, items.object_version, items.analysis_version, analyses.raw_response,
       analyses.created_at AS analyzed_at
  FROM items
  {_JOINED}
 WHERE items.user_id = %(user_id)s AND items.item_id = %(item_id)s
"""  # noqa: S608 - put together of constants

# Of what waits for room, how far it came before.
BRIEF = """
SELECT coalesce(held_status, status) AS status, object_version, analysis_version
  FROM items
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""

_LINES = """
SELECT event_id, stage, event, occurred_at, duration_ms, detail
  FROM item_events
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
"""

LATEST_LINES = _LINES + " ORDER BY event_id DESC LIMIT %(limit)s"

# By their place in it: their numbers count the lines of all users, and would tell how busy others are.
TIMELINE = _LINES + " ORDER BY event_id LIMIT %(limit)s OFFSET %(after)s"

ANALYSES = """
SELECT version, category, headline, summary, raw_response, provider_used, model_used, run_id, object_version,
       created_at
  FROM analyses
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s
   AND (%(before)s::bigint IS NULL OR version < %(before)s::bigint)
 ORDER BY version DESC
 LIMIT %(limit)s
"""


def page(user_id: str, asked: Listing, limit: int, after: Place | None) -> "list[DictRow]":
    """Return at most `limit` of a user's items.

    Args:
        after: the place behind which they begin; None for the first page.
    """
    order, conditions = asked.order, asked.conditions()
    values = {**asked.parameters(), "user_id": user_id, "limit": limit}
    if after is not None:
        conditions += f" AND {order.behind}"
        values |= {"after": after[0], "after_id": after[1]}
    return database.fetch_all(_list(conditions, order.by), values)


def one(user_id: str, item_id: UUID) -> "DictRow | None":
    """Return one of a user's items with its current analysis, None where the user has no such item."""
    return database.fetch_one(ONE, {"user_id": user_id, "item_id": item_id})


def brief(user_id: str, item_id: UUID) -> "DictRow | None":
    """Return how far one of a user's items has come, None where the user has no such item."""
    return database.fetch_one(BRIEF, {"user_id": user_id, "item_id": item_id})


def latest_lines(user_id: str, item_id: UUID) -> "list[DictRow]":
    """Return what happened to an item of late, first things first."""
    names = {"user_id": user_id, "item_id": item_id, "limit": TIMELINE_SHOWN}
    return database.fetch_all(LATEST_LINES, names)[::-1]


def timeline(user_id: str, item_id: UUID, limit: int, after: int) -> "list[DictRow]":
    """Return at most `limit` lines of what happened to an item, first things first.

    Args:
        after: how many lines come before them.
    """
    names = {"user_id": user_id, "item_id": item_id}
    return database.fetch_all(TIMELINE, {**names, "limit": limit, "after": after})


def analyses(user_id: str, item_id: UUID, limit: int, before: int | None) -> "list[DictRow]":
    """Return at most `limit` versions of an item's analysis, newest first.

    Args:
        before: the version below which they begin; None for the first page.
    """
    names = {"user_id": user_id, "item_id": item_id}
    return database.fetch_all(ANALYSES, {**names, "limit": limit, "before": before})
