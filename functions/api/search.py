"""Search by words and by meaning, in one statement."""

from typing import TYPE_CHECKING, Any

from functions.api.question import Question
from shared import database

if TYPE_CHECKING:
    from psycopg.rows import DictRow

CANDIDATES = 200
"""Read from each half: twice the longest answer, so that what stands well in both is not missed."""

# The question's words as the English parser knows them, joined by OR: an item that holds only some of
# them is a hit, and a word that nothing holds changes nothing. plain_words leaves no operators in it.
_ANY_WORD = "replace(plainto_tsquery('english', plain_words(%(query)s::text))::text, '&', '|')::tsquery"
_WORDS = "tsvector_to_array(to_tsvector('english', plain_words(%(query)s::text)))"

# Before the point, how many different words of the question the document holds. After it, ts_rank: with
# the weights A to D, divided by 1 + log(length) (1), brought below 1 by x / (x + 1) (32). So who holds
# more of the question comes first, and among these who holds it in better places.
_TEXT_RANK = f"""(length(found.document) - length(ts_delete(found.document, {_WORDS}))
            + ts_rank(found.document, {_ANY_WORD}, 1 | 32))"""

# Rejected pictures cannot be shown, and pending ones are not there yet.
_SEARCHABLE = "('processed', 'analyzed', 'ready', 'failed')"

SEARCH = f"""
WITH by_words AS (
    SELECT ranked.user_id, ranked.item_id, ranked.text_rank,
           row_number() OVER (ORDER BY ranked.text_rank DESC, ranked.item_id) AS text_position
      FROM (SELECT found.user_id, found.item_id, {_TEXT_RANK} AS text_rank
              FROM search_documents AS found
              JOIN items ON items.user_id = found.user_id AND items.item_id = found.item_id
             WHERE found.user_id = %(user_id)s
               AND items.user_id = %(user_id)s
               AND items.status IN {_SEARCHABLE}
               AND found.document @@ {_ANY_WORD}
             ORDER BY text_rank DESC, found.item_id
             LIMIT %(candidates)s) AS ranked
), by_meaning AS (
    SELECT near.user_id, near.item_id, 1 - near.distance AS similarity,
           row_number() OVER (ORDER BY near.distance, near.item_id) AS vector_position
      -- The "+ 0" keeps the planner from an approximate index, if there ever is one: that would be
      -- searched first and filtered by user afterwards.
      FROM (SELECT user_id, item_id, (embedding <=> %(vector)s::halfvec(1024)) + 0 AS distance
              FROM embeddings
             WHERE user_id = %(user_id)s
               AND model = %(model)s
               AND %(vector)s::text IS NOT NULL
             ORDER BY distance, item_id
             LIMIT %(candidates)s) AS near
     WHERE 1 - near.distance >= %(minimum_similarity)s::float8
), fused AS (
    -- Reciprocal rank fusion, k = 60: Cormack, Clarke and Buettcher, SIGIR 2009.
    SELECT user_id, item_id, text_rank, text_position, similarity, vector_position,
           coalesce(1.0::float8 / (60 + text_position), 0)
         + coalesce(1.0::float8 / (60 + vector_position), 0) AS score
      FROM by_words
      FULL JOIN by_meaning USING (user_id, item_id)
)
SELECT items.item_id, items.filename, items.thumbnail_width, analyses.category, analyses.headline,
       analyses.summary, fused.text_position, fused.vector_position, fused.score,
       coalesce(fused.text_rank, {_TEXT_RANK}, 0) AS text_rank,
       coalesce(fused.similarity, 1 - (embeddings.embedding <=> %(vector)s::halfvec(1024))) AS similarity
  FROM fused
  JOIN items ON items.user_id = fused.user_id AND items.item_id = fused.item_id
  LEFT JOIN search_documents AS found ON found.user_id = items.user_id AND found.item_id = items.item_id
  LEFT JOIN embeddings ON embeddings.user_id = items.user_id
                      AND embeddings.item_id = items.item_id
                      AND embeddings.model = %(model)s
  LEFT JOIN analyses ON analyses.user_id = items.user_id
                    AND analyses.item_id = items.item_id
                    AND analyses.version = items.analysis_version
 WHERE items.user_id = %(user_id)s
   AND items.status IN {_SEARCHABLE}
 ORDER BY fused.score DESC, text_rank DESC, similarity DESC NULLS LAST, items.item_id
 LIMIT %(limit)s
"""  # noqa: S608 - put together of constants


def run(user_id: str, asked: Question, limit: int) -> "list[DictRow]":
    """Return a user's items that a question finds, the best first, at most `limit`."""
    if not (asked.words or asked.vector):
        return []
    return database.fetch_all(SEARCH, parameters(user_id, asked, limit))


def parameters(user_id: str, asked: Question, limit: int) -> dict[str, Any]:
    """Return what the statement is run with."""
    return {
        "user_id": user_id,
        "query": asked.words,
        "vector": asked.vector,
        "model": asked.model.name,
        "minimum_similarity": asked.model.minimum_similarity,
        "candidates": CANDIDATES,
        "limit": limit,
    }
