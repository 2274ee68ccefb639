"""Pictures as they stand in the database once every stage has had its turn."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from functions.embedder.text import embedded_text
from shared import embeddings, hashed_words

Database = psycopg.Connection[dict[str, Any]]


def picture(
    db: Database,
    user_id: str,
    headline: str = "A picture",
    *,
    filename: str = "IMG_0001.jpg",
    category: str = "photo",
    summary: str = "",
    details: dict[str, Any] | None = None,
    vector: list[float] | None | bool = True,
    model: str = embeddings.OFFLINE.name,
    item_id: UUID | None = None,
    **columns: Any,
) -> str:
    """Put a ready picture into the database; return its id.

    Args:
        vector: True for the offline one of its description, None for none.
        columns: of its row in `items`, instead of what a ready picture has.
    """
    item_id = item_id or uuid4()
    raw = {
        "headline": headline,
        "category": category,
        "summary": summary,
        "subcategories": [],
        "media_metadata": {},
        "image_details": details or {},
    }
    row = {
        "user_id": user_id,
        "item_id": item_id,
        "filename": filename,
        "status": "ready",
        "object_key": f"{user_id}/{item_id}/original",
        "object_version": "v1",
        "analysis_version": 1,
        "image_width": 2048,
        "image_height": 1365,
        "thumbnail_width": 512,
        "thumbnail_height": 341,
    } | columns
    if row["status"] == "over_quota":
        row.setdefault("held_status", "analyzed")
    db.execute(
        sql.SQL("INSERT INTO items ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
        ),
        row,
    )
    db.execute(
        """
        INSERT INTO analyses (user_id, item_id, version, object_version, category, headline, summary,
                              raw_response, provider_used, model_used, prompt_hash)
        VALUES (%s, %s, 1, 'v1', %s, %s, %s, %s, 'offline', 'offline-1', 'hash')
        """,
        (user_id, item_id, category, headline, summary, Jsonb(raw)),
    )
    db.execute("SELECT refresh_search_document(%s, %s)", (user_id, item_id))
    if vector is True:
        vector = hashed_words.embed(embedded_text(raw))
    if vector:
        db.execute(
            """
            INSERT INTO embeddings
                   (user_id, item_id, model, dimensions, embedding, analysis_version, source_hash)
            VALUES (%s, %s, %s, 1024, %s::halfvec, 1, '')
            """,
            (user_id, item_id, model, embeddings.halfvec(vector)),
        )
    return str(item_id)
