"""Decide whether a search asks an approximate index, which an operator makes for whoever has very many.

Exact is the rule: for 20,000 vectors it takes 11 ms, and misses nothing. With a million it takes most of a
second, and there an index of the user's own finds nearly the same in a fraction (docs/search.md has both).
"""

import time
from functools import lru_cache

from shared import database

REMEMBERED_SECONDS = 300
"""Within them an index that was made or dropped is noticed. Asked in vain, the search is slow and right."""
CANDIDATES = 200
"""Nearest vectors that the index is asked for, and best hits by words beside them: twice the largest page."""
EF_SEARCH = 1000
"""How many the index keeps in hand while it looks; more find more and take longer."""

HAS_INDEX = """
SELECT EXISTS (SELECT FROM pg_index
                WHERE indexrelid = to_regclass(approximate_index_name(%(user_id)s, %(model)s))
                  AND indisvalid) AS found
"""

EFFORT = "SELECT set_config('hnsw.ef_search', %(effort)s, true)"


def has_index(user_id: str, model: str) -> bool:
    """Say whether a user has an approximate index of a model's vectors.

    Raises:
        TransientError: the database gave up.
    """
    return _has_index(user_id, model, int(time.monotonic() // REMEMBERED_SECONDS))


@lru_cache(maxsize=1024)
def _has_index(user_id: str, model: str, _period: int) -> bool:
    row = database.fetch_one(HAS_INDEX, {"user_id": user_id, "model": model})
    return bool(row and row["found"])


def forget() -> None:
    """Look anew at the next search."""
    _has_index.cache_clear()
