"""Put the retrieval set into a database, as the pipeline would have, and ask its questions of the API."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from functions.embedder import vectors
from functions.embedder.text import embedded_text, source_hash
from shared import embeddings
from tests.retrieval.collection import Asked, Described

Database = psycopg.Connection[Any]
Search = Callable[..., list[dict[str, Any]]]
"""Asks the API: `search(q=..., mode=..., limit=...)` returns the hits."""

MODES = ("text", "vector", "hybrid")
DEPTH = 10


def load(db: Database, user_id: str, described: Sequence[Described]) -> None:
    """Write the rows of items that every stage has had its turn with: described, embedded offline, ready."""
    (made,) = vectors.make_offline([embedded_text(each.analysis) for each in described], [])
    with db.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO items (user_id, item_id, filename, status, object_key, object_version,
                               analysis_version, image_width, image_height, thumbnail_width,
                               thumbnail_height, created_at)
            VALUES (%s, %s, %s, 'ready', %s, 'v1', 1, 2048, 1365, 512, 341, %s)
            """,
            [
                (user_id, each.item_id, each.filename, f"{user_id}/{each.item_id}/original", each.created_at)
                for each in described
            ],
        )
        cursor.executemany(
            """
            INSERT INTO analyses (user_id, item_id, version, object_version, category, headline, summary,
                                  raw_response, provider_used, model_used, prompt_hash)
            VALUES (%s, %s, 1, 'v1', %s, %s, %s, %s, 'by-hand', 'by-hand', '')
            """,
            [
                (user_id, each.item_id, each.analysis["category"], each.analysis["headline"],
                 each.analysis["summary"], Jsonb(each.analysis))
                for each in described
            ],
        )  # fmt: skip
        cursor.executemany(
            "SELECT refresh_search_document(%s, %s)", [(user_id, each.item_id) for each in described]
        )
        cursor.executemany(
            """
            INSERT INTO embeddings
                   (user_id, item_id, model, dimensions, embedding, analysis_version, source_hash)
            VALUES (%s, %s, %s, 1024, %s::halfvec, 1, %s)
            """,
            [
                (user_id, each.item_id, embeddings.OFFLINE.name, made.vectors[number],
                 source_hash(embedded_text(each.analysis)))
                for number, each in enumerate(described)
            ],
        )  # fmt: skip


def rankings(asked: Iterable[Asked], search: Search, mode: str) -> dict[str, list[tuple[str, float]]]:
    """Return what each question finds above the default `min_score`: ids and scores, the best first."""
    return {
        each.query_id: [(hit["item_id"], hit["score"]) for hit in search(q=each.text, mode=mode, limit=DEPTH)]
        for each in asked
    }
