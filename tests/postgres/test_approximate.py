"""An approximate index of one user: asked where that is enough, and a switch by being there."""

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from functions.api import approximate, question, search
from functions.api.filters import Filters
from shared import embeddings, hashed_words
from tests.fakes.http_api import Caller

Database = psycopg.Connection[dict[str, Any]]
MODEL = embeddings.OFFLINE.name
PICTURES = 800
WORDS = [
    f"{first}{second}" for first in ("amber", "basalt", "cobalt", "dune", "ember") for second in "klmnprst"
]


@pytest.fixture
def many(db: Database) -> Iterator[Database]:
    """As many pictures of alice, and a few of bob, in a database that will be thrown away."""
    approximate.forget()
    chance = random.Random(7)  # noqa: S311 - the same pictures every time
    for user_id, count in (("alice", PICTURES), ("bob", 30)):
        texts = [" ".join(chance.choices(WORDS, k=6)) for _ in range(count)]
        db.execute(
            """
            WITH new AS (SELECT gen_random_uuid() AS item_id, text, vector
                           FROM unnest(%(texts)s::text[], %(vectors)s::text[]) AS new (text, vector)),
                 made AS (INSERT INTO items (user_id, item_id, filename, object_key, status, analysis_version)
                          SELECT %(user_id)s, item_id, text, '', 'ready', 1 FROM new),
                 said AS (INSERT INTO search_documents (user_id, item_id, document)
                          SELECT %(user_id)s, item_id, to_tsvector('english', text) FROM new)
            INSERT INTO embeddings (user_id, item_id, model, dimensions, embedding, analysis_version,
                                    source_hash)
            SELECT %(user_id)s, item_id, %(model)s, 1024, vector::halfvec, 1, '' FROM new
            """,
            {
                "user_id": user_id,
                "texts": texts,
                "vectors": [embeddings.halfvec(hashed_words.embed(text) or []) for text in texts],
                "model": MODEL,
            },
        )
    for table in ("items", "embeddings", "search_documents"):
        db.execute(f"VACUUM ANALYZE {table}")
    yield db
    approximate.forget()


def make_index(db: Database, user_id: str) -> str:
    """Do what the documentation says, and return the index's name."""
    row = db.execute(
        "SELECT approximate_index(%(user_id)s, %(model)s) AS statement,"
        " approximate_index_name(%(user_id)s, %(model)s) AS name",
        {"user_id": user_id, "model": MODEL},
    ).fetchone()
    assert row
    db.execute(row["statement"])
    approximate.forget()
    return str(row["name"])


def hits(caller: Caller, **asked: Any) -> list[str]:
    answer = caller.get("/search", **asked)
    assert answer.status == 200, answer.body
    return [hit["item_id"] for hit in answer.body["hits"]]


def plan(db: Database, wanted: search.Search, *, nearest_only: bool) -> str:
    rows = db.execute(
        "EXPLAIN (COSTS OFF) " + search.statement(wanted, nearest_only=nearest_only),
        search.parameters("alice", wanted),
    )
    return "\n".join(str(row["QUERY PLAN"]) for row in rows.fetchall())


def test_the_index_is_asked_and_finds_what_the_exact_search_finds(alice: Caller, many: Database) -> None:
    questions = [f"{WORDS[number]} {WORDS[number + 7]}" for number in range(0, 30, 3)]
    exact = {
        (words, mode): hits(alice, q=words, mode=mode, limit=10)
        for words in questions
        for mode in ("vector", "hybrid")
    }
    name = make_index(many, "alice")
    vector = embeddings.halfvec(hashed_words.embed(questions[0]) or [])
    asked = question.Question(questions[0], "vector", (), embeddings.OFFLINE, vector)
    assert f"Index Scan using {name} on embeddings" in plan(
        many, search.Search(asked, Filters(), 10), nearest_only=True
    )
    found = {key: hits(alice, q=key[0], mode=key[1], limit=10) for key in exact}
    shared = sum(len(set(exact[key]) & set(found[key])) for key in exact)
    assert shared >= 0.97 * sum(map(len, exact.values()))


def test_what_is_like_an_item_is_asked_of_the_index_too(alice: Caller, many: Database) -> None:
    row = many.execute("SELECT item_id FROM items WHERE user_id = 'alice' LIMIT 1").fetchone()
    assert row
    path = f"/items/{row['item_id']}/similar"
    exact = [hit["item_id"] for hit in alice.get(path, limit=10).body["hits"]]
    make_index(many, "alice")
    found = [hit["item_id"] for hit in alice.get(path, limit=10).body["hits"]]
    assert str(row["item_id"]) not in found
    assert len(set(exact) & set(found)) >= 9


def test_a_filter_still_counts_right_and_every_page_comes(alice: Caller, many: Database) -> None:
    make_index(many, "alice")
    many.execute(
        """
        UPDATE items SET created_at = '2020-01-01'
         WHERE user_id = 'alice' AND item_id IN (SELECT item_id FROM items WHERE user_id = 'alice'
                                                  ORDER BY item_id LIMIT 40)
        """
    )
    assert len(hits(alice, q=WORDS[0], mode="vector", min_score=0, created_to="2020-12-31", limit=100)) == 40
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = alice.get("/search", q=WORDS[0], mode="vector", limit=100, **cursor).body
        seen += [hit["item_id"] for hit in answer["hits"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert len(seen) == len(set(seen)) > approximate.CANDIDATES


def test_an_index_is_of_one_user_and_leaves_others_as_they_were(
    alice: Caller, bob: Caller, many: Database
) -> None:
    before = hits(bob, q=WORDS[1], mode="vector")
    make_index(many, "alice")
    assert hits(bob, q=WORDS[1], mode="vector") == before
    of_alice = {
        str(row["item_id"]) for row in many.execute("SELECT item_id FROM items WHERE user_id = 'alice'")
    }
    assert set(hits(alice, q=WORDS[1], mode="vector", limit=100)) <= of_alice
    assert not approximate.has_index("bob", MODEL)


def test_dropping_the_index_or_failing_to_build_it_leaves_the_exact_search(
    alice: Caller, many: Database
) -> None:
    exact = hits(alice, q=WORDS[2], limit=20)
    name = make_index(many, "alice")
    assert approximate.has_index("alice", MODEL)
    many.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (name,))
    approximate.forget()
    assert not approximate.has_index("alice", MODEL), (
        "what CREATE INDEX CONCURRENTLY leaves when it breaks off"
    )
    many.execute("UPDATE pg_index SET indisvalid = true WHERE indexrelid = %s::regclass", (name,))
    approximate.forget()
    assert approximate.has_index("alice", MODEL)
    many.execute(f"DROP INDEX {name}")
    assert approximate.has_index("alice", MODEL), "it was asked a moment ago"
    assert hits(alice, q=WORDS[2], limit=20) == exact, "asked in vain: slow, and right"


def test_names_of_users_are_data_in_the_statement(db: Database) -> None:
    odd = "o'brien'; DROP TABLE items; --"
    row = db.execute("SELECT approximate_index(%s, %s) AS statement", (odd, MODEL)).fetchone()
    assert row
    db.execute(row["statement"])
    assert approximate_is_there(db, odd)


def approximate_is_there(db: Database, user_id: str) -> bool:
    row = db.execute(approximate.HAS_INDEX, {"user_id": user_id, "model": MODEL}).fetchone()
    return bool(row and row["found"])
