"""What can be asked of a search: filters, order, pages, cut-off, explanations, highlights; and bad input."""

import itertools
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from functions.api import question, search
from functions.api.filters import Filters
from functions.api.place import Place
from shared import embeddings, hashed_words
from tests.fakes.http_api import Answer, Caller
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]

FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [hit["item_id"] for hit in answer.body["hits"]]


def day(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def on_the_clock(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_post_finds_what_a_get_finds(alice: Caller, db: Database) -> None:
    picture(db, "alice", "Lighthouse", category="Landscape")
    picture(db, "alice", "Lighthouse keeper", category="Portrait")
    asked = {"q": "lighthouse", "category": "Portrait", "mode": "text", "limit": 5, "explain": True}
    posted = alice.post("/search", asked)
    assert posted.status == 200
    assert posted.body["hits"]
    query = {name: str(value).lower() if value is True else value for name, value in asked.items()}
    got = alice.get("/search", **query).body
    for hit in [*got["hits"], *posted.body["hits"]]:
        assert hit.pop("thumbnail_url")
    assert posted.body == got
    assert alice("POST", "/search", body={"q": "x"}, headers={"idempotency-key": "\n"}).status == 400


def test_filters_leave_out_what_does_not_pass(alice: Caller, db: Database) -> None:
    old = picture(
        db,
        "alice",
        "Lighthouse",
        created_at=day(0),
        captured_at=on_the_clock("2026-02-24T10:00"),
        status="failed",
    )
    copy = picture(
        db, "alice", "Lighthouse", created_at=day(1), duplicate_of=UUID(old), status="analyzed", category="B"
    )
    new = picture(
        db, "alice", "Lighthouse", created_at=day(2), captured_at=on_the_clock("2026-03-03T23:59:59")
    )
    everything = {old, copy, new}
    expected: list[tuple[dict[str, Any], set[str]]] = [
        ({}, everything),
        ({"category": "photo"}, {old, new}),
        ({"category": "B"}, {copy}),
        ({"category": "b"}, set()),
        ({"kind": "image"}, everything),
        ({"status": "failed"}, {old}),
        ({"status": "analyzed", "category": "B"}, {copy}),
        ({"status": "rejected"}, set()),
        ({"duplicate": "true"}, {copy}),
        ({"duplicate": "false"}, {old, new}),
        ({"created_from": "2026-03-02"}, {copy, new}),
        ({"created_to": "2026-03-02"}, {old, copy}),
        ({"created_to": "2026-03-02T00:00:00Z"}, {old}),
        ({"created_from": "2026-03-02T01:00:00+02:00", "created_to": "2026-03-02T12:00:00"}, {copy}),
        ({"captured_from": "2026-03-03"}, {new}),
        ({"captured_to": "2026-03-03"}, {old, new}),
        ({"captured_to": "2026-03-03T23:59:59"}, {old}),
    ]
    for mode in ("hybrid", "text", "vector"):
        for filters, found in expected:
            answer = alice.get("/search", q="lighthouse", mode=mode, **filters)
            assert set(ids(answer)) == found, (mode, filters)


def test_each_mode_searches_in_its_way_only(alice: Caller, db: Database) -> None:
    both = picture(db, "alice", "Lighthouse")
    without_vector = picture(db, "alice", "Lighthouse", vector=None)
    near = picture(db, "alice", "Coast", vector=hashed_words.embed("lighthouse coast"))
    assert set(ids(alice.get("/search", q="lighthouse"))) == {both, without_vector, near}
    text = alice.get("/search", q="lighthouse", mode="text").body
    assert {hit["item_id"] for hit in text["hits"]} == {both, without_vector}
    assert text["mode"] == "text"
    assert {hit["similarity"] for hit in text["hits"]} == {None}
    assert all(hit["score"] == hit["text_score"] for hit in text["hits"])
    vector = alice.get("/search", q="lighthouse", mode="vector").body
    assert {hit["item_id"] for hit in vector["hits"]} == {both, near}
    assert vector["mode"] == "vector"
    assert {hit["text_score"] for hit in vector["hits"]} == {None}
    assert all(hit["score"] == pytest.approx(hit["vector_score"]) for hit in vector["hits"])
    assert all(hit["highlights"] == [] for hit in vector["hits"])


def test_the_cut_off_is_by_the_score_that_orders(alice: Caller, db: Database) -> None:
    for headline in ("Red lighthouse", "Lighthouse at sea", "A red boat", "Forest"):
        picture(db, "alice", headline)
    for mode in ("hybrid", "text", "vector"):
        whole = alice.get("/search", q="red lighthouse", mode=mode).body["hits"]
        scores = [hit["score"] for hit in whole]
        assert scores == sorted(scores, reverse=True)
        assert all(0 < score <= 1 for score in scores)
        assert len(whole) >= 2
        for least in (scores[0], scores[1], 0.5, 1):
            kept = alice.get("/search", q="red lighthouse", mode=mode, min_score=repr(least)).body["hits"]
            assert [hit["score"] for hit in kept] == [score for score in scores if score >= least]
    everything = alice.get("/search", q="red lighthouse", mode="vector", min_score=0).body["hits"]
    assert len(everything) == 4, "0 shows strangers too"
    assert everything[-1]["score"] == 0
    similarities = [hit["similarity"] for hit in everything]
    assert similarities == sorted(similarities, reverse=True)
    assert len(alice.get("/search", q="red lighthouse", mode="text", min_score=0).body["hits"]) == 3


def test_hits_can_come_by_date(alice: Caller, db: Database) -> None:
    headlines = ("Lighthouse", "A lighthouse at sea", "Coast")
    made = [
        picture(db, "alice", headlines[number % 3], summary="Lighthouse", vector=None, created_at=day(number))
        for number in range(7)
    ]
    assert ids(alice.get("/search", q="lighthouse", sort="date")) == made[::-1]
    best = alice.get("/search", q="lighthouse").body["hits"][2]["score"]
    assert ids(alice.get("/search", q="lighthouse", sort="date", min_score=repr(best))) == made[::-3]


@pytest.mark.parametrize("sort", ["relevance", "date"])
def test_pages_show_every_hit_once_whatever_happens_meanwhile(alice: Caller, db: Database, sort: str) -> None:
    words = ["red lighthouse", "red", "lighthouse", "lighthouse red boat", "red red"]
    made = [picture(db, "alice", words[number % 5], created_at=day(number % 4)) for number in range(23)]
    asked = {"q": "red lighthouse", "sort": sort, "limit": 5}
    whole = ids(alice.get("/search", **asked | {"limit": 100}))
    assert sorted(whole) == sorted(made)
    seen: list[str] = []
    scores: list[float] = []
    cursor: dict[str, str] = {}
    for _ in range(5):
        page = alice.get("/search", **asked, **cursor)
        seen += ids(page)
        scores += [hit["score"] for hit in page.body["hits"]]
        # Both words grow rarer, and every score would move.
        for number in range(40):
            picture(db, "alice", f"Other {number}", vector=None, created_at=day(9))
        if page.body["next_cursor"] is None:
            break
        cursor = {"cursor": page.body["next_cursor"]}
    assert seen == whole
    assert page.body["next_cursor"] is None
    if sort == "relevance":
        assert scores == sorted(scores, reverse=True)


def test_a_cursor_belongs_to_one_question_of_one_user(alice: Caller, db: Database) -> None:
    for number in range(3):
        picture(db, "alice", "Lighthouse", created_at=day(number))
        picture(db, "bob", "Lighthouse", created_at=day(number))
    asked = {"q": "lighthouse", "limit": 1}
    cursor = alice.get("/search", **asked).body["next_cursor"]
    assert cursor
    assert alice.get("/search", **asked | {"limit": 2, "explain": "true"}, cursor=cursor).status == 200
    others: list[dict[str, Any]] = [
        {"q": "lighthouses"}, {"mode": "text"}, {"sort": "date"}, {"min_score": 0}, {"category": "photo"},
        {"duplicate": "false"}, {"created_from": "2026-01-01"},
    ]  # fmt: skip
    for other in others:
        answer = alice.get("/search", **asked | other, cursor=cursor)
        assert (answer.status, answer.body["type"]) == (400, "urn:problem-type:magpie:invalid-cursor"), other
    bob = Caller("bob", alice.client_id)
    assert bob.get("/search", **asked, cursor=cursor).status == 400
    listed = alice.get("/items", limit=1).body["next_cursor"]
    for forged in ("", "x", "e30", cursor[:-1], cursor + "A", listed, "\x00", "🙂", "A" * 5000, "W10"):
        assert alice.get("/search", **asked, cursor=forged).status == 400, forged


def test_an_explanation_adds_up_to_the_score(alice: Caller, db: Database) -> None:
    wanted = picture(
        db,
        "alice",
        "Lighthouses",
        summary="A red boat",
        filename="red.jpg",
        details={"extracted_text": ["RED"], "objects": ["boat"]},
    )
    picture(db, "alice", "Boat", vector=None)
    hits = alice.get("/search", q="Red lighthouse, zyzzyva!", explain="true").body["hits"]
    assert len(hits) == 1
    (hit,) = hits
    explained = hit["explanation"]
    assert hit["item_id"] == wanted
    assert [(word["words"], word["lexeme"]) for word in explained["found"]] == [
        (["Red"], "red"), (["lighthouse"], "lighthous"),
    ]  # fmt: skip
    assert explained["found"][0]["fields"] == ["name or tags", "summary or details", "text in the picture"]
    assert explained["found"][1]["fields"] == ["headline or category"]
    assert explained["missing"] == ["zyzzyva"]
    total = math.fsum(word["share"] * word["worth"] for word in explained["found"])
    assert total == pytest.approx(hit["text_score"])
    assert 0 < math.fsum(word["share"] for word in explained["found"]) < 1
    assert explained["model"] == embeddings.OFFLINE.name
    assert explained["minimum_similarity"] == embeddings.OFFLINE.minimum_similarity
    text, vector = hit["text_score"], hit["vector_score"]
    assert explained["calculation"] == f"max({text:.3f}, {vector:.3f}) = {hit['score']:.3f}"
    assert hit["score"] == max(text, vector)


def test_an_explanation_tells_the_place_in_either_half(alice: Caller, db: Database) -> None:
    both = picture(db, "alice", "Lighthouse", vector=hashed_words.embed("lighthouse harbour boats sea"))
    near = picture(db, "alice", "Coast", vector=hashed_words.embed("lighthouse"))
    words = picture(db, "alice", "Sea", summary="The lighthouse", vector=None)
    picture(db, "alice", "Lighthouse", status="rejected")
    hits = {}
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = alice.get("/search", q="lighthouse", explain="true", limit=1, **cursor).body
        (hit,) = page["hits"]
        hits[hit["item_id"]] = hit["explanation"]
        cursor = {"cursor": page["next_cursor"] or ""}
    places = {key: (each["text_position"], each["vector_position"]) for key, each in hits.items()}
    assert places == {both: (1, 2), near: (None, 1), words: (2, None)}


def test_matched_words_are_marked_where_they_stand(alice: Caller, db: Database) -> None:
    long = "Nothing here. " * 30 + "The Lighthouse’s lamp — lit. " + "Nothing there. " * 30
    picture(
        db,
        "alice",
        "Näher am LIGHTHOUSE, 🙂 <b>lighthouses</b>",
        summary=long,
        filename="old_lighthouse-2.jpg",
        category="Coast",
        details={"extracted_text": ["OPEN", "Lighthouse café"]},
        vector=None,
    )
    (hit,) = alice.get("/search", q="lighthouse").body["hits"]
    marked = {
        piece["field"]: [piece["text"][span["start"] : span["end"]] for span in piece["highlights"]]
        for piece in hit["highlights"]
    }
    assert marked == {
        "headline": ["LIGHTHOUSE", "lighthouses"],
        "summary": ["Lighthouse"],
        "filename": ["lighthouse"],
        "text": ["Lighthouse"],
    }
    pieces = {piece["field"]: piece["text"] for piece in hit["highlights"]}
    assert pieces["headline"] == "Näher am LIGHTHOUSE, 🙂 <b>lighthouses</b>", (
        "as it is, and no markup of ours"
    )
    assert pieces["text"] == "OPEN\nLighthouse café"
    assert len(pieces["summary"]) <= 200
    assert "The Lighthouse’s lamp — lit." in pieces["summary"]


def test_bad_input_is_told_by_field_and_never_fails(alice: Caller, db: Database) -> None:
    picture(db, "alice", "Tabby cat")
    bad: list[tuple[dict[str, Any], str]] = [
        ({"q": ""}, "q"), ({"q": "x" * 10_000}, "q"), ({}, "q"), ({"q": "x", "limit": 0}, "limit"),
        ({"q": "x", "limit": 101}, "limit"), ({"q": "x", "limit": "1e2"}, "limit"),
        ({"q": "x", "min_score": "nan"}, "min_score"), ({"q": "x", "min_score": "-0.1"}, "min_score"),
        ({"q": "x", "min_score": "1.01"}, "min_score"), ({"q": "x", "min_score": "inf"}, "min_score"),
        ({"q": "x", "mode": "words"}, "mode"), ({"q": "x", "sort": "name"}, "sort"),
        ({"q": "x", "status": "gone"}, "status"), ({"q": "x", "kind": "pdf"}, "kind"),
        ({"q": "x", "duplicate": "perhaps"}, "duplicate"), ({"q": "x", "category": ""}, "category"),
        ({"q": "x", "category": "x" * 201}, "category"), ({"q": "x", "explain": "2"}, "explain"),
        ({"q": "x", "created_from": "yesterday"}, "created_from"),
        ({"q": "x", "created_to": "2026-02-30"}, "created_to"),
        ({"q": "x", "captured_from": "99999-01-01"}, "captured_from"),
        ({"q": "x", "captured_to": "1e400"}, "captured_to"),
    ]  # fmt: skip
    for asked, wrong in bad:
        answer = alice.get("/search", **asked)
        assert answer.status == 422, asked
        assert [error["field"] for error in answer.body["errors"]] == [f"query.{wrong}"], asked
        answer = alice.post("/search", asked)
        assert answer.status == 422, asked
        assert [error["field"] for error in answer.body["errors"]] == [f"body.{wrong}"], asked
    for body in (
        '{"q": NaN}', '{"q": "x", "min_score": NaN}', '{"q": "x", "limit": 1e999}', "[" * 100_000, "[]",
        "null", '{"q": ["x"]}', '{"q": "x", "created_from": 1e300}',
        '{"q": "x", "limit": "many"}',
    ):  # fmt: skip
        answer = alice("POST", "/search", body=body, headers={"content-type": "application/json"})
        assert answer.status in (400, 422), body
    assert "NaN" not in json.dumps(answer.body)


def test_odd_input_is_searched_for(alice: Caller, db: Database) -> None:
    picture(db, "alice", "Tabby cat", created_at=day(0))
    for asked in (
        {"q": "cat\x00"}, {"q": "cat " * 250}, {"q": "🙂 cat 👩‍👩‍👧"},
        {"q": " ".join(f"w{n}" for n in range(180))},
        {"q": "&|!():*<->'\\" * 50}, {"q": "cat", "category": "a\x00b"}, {"q": "x" * 1000},
        {"q": "cat", "created_from": "0001-01-01T00:00:00+14:00", "created_to": "9999-12-31"},
        {"q": "cat", "captured_from": "0001-01-01", "captured_to": "9999-12-31T23:59:59.999999"},
        {"q": "cat", "min_score": 1}, {"q": "cat", "min_score": 1e-320}, {"q": "cat,dog"},
    ):  # fmt: skip
        for mode in ("hybrid", "text", "vector"):
            for query in (
                alice.get("/search", **asked, mode=mode),
                alice.post("/search", {**asked, "mode": mode}),
            ):
                assert query.status == 200, (asked, mode, query.body)
    many = alice.get("/search", q=" ".join(["cat", *(f"w{n}" for n in range(180))]), min_score=0)
    assert many.body["notes"] == ["only the first 32 different words of the question were looked for"]
    assert len(many.body["hits"]) == 1


def test_every_combination_of_options_is_a_statement(alice: Caller, db: Database) -> None:
    made = picture(db, "alice", "Tabby cat", category="Pet", created_at=day(0))
    vector = embeddings.halfvec(hashed_words.embed("tabby cat") or [])
    terms = (question.Term("cat", ("cat",)), question.Term("tabbi", ("tabby",)))
    some = Filters.model_validate({"category": "Pet", "duplicate": False, "created_from": "2026-01-01"})
    beginning = Place(embeddings.OFFLINE.name, (1, 1, 1), 2.0, 2.0, day(1), UUID(int=0))
    tried = 0
    for words, asked_vector, near, sort, explain, after, filters, least in itertools.product(
        ((), terms), (None, vector), (None, UUID(int=1)), ("relevance", "date"), (False, True),
        (None, beginning), (Filters(), some), (None, 0.0, 0.1),
    ):  # fmt: skip
        asked = question.Question("", "hybrid", words, embeddings.OFFLINE, asked_vector)
        wanted = search.Search(asked, filters, 3, least, sort, explain, after, near)
        if not (wanted.by_words or wanted.by_meaning):
            continue
        rows = db.execute(search.statement(wanted), search.parameters("alice", wanted)).fetchall()
        # Nothing is near to what does not exist.
        assert [str(row["item_id"]) for row in rows] == ([made] if words or near is None else []), wanted
        tried += 1
    assert tried == 336


def test_a_question_that_says_nothing_gets_a_note(alice: Caller, db: Database) -> None:
    picture(db, "alice", "Tabby cat")
    for asked in ("the of and", "!!!", "👍"):
        for mode in ("hybrid", "text"):
            body = alice.get("/search", q=asked, mode=mode).body
            assert body["hits"] == []
            assert body["notes"] == ["there is no word in the question to look for"], (asked, mode)


def test_what_a_stranger_wrote_as_an_analysis_fails_no_search(alice: Caller, db: Database) -> None:
    """An imported one may hold anything that is JSON."""
    item_id = picture(db, "alice", "Tabby cat", vector=None)
    for raw in (
        "null", "[]", "7", '"cat"', '{"subcategories": {"cat": ["cat"]}, "image_details": "cat"}',
        '{"image_details": {"extracted_text": [1, null, ["cat"], {"a": "cat"}]}}', '{"subcategories": "cat"}',
    ):  # fmt: skip
        db.execute("UPDATE analyses SET raw_response = %s::jsonb", (raw,))
        answer = alice.get("/search", q="cat", explain="true")
        assert ids(answer) == [item_id], raw


# GET /items/{id}/similar


def test_the_nearest_come_first_and_never_the_item_itself(alice: Caller, db: Database) -> None:
    mine = picture(db, "alice", "Red lighthouse at sea")
    same = picture(
        db,
        "alice",
        "Red lighthouse at sea",
        category="Coast",
        vector=hashed_words.embed("red lighthouse at sea photo"),
    )
    like = picture(db, "alice", "White lighthouse", category="Coast")
    picture(db, "alice", "Bowl of ramen noodles")
    picture(db, "alice", "Red lighthouse at sea", vector=None)
    picture(db, "alice", "Red lighthouse at sea", status="rejected")
    picture(db, "bob", "Red lighthouse at sea")
    body = alice.get(f"/items/{mine}/similar").body
    assert [hit["item_id"] for hit in body["hits"]] == [same, like]
    assert body["notes"] == []
    assert body["hits"][0]["score"] == pytest.approx(1, abs=0.01)
    assert body["hits"][0]["similarity"] == pytest.approx(1, abs=0.01)
    assert ids(alice.get(f"/items/{mine}/similar", limit=1)) == [same]
    assert ids(alice.get(f"/items/{mine}/similar", min_score=0.9)) == [same]
    assert len(ids(alice.get(f"/items/{mine}/similar", min_score=0))) == 3
    assert ids(alice.get(f"/items/{mine}/similar", category="photo", min_score="0.01")) == []
    assert ids(alice.get(f"/items/{mine}/similar", category="Coast")) == [same, like]
    assert alice.get(f"/items/{mine}/similar", limit=101).status == 422


def test_an_item_without_a_vector_has_nothing_similar_yet(alice: Caller, db: Database) -> None:
    bare = picture(db, "alice", "Lighthouse", vector=None)
    picture(db, "alice", "Lighthouse")
    body = alice.get(f"/items/{bare}/similar").body
    assert body["hits"] == []
    assert body["notes"] == ["this item has no vector yet: nothing can be compared with it"]


def test_what_is_like_something_of_somebody_else_is_not_told(alice: Caller, db: Database) -> None:
    hers = picture(db, "alice", "Lighthouse")
    bob = Caller("bob", alice.client_id)
    picture(db, "bob", "Lighthouse")
    foreign = bob.get(f"/items/{hers}/similar")
    unknown = bob.get(f"/items/{UUID(int=5)}/similar")
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body
    assert bob.get("/items/nonsense/similar").status == 404


def test_vectors_are_compared_with_those_of_their_own_model(alice: Caller, db: Database) -> None:
    old = picture(db, "alice", "Lighthouse", model="a-model-of-the-past")
    older = picture(db, "alice", "Lighthouse", model="a-model-of-the-past")
    picture(db, "alice", "Lighthouse")
    assert ids(alice.get(f"/items/{old}/similar")) == [older]
