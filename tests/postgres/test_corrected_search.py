"""What a person said of an item is searched for, and what the model said in its place is not."""

from typing import Any

import psycopg

from tests.fakes.http_api import Caller
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]


def found(caller: Caller, asked: str) -> list[str]:
    answer = caller.get("/search", q=asked, mode="text")
    assert answer.status == 200, answer.body
    return [hit["item_id"] for hit in answer.body["hits"]]


def correct(db: Database, item_id: str, **said: Any) -> None:
    columns = {"category": None, "headline": None, "summary": None, "tags": None, **said}
    db.execute("DELETE FROM corrections WHERE item_id = %s", (item_id,))
    if said:
        db.execute(
            """
            INSERT INTO corrections (user_id, item_id, category, headline, summary, tags)
            VALUES ('alice', %(item_id)s, %(category)s, %(headline)s, %(summary)s, %(tags)s)
            """,
            {**columns, "item_id": item_id},
        )
    db.execute("SELECT refresh_search_document('alice', %s)", (item_id,))


def test_corrected_words_are_found_and_the_replaced_ones_are_not(alice: Caller, db: Database) -> None:
    item_id = picture(
        db,
        "alice",
        "headlineword",
        category="categoryword",
        summary="summaryword",
        details={"objects": ["objectword"]},
    )
    db.execute(
        "UPDATE analyses SET raw_response = jsonb_set(raw_response, '{subcategories}', '[\"tagword\"]')"
    )
    correct(db, item_id)
    said = {
        "headline": ("headlineword", "newhead"),
        "category": ("categoryword", "newcategory"),
        "summary": ("summaryword", "newsummary"),
        "tags": ("tagword", ["newtag", "othertag"]),
    }
    for name, (old, new) in said.items():
        news = new if isinstance(new, list) else [new]
        assert found(alice, old) == [item_id]
        correct(db, item_id, **{name: new})
        assert found(alice, old) == [], name
        assert [found(alice, word) for word in news] == [[item_id]] * len(news)
        assert found(alice, "objectword") == [item_id], "what was not corrected stays"
        correct(db, item_id)
        assert found(alice, old) == [item_id]
        assert found(alice, news[0]) == []


def test_no_tags_are_a_correction_too(alice: Caller, db: Database) -> None:
    item_id = picture(db, "alice", "Cat")
    db.execute("UPDATE analyses SET raw_response = jsonb_set(raw_response, '{subcategories}', '[\"pet\"]')")
    correct(db, item_id, tags=[])
    assert found(alice, "pet") == []


def test_a_hit_shows_and_marks_what_a_person_said(alice: Caller, db: Database) -> None:
    item_id = picture(db, "alice", "Dog", category="Animal", summary="A dog.")
    correct(db, item_id, headline="Tabby cat", category="Pet", tags=["Cats", "Home"])
    (hit,) = alice.get("/search", q="cat", mode="text", explain="true", category="Pet").body["hits"]
    assert (hit["headline"], hit["category"], hit["summary"]) == ("Tabby cat", "Pet", "A dog.")
    assert [(piece["field"], piece["text"]) for piece in hit["highlights"]] == [
        ("headline", "Tabby cat"),
        ("tags", "Cats, Home"),
    ]
    assert hit["explanation"]["found"][0]["fields"] == ["headline or category", "name or tags"]
    assert alice.get("/search", q="cat", mode="text", category="Animal").body["hits"] == []


def test_tags_count_more_than_what_is_said_and_less_than_the_headline(alice: Caller, db: Database) -> None:
    said = picture(db, "alice", "One", summary="lighthouse", vector=None)
    tagged = picture(db, "alice", "Two", vector=None)
    correct(db, tagged, tags=["lighthouse"])
    headed = picture(db, "alice", "Three", vector=None)
    correct(db, headed, headline="lighthouse")
    assert found(alice, "lighthouse") == [headed, tagged, said]


def test_what_was_said_of_an_item_without_an_analysis_can_be_found(alice: Caller, db: Database) -> None:
    item_id = picture(db, "alice", "Dog", status="processed", vector=None)
    db.execute("UPDATE items SET analysis_version = NULL")
    correct(db, item_id, headline="Tabby cat")
    assert found(alice, "cat") == [item_id]
    assert found(alice, "dog") == []
