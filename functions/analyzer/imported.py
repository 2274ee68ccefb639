"""Analyses that came with an import: where one speaks of the picture that is here, nobody is asked again."""

from datetime import timedelta

from functions.analyzer import versions
from functions.analyzer.versions import Item, Question
from shared import database, items
from shared.events import AnalysisComplete

# The newest of all is one that came, with these very bytes: what a model said here since is not set back.
STANDING = """
SELECT said.version, said.provider_used, said.model_used
  FROM import_items AS came
  JOIN analyses AS said ON said.user_id = came.user_id AND said.item_id = came.item_id
 WHERE came.user_id = %(user_id)s AND came.item_id = %(item_id)s AND came.sha256 = %(sha256)s
   AND said.import_id = came.import_id
   AND said.version = (SELECT max(newest.version) FROM analyses AS newest
                        WHERE newest.user_id = %(user_id)s AND newest.item_id = %(item_id)s)
"""

SPEAK_OF = """
UPDATE analyses SET object_version = %(object_version)s
 WHERE user_id = %(user_id)s AND item_id = %(item_id)s AND import_id IS NOT NULL
"""


def adopt(item: Item, question: Question, took: timedelta) -> AnalysisComplete | None:
    """Make an analysis that came with this picture the current one, and return its event; None for none.

    Raises:
        SupersededError: the item is of another picture by now.
        TransientError: the database gave up.
    """
    names = {
        "user_id": item.user_id,
        "item_id": item.item_id,
        "sha256": item.sha256,
        "object_version": item.object_version or "",
    }
    if database.fetch_one(STANDING, names) is None:  # as with nearly every picture: without a lock
        return None
    with database.transaction() as cursor:
        current = versions.locked(cursor, item)
        row = cursor.execute(STANDING, names).fetchone()
        if row is None:
            return None
        cursor.execute(SPEAK_OF, names)
        version, by = row["version"], (row["provider_used"], row["model_used"])
        if current.status not in versions.DONE or (current.analysis_version or 0) < version:
            versions.make_current(cursor, item, version)
            items.record(
                cursor,
                item.user_id,
                item.item_id,
                versions.STAGE,
                "analyzed",
                object_version=item.object_version,
                occurrence=f"analysis {version}",
                took=took,
                detail={"version": version, "provider": by[0], "model": by[1], "imported": True},
            )
    return versions.event_of(item, question, version, *by)
