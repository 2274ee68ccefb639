"""The collection that benchmarks measure with: that it loads, and that its vectors are the embedder's."""

from typing import Any

import numpy as np
import psycopg
import pytest

from benchmarks import collection, timing
from functions.embedder.text import embedded_text
from shared import hashed_words

Database = psycopg.Connection[dict[str, Any]]


def test_a_collection_is_what_the_pipeline_would_have_made(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "VOCABULARY", 300)
    monkeypatch.setattr(collection, "TOPICS", 10)
    made = collection.Collection(((1, 12), (2, 4)))
    assert made.users == ["user-00", "user-01", "user-02"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert collection.load(made, connection)["vectors/s"] > 0
    for table in collection.TABLES:
        rows = db.execute(
            psycopg.sql.SQL("SELECT user_id, count(*) AS rows FROM {} GROUP BY 1 ORDER BY 1").format(
                psycopg.sql.Identifier(table)
            )
        ).fetchall()
        assert [row["rows"] for row in rows] == [12, 4, 4], table
    (first,) = [each for each in made.pictures if each.number == 0]
    vector = hashed_words.embed(embedded_text(made.analysis(first)))
    assert vector is not None
    # But for the words that only full text knows, such as the name of the kind of picture.
    assert float(np.dot(made.vectors[0], np.array(vector))) > 0.9
    stored = db.execute("SELECT embedding::text AS text FROM embeddings WHERE item_id = %s", (first.item_id,))
    (row,) = stored.fetchall()
    assert np.allclose([float(each) for each in row["text"][1:-1].split(",")], made.vectors[0], atol=1e-3)


def test_the_same_seed_makes_the_same_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "VOCABULARY", 300)
    one, other = (collection.Collection(((1, 3),)) for _ in range(2))
    assert one.pictures == other.pictures
    assert one.questions(5) == other.questions(5)


def test_calls_are_measured_in_turn() -> None:
    seen: list[tuple[str, int]] = []
    times = timing.interleaved(
        {name: lambda number, name=name: seen.append((name, number)) for name in "ab"}, rounds=2, warm_up=1
    )
    assert seen == [("a", 1), ("b", 1), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert [len(each.ms) for each in times.values()] == [2, 2]
    assert timing.Times([1, 2, 3, 10]).p95 == 10
    assert timing.Times([1, 2, 3, 10]).p50 == 3
