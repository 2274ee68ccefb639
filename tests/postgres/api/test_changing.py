"""Names and corrections: kept beside what the model said, shown and found in its place."""

import threading
from typing import Any
from uuid import uuid4

import psycopg

from functions.api import corrections
from functions.embedder.handler import lambda_handler as embed
from shared import clients, database
from tests.conftest import Aws, LambdaContext
from tests.fakes.http_api import Caller, assert_problem
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]


def lines(db: Database) -> list[tuple[str, dict[str, Any]]]:
    rows = db.execute("SELECT event, detail FROM item_events ORDER BY event_id").fetchall()
    return [(row["event"], row["detail"]) for row in rows]


def words(db: Database) -> str:
    (row,) = db.execute("SELECT document::text AS words FROM search_documents").fetchall()
    return str(row["words"])


def unsigned(person: Caller, item_id: str) -> dict[str, Any]:
    """The item as its person sees it, without the URLs: those say in which second they were signed."""
    item = person.get(f"/items/{item_id}").body
    del item["views"], item["thumbnail"]["url"]
    return item


def test_a_correction_is_shown_in_place_of_the_model_s_word_which_stays(
    alice: Caller, aws: Aws, db: Database
) -> None:
    item_id = picture(db, "alice", "Tabby cat", category="animal", summary="It looks.")
    said = {
        "category": " Pets ",
        "headline": "Minka\nasleep",
        "tags": ["#Minka", "minka", "  ", "home  alone"],
    }
    said["tags"] = ["#Minka", "minka", "home  alone"]
    body = alice.patch(f"/items/{item_id}", said).body
    assert (body["category"], body["headline"], body["summary"]) == ("Pets", "Minka asleep", "It looks.")
    assert body["tags"] == ["Minka", "home alone"]
    assert body["corrections"] == {
        "category": "Pets",
        "headline": "Minka asleep",
        "summary": None,
        "tags": ["Minka", "home alone"],
        "corrected_at": body["corrections"]["corrected_at"],
    }
    assert (body["analysis"]["category"], body["analysis"]["headline"]) == ("animal", "Tabby cat")
    assert alice.get(f"/items/{item_id}").body == body
    (listed,) = alice.get("/items").body["items"]
    assert {name: listed[name] for name in listed} == {name: body[name] for name in listed}
    assert [line["event"] for line in body["timeline"]] == ["corrected"]
    assert lines(db) == [("corrected", {"corrected": ["category", "headline", "tags"], "withdrawn": []})]
    for word in ("minka", "pet", "alon"):
        assert f"'{word}'" in words(db)
    (event,) = aws.published()
    assert event["detail-type"] == "EmbeddingRequested"
    assert event["detail"]["data"] == {"user_id": "alice", "item_id": item_id, "object_version": "v1"}


def test_null_takes_a_correction_back_and_the_others_stay(alice: Caller, db: Database) -> None:
    item_id = picture(db, "alice", "Tabby cat", category="animal")
    alice.patch(f"/items/{item_id}", {"category": "pets", "headline": "Minka", "tags": []})
    body = alice.patch(f"/items/{item_id}", {"category": None}).body
    assert (body["category"], body["headline"], body["tags"]) == ("animal", "Minka", [])
    assert body["corrections"]["tags"] == []
    assert body["corrections"]["category"] is None
    body = alice.patch(f"/items/{item_id}", {"headline": None, "tags": None, "summary": None}).body
    assert (body["headline"], body["corrections"]) == ("Tabby cat", None)
    assert db.execute("SELECT FROM corrections").fetchall() == []
    assert "'minka'" not in words(db)
    assert lines(db)[1:] == [
        ("corrected", {"corrected": [], "withdrawn": ["category"]}),
        ("corrected", {"corrected": [], "withdrawn": ["headline", "tags"]}),
    ]


def test_a_new_name_is_cleaned_as_on_upload_and_found(alice: Caller, aws: Aws, db: Database) -> None:
    item_id = picture(db, "alice", filename="IMG_1.jpg")
    before = alice.get(f"/items/{item_id}").body
    body = alice.patch(f"/items/{item_id}", {"filename": "C:\\x\\Harbour\u202e \x00at\ud800 dawn.JPG"}).body
    assert body["filename"] == "Harbour at? dawn.JPG"
    assert body["updated_at"] > before["updated_at"]
    assert lines(db) == [("renamed", {"from": "IMG_1.jpg", "to": "Harbour at? dawn.JPG"})]
    assert "'harbour'" in words(db)
    assert aws.published() == [], "the name is no part of the vector's text"


def test_what_changes_nothing_leaves_no_trace_but_is_embedded_again(
    alice: Caller, aws: Aws, db: Database
) -> None:
    """A request whose event was lost is sent again, and finds its correction there."""
    item_id = picture(db, "alice")
    change = {"headline": "Minka", "filename": "IMG_0001.jpg"}
    first = alice.patch(f"/items/{item_id}", change).body
    again = alice.patch(f"/items/{item_id}", change).body
    assert first["corrections"] == again["corrections"]
    assert [event for event, _ in lines(db)] == ["corrected"]
    assert [event["detail-type"] for event in aws.published()] == ["EmbeddingRequested"] * 2


def test_an_event_that_is_not_taken_loses_nothing(
    alice: Caller, aws: Aws, db: Database, monkeypatch: Any
) -> None:
    item_id = picture(db, "alice")

    def drop(**_: Any) -> dict[str, Any]:
        return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}

    with monkeypatch.context() as patched:
        patched.setattr(clients.events(), "put_events", drop)
        assert_problem(alice.patch(f"/items/{item_id}", {"headline": "Minka"}), 503, "unavailable")
    assert alice.get(f"/items/{item_id}").body["headline"] == "Minka"
    assert aws.published() == []
    assert alice.patch(f"/items/{item_id}", {"headline": "Minka"}).status == 200
    assert len(aws.published()) == 1


def test_what_has_no_analysis_yet_is_corrected_and_not_embedded(
    alice: Caller, aws: Aws, db: Database
) -> None:
    item_id = alice.post("/items", {"filename": "a.jpg"}).body["item_id"]
    body = alice.patch(f"/items/{item_id}", {"category": "pets", "headline": "Minka"}).body
    assert (body["status"], body["category"], body["analysis"]) == ("pending", "pets", None)
    assert aws.published() == []


def test_the_vector_is_made_of_what_was_corrected(
    alice: Caller, db: Database, lambda_context: LambdaContext
) -> None:
    item_id = picture(db, "alice", "Tabby cat")
    ask = {"user_id": "alice", "item_id": item_id}
    embed(ask, lambda_context)  # type: ignore[arg-type]
    (before,) = db.execute("SELECT source_hash FROM embeddings").fetchall()
    alice.patch(f"/items/{item_id}", {"headline": "Minka"})
    embed(ask, lambda_context)  # type: ignore[arg-type]
    (after,) = db.execute("SELECT source_hash FROM embeddings").fetchall()
    assert before != after
    alice.patch(f"/items/{item_id}", {"headline": None})
    embed(ask, lambda_context)  # type: ignore[arg-type]
    (again,) = db.execute("SELECT source_hash FROM embeddings").fetchall()
    assert again == before


def test_what_does_not_fit_is_named_and_changes_nothing(alice: Caller, db: Database) -> None:
    item_id = picture(db, "alice", "Tabby cat", category="animal")
    before = unsigned(alice, item_id)
    for change, field in (
        ({}, "body"),
        ([], "body"),
        (None, None),
        ({"titel": "Minka"}, "body.titel"),
        ({"category": ""}, "body.category"),
        ({"category": " \u200b\n"}, "body.category"),
        ({"category": "x" * 81}, "body.category"),
        ({"category": 1}, "body.category"),
        ({"headline": "x" * 201}, "body.headline"),
        ({"headline": ["x"]}, "body.headline"),
        ({"summary": "x" * 2001}, "body.summary"),
        ({"summary": "x" * 1_000_000}, "body.summary"),
        ({"tags": "minka"}, "body.tags"),
        ({"tags": ["x"] * 51}, "body.tags"),
        ({"tags": ["ok", "x" * 81]}, "body.tags.1"),
        ({"tags": ["ok", None]}, "body.tags.1"),
        ({"tags": [" "]}, "body.tags.0"),
        ({"filename": None}, "body.filename"),
        ({"filename": ""}, "body.filename"),
        ({"headline": "good", "category": ""}, "body.category"),
    ):
        answer = alice.patch(f"/items/{item_id}", change)
        if field is None:
            assert_problem(answer, 400, "malformed-request")
        else:
            assert_problem(answer, 422, "invalid-input")
            assert [error["field"] for error in answer.body["errors"]] == [field]
    for body, status in ((b"\xff", 400), ("[" * 100_000, 400), ('{"headline": NaN}', 422), ("{", 400)):
        answer = alice("PATCH", f"/items/{item_id}", body=body, headers={"content-type": "application/json"})
        assert answer.status == status
    assert unsigned(alice, item_id) == before
    bounds = {
        "category": "x" * 80,
        "headline": "x" * 200,
        "summary": "x" * 2000,
        "tags": [f"{n}" for n in range(50)],
    }
    shown = alice.patch(f"/items/{item_id}", bounds).body
    assert {name: shown[name] for name in bounds} == bounds


def test_odd_letters_are_stored_as_they_can_be(alice: Caller, db: Database) -> None:
    item_id = picture(db, "alice")
    odd = "a\x00b\ud800c\u202e<script>' OR 1=1 --\U0001f431"
    body = alice.patch(
        f"/items/{item_id}", {"headline": odd, "category": odd, "summary": odd, "tags": [odd]}
    ).body
    expected = "ab?c<script>' OR 1=1 --\U0001f431"
    assert [body["headline"], body["category"], body["summary"], *body["tags"]] == [expected] * 4


def test_somebody_else_s_item_is_not_there(alice: Caller, bob: Caller, aws: Aws, db: Database) -> None:
    hers = picture(db, "alice", "Tabby cat")
    answers = [
        bob.patch(f"/items/{hers}", {"headline": "mine"}),
        bob.patch(f"/items/{uuid4()}", {"headline": "mine"}),
        bob.patch("/items/no-id", {"headline": "mine"}),
    ]
    for answer in answers:
        assert_problem(answer, 404, "item-not-found")
        assert answer.body == answers[0].body
    assert alice.get(f"/items/{hers}").body["headline"] == "Tabby cat"
    assert lines(db) == []
    assert aws.published() == []


def test_two_corrections_at_once_are_both_kept(alice: Caller, db: Database, database_url: str) -> None:
    """The second waits for the first, and builds on what it has said."""
    item_id = picture(db, "alice")
    change = corrections.Change(headline="Minka")
    with database.connect(database_url) as first:
        with first.transaction():
            first.execute("SELECT FROM items FOR UPDATE")
            first.execute(
                "INSERT INTO corrections (user_id, item_id, category)"
                " SELECT user_id, item_id, 'pets' FROM items"
            )
            second = threading.Thread(target=lambda: corrections.apply("alice", item_id, change))  # type: ignore[arg-type]
            second.start()
            waiting = (
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            for _ in range(2000):
                if db.execute(waiting).fetchall():
                    break
            else:
                raise AssertionError("nobody waits")
        second.join(timeout=30)
    (row,) = db.execute("SELECT category, headline FROM corrections").fetchall()
    assert row == {"category": "pets", "headline": "Minka"}


class TestAnalyses:
    def version(self, db: Database, item_id: str, number: int) -> None:
        db.execute(
            "INSERT INTO analyses (user_id, item_id, version, category, headline, summary, raw_response,"
            " provider_used, model_used, prompt_hash, run_id)"
            " SELECT user_id, item_id, %(number)s, category, %(said)s, summary, raw_response, 'anthropic',"
            " 'm', 'h', %(said)s FROM analyses WHERE item_id = %(item_id)s AND version = 1",
            {"number": number, "said": f"run {number}", "item_id": item_id},
        )

    def test_every_version_is_listed_newest_first(self, alice: Caller, bob: Caller, db: Database) -> None:
        item_id = picture(db, "alice", "Tabby cat", category="animal", summary="It looks.")
        for number in (2, 3):
            self.version(db, item_id, number)
        db.execute("UPDATE items SET analysis_version = 2")
        body = alice.get(f"/items/{item_id}/analyses").body
        assert body["next_cursor"] is None
        assert [(each["version"], each["current"]) for each in body["analyses"]] == [
            (3, False),
            (2, True),
            (1, False),
        ]
        assert body["analyses"][2] == {
            "version": 1,
            "current": False,
            "provider": "offline",
            "model": "offline-1",
            "run_id": None,
            "created_at": body["analyses"][2]["created_at"],
            "category": "animal",
            "headline": "Tabby cat",
            "summary": "It looks.",
            "analysis": body["analyses"][2]["analysis"],
        }
        assert body["analyses"][0]["run_id"] == "run 3"
        for path in (f"/items/{item_id}/analyses", f"/items/{uuid4()}/analyses", "/items/x/analyses"):
            assert_problem(bob.get(path), 404, "item-not-found")

    def test_both_histories_are_paged(self, alice: Caller, db: Database) -> None:
        item_id = picture(db, "alice")
        for number in range(2, 6):
            self.version(db, item_id, number)
            db.execute(
                "INSERT INTO item_events (user_id, item_id, stage, event, occurrence)"
                " VALUES ('alice', %s, 'analyzer', 'analyzed', %s)",
                (item_id, str(number)),
            )
        for history, value, expected in (
            ("analyses", "version", [5, 4, 3, 2, 1]),
            ("timeline", "event", ["analyzed"] * 4),
        ):
            seen: list[Any] = []
            cursor: dict[str, str] = {}
            for _ in range(10):
                body = alice.get(f"/items/{item_id}/{history}", limit=2, **cursor).body
                seen += [each[value] for each in body[history]]
                if body["next_cursor"] is None:
                    break
                cursor = {"cursor": body["next_cursor"]}
            assert seen == expected
        other = picture(db, "alice")
        assert_problem(alice.get(f"/items/{other}/analyses", **cursor), 400, "invalid-cursor")

    def test_one_item_shows_the_last_of_a_long_timeline(self, alice: Caller, db: Database) -> None:
        item_id = picture(db, "alice")
        db.execute(
            "INSERT INTO item_events (user_id, item_id, stage, event, occurrence, detail)"
            " SELECT 'alice', %s, 'analyzer', 'analyzed', n::text, jsonb_build_object('n', n)"
            " FROM generate_series(1, 250) AS n",
            (item_id,),
        )
        shown = [line["detail"]["n"] for line in alice.get(f"/items/{item_id}").body["timeline"]]
        assert shown == list(range(151, 251))
        whole: list[int] = []
        cursor: dict[str, str] = {}
        for _ in range(5):
            body = alice.get(f"/items/{item_id}/timeline", limit=100, **cursor).body
            whole += [line["detail"]["n"] for line in body["timeline"]]
            if body["next_cursor"] is None:
                break
            cursor = {"cursor": body["next_cursor"]}
        assert whole == list(range(1, 251))
