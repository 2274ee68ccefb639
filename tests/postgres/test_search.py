"""Search on a real database: what is found, in which order, and with which numbers."""

import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from functions.api import question, search
from functions.api.filters import Filters
from shared import embeddings, quotas
from shared.errors import TransientError
from tests.conftest import Aws
from tests.fakes import voyage_server
from tests.fakes.http_api import Caller
from tests.fakes.pictures import picture
from tests.fakes.voyage_server import KEY, Answer, Request, VoyageServer

Database = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def voyage(function_env: Callable[..., dict[str, str]], aws: Aws) -> Iterator[VoyageServer]:
    question.bought_vector.cache_clear()
    with voyage_server.running() as server:
        environment = function_env("Api", EMBEDDER="auto", VOYAGE_BASE_URL=server.base_url)
        aws.put_parameter(environment["VOYAGE_KEY_PARAMETER"], KEY)
        yield server


def found(caller: Caller, asked: str, **more: Any) -> list[str]:
    """Return the ids that a search finds, the best first."""
    answer = caller.get("/search", q=asked, **more)
    assert answer.status == 200, answer.body
    return [hit["item_id"] for hit in answer.body["hits"]]


def towards(cosine: float) -> list[float]:
    """Return a vector with this cosine to `towards(1)`."""
    return [cosine, math.sqrt(1 - cosine * cosine)] + [0.0] * 1022


def test_a_hit_says_what_it_is_and_why_it_was_found(alice: Caller, db: Database) -> None:
    wanted = picture(
        db,
        "alice",
        "Golden sunset over the sea",
        category="landscape",
        summary="The sun sets.",
        filename="a.jpg",
    )
    picture(db, "alice", "Tabby cat on a blanket")
    answer = alice.get("/search", q="sunset sea")
    assert answer.status == 200
    assert answer.body["query"] == "sunset sea"
    assert answer.body["mode"] == "hybrid"
    assert answer.body["notes"] == []
    (hit,) = answer.body["hits"]
    assert {name: hit[name] for name in ("item_id", "filename", "category", "headline", "summary")} == {
        "item_id": wanted,
        "filename": "a.jpg",
        "category": "landscape",
        "headline": "Golden sunset over the sea",
        "summary": "The sun sets.",
    }
    assert f"/alice/thumbnails/{wanted}.webp?" in hit["thumbnail_url"]
    assert "X-Amz-Expires=3600" in hit["thumbnail_url"]
    assert 0.7 < hit["text_score"] < 0.9, "both words stand in the headline"
    assert 0.3 < hit["similarity"] <= 1
    assert hit["vector_score"] == pytest.approx((hit["similarity"] - 0.14) / 0.86)
    assert hit["score"] == max(hit["text_score"], hit["vector_score"]), "offline, both read the same words"
    assert hit["explanation"] is None
    assert answer.body["next_cursor"] is None


def test_a_natural_question_finds_what_holds_some_of_its_words_the_best_first(
    alice: Caller, db: Database
) -> None:
    both = picture(db, "alice", "Red car on a mountain road", vector=None)
    car = picture(db, "alice", "Blue car in a garage", vector=None)
    mountain = picture(db, "alice", "Fog", summary="A mountain in the mist", vector=None)
    picture(db, "alice", "Bowl of ramen noodles", vector=None)
    asked = "Where did I park the red car, on that mountain near Grenoble?"
    assert found(alice, asked, min_score=0) == [both, car, mountain]
    assert found(alice, asked) == [both], "and by itself, only what holds enough of it"


def test_a_word_that_nothing_holds_does_not_empty_the_answer(alice: Caller, db: Database) -> None:
    cat = picture(db, "alice", "Tabby cat")
    assert found(alice, "cat xylophone") == [cat]
    assert found(alice, "cat xylophone zyzzyva ytterbium", mode="text") == [], "most of it is not there"
    assert found(alice, "cat xylophone zyzzyva ytterbium", min_score=0) == [cat]
    assert found(alice, "xylophone zyzzyva", mode="text", min_score=0) == []


def test_words_that_every_question_holds_do_not_count(alice: Caller, db: Database) -> None:
    cat = picture(db, "alice", "Cat", vector=None)
    picture(
        db, "alice", "This photo shows a picture", summary="Photos, pictures, images: show me", vector=None
    )
    assert found(alice, "show me photos of cats")[0] == cat


CONTENTLESS = ["the of and", "!!!", "& | ! ( ) :* <->", "'", "   ", "\\", "👍", "%", "a"]


def test_a_question_without_content_finds_nothing_and_fails_nothing(alice: Caller, db: Database) -> None:
    picture(db, "alice", "Tabby cat")
    for asked in CONTENTLESS:
        assert found(alice, asked) == [], asked


def test_operators_and_odd_characters_are_only_words(alice: Caller, db: Database) -> None:
    cat = picture(db, "alice", "Tabby cat", vector=None)
    for asked in (
        "cat' OR '1'='1",
        "cat & !dog",
        "cat:*",
        "cat | (",
        "cat\x00",
        "\u202ecat",
        "-cat",
        '"cat',
        "cat's",
        "cat,dog",
        "'; DROP TABLE items; --cat",
    ):
        assert found(alice, asked, min_score=0) == [cat], asked
    assert alice.get("/search", q="cat \ud800").status == 422


def test_forms_of_a_word_find_each_other(alice: Caller, db: Database) -> None:
    sunset = picture(db, "alice", "Sunset")
    assert found(alice, "sunsets") == [sunset]
    assert found(alice, "SUNSET") == [sunset]


def test_every_part_of_a_description_can_be_found(alice: Caller, db: Database) -> None:
    everything = picture(
        db,
        "alice",
        "headlineword",
        category="categoryword",
        summary="summaryword",
        filename="summer_holiday-filename.JPG",
        details={"extracted_text": ["readword"], "objects": ["objectword"], "themes": ["themeword"]},
        vector=None,
    )
    for word in (
        "headlineword",
        "categoryword",
        "summaryword",
        "holiday",
        "readword",
        "objectword",
        "themeword",
    ):
        assert found(alice, word) == [everything], word


def test_what_it_is_counts_more_than_what_is_said_and_what_is_read(alice: Caller, db: Database) -> None:
    read = picture(db, "alice", "One", details={"extracted_text": ["lighthouse"]}, vector=None)
    said = picture(db, "alice", "Two", summary="Near a lighthouse", vector=None)
    named = picture(db, "alice", "Three", filename="lighthouse.jpg", vector=None)
    is_one = picture(db, "alice", "Lighthouse", vector=None)
    assert found(alice, "lighthouse") == [is_one, named, said, read]


def test_a_short_description_comes_before_a_long_one_with_the_same_word(alice: Caller, db: Database) -> None:
    words = " ".join(f"word{number}" for number in range(200))
    long = picture(db, "alice", f"Lighthouse {words}", vector=None)
    short = picture(db, "alice", "Lighthouse", vector=None)
    assert found(alice, "lighthouse") == [short, long]


def test_what_cannot_be_shown_is_never_found(alice: Caller, db: Database) -> None:
    shown = {
        picture(db, "alice", "Lighthouse", status=status)
        for status in ("processed", "analyzed", "ready", "failed")
    }
    for status in ("rejected", "pending"):
        picture(db, "alice", "Lighthouse", status=status)
    assert set(found(alice, "lighthouse")) == shown


def test_many_rejected_pictures_do_not_push_a_good_one_out(alice: Caller, db: Database) -> None:
    for number in range(30):
        picture(db, "alice", "Lighthouse", status="rejected", vector=None, item_id=UUID(int=number))
    good = picture(db, "alice", "Lighthouse", vector=None, item_id=UUID(int=2**100))
    assert found(alice, "lighthouse") == [good]


def test_nobody_finds_what_belongs_to_another(alice: Caller, db: Database) -> None:
    bob = Caller("bob", alice.client_id)
    shared_id = UUID(int=7)
    picture(db, "alice", "Golden sunset", item_id=shared_id, filename="alices.jpg")
    picture(db, "bob", "Golden sunset", item_id=shared_id, filename="bobs.jpg")
    hers, his = (caller.get("/search", q="golden sunset").body["hits"] for caller in (alice, bob))
    assert [hit["filename"] for hit in hers] == ["alices.jpg"]
    assert [hit["filename"] for hit in his] == ["bobs.jpg"]
    assert "/alice/" in hers[0]["thumbnail_url"]
    assert found(Caller("carol", alice.client_id), "golden sunset") == []


def test_the_same_pictures_come_in_the_same_order_always(alice: Caller, db: Database) -> None:
    same = sorted(picture(db, "alice", "Lighthouse") for _ in range(9))
    for _ in range(3):
        assert found(alice, "lighthouse") == same


def test_an_answer_is_as_long_as_wished(alice: Caller, db: Database) -> None:
    for _ in range(30):
        picture(db, "alice", "Lighthouse", vector=None)
    assert len(found(alice, "lighthouse")) == 20
    assert len(found(alice, "lighthouse", limit=7)) == 7
    assert len(found(alice, "lighthouse", limit=100)) == 30


def test_a_question_out_of_bounds_is_a_problem(alice: Caller) -> None:
    for query in ({"q": ""}, {"q": "x" * 1001}, {"q": "x", "limit": 0}, {"q": "x", "limit": 101}, {}):
        assert alice.get("/search", **query).status == 422, query


def test_what_both_halves_find_comes_first(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    voyage.answer = lambda request: voyage_server.vectors(request, [towards(1)], tokens=3)
    model = embeddings.VOYAGE.name
    both = picture(db, "alice", "Lighthouse", vector=towards(0.7), model=model)
    meaning_only = picture(db, "alice", "Beacon", vector=towards(0.95), model=model)
    words_only = picture(db, "alice", "Lighthouse at night", vector=None)
    hardly = picture(db, "alice", "Coast", summary="With a lighthouse", vector=towards(0.1), model=model)
    picture(db, "alice", "Ramen", vector=towards(0.1), model=model)
    hits = alice_on_voyage.get("/search", q="lighthouse").body["hits"]
    assert [hit["item_id"] for hit in hits] == [both, meaning_only, words_only, hardly]
    similarities = [hit["similarity"] for hit in hits]
    assert similarities[2] is None
    assert similarities[:2] + similarities[3:] == pytest.approx([0.7, 0.95, 0.1], abs=1e-3)
    nearness = [hit["vector_score"] for hit in hits]
    assert nearness[2] is None
    assert nearness[:2] + nearness[3:] == pytest.approx([0.45 / 0.75, 0.7 / 0.75, 0], abs=2e-3)
    assert hits[1]["text_score"] == 0
    assert hits[0]["score"] > hits[0]["text_score"] > hits[2]["text_score"] > hits[3]["text_score"] > 0
    for hit in hits:
        assert hit["score"] == pytest.approx(1 - (1 - hit["text_score"]) * (1 - (hit["vector_score"] or 0)))


@pytest.fixture
def alice_on_voyage(voyage: VoyageServer, function_env: Any) -> Caller:
    return Caller("alice", os.environ["USER_POOL_CLIENT_ID"])


def test_what_is_found_by_words_alone_shows_its_similarity_too(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    voyage.answer = lambda request: voyage_server.vectors(request, [towards(1)])
    picture(db, "alice", "Lighthouse", vector=towards(0.1), model=embeddings.VOYAGE.name)
    (hit,) = alice_on_voyage.get("/search", q="lighthouse").body["hits"]
    assert hit["vector_score"] == 0
    assert hit["similarity"] == pytest.approx(0.1, abs=1e-3)


def test_vectors_of_another_model_are_not_compared(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    voyage.answer = lambda request: voyage_server.vectors(request, [towards(1)])
    picture(db, "alice", "Beacon", vector=towards(1), model=embeddings.OFFLINE.name)
    assert found(alice_on_voyage, "lighthouse") == []


def test_a_question_is_embedded_as_one_once_and_charged(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    voyage.answer = lambda request: voyage_server.vectors(request, tokens=6)
    assert found(alice_on_voyage, "where is my boat") == []
    assert found(alice_on_voyage, " where is my boat ", limit=5) == []
    (request,) = voyage.requests
    assert request["input"] == ["where is my boat"]
    assert request["input_type"] == "query"
    assert (request["model"], request["output_dimension"]) == ("voyage-3.5-lite", 1024)
    assert voyage.keys == [f"Bearer {KEY}"]
    (spent,) = db.execute("SELECT * FROM usage_ledger").fetchall()
    assert (spent["user_id"], spent["stage"], spent["input_tokens"]) == ("alice", "api", 6)
    assert float(spent["cost_usd"]) == pytest.approx(6 * 0.02 / 1e6)
    found(Caller("bob", alice_on_voyage.client_id), "where is my boat")
    assert len(voyage.requests) == 2, "what one asks never speeds up another's answer"


BAD_ANSWERS = [
    voyage_server.THROTTLED,
    voyage_server.BROKEN,
    voyage_server.OVERLOADED,
    voyage_server.UNAUTHORIZED,
    voyage_server.NOT_JSON,
    voyage_server.CUT_SHORT,
    voyage_server.ANOTHER_SHAPE,
    voyage_server.TOO_DEEP,
    Answer(302, b"", "text/html"),
    Answer(200, {"data": [{"embedding": "no base64!"}]}),
    Answer(200, {"data": [{"embedding": "AAAA"}]}),
    Answer(200, {"data": [{"embedding": [1.0] * 1024}]}),
    Answer(200, {"data": [{"embedding": voyage_server.encoded([0.0] * 1024)}]}),
    Answer(200, {"data": [{"embedding": voyage_server.encoded([math.nan] * 1024)}]}),
    Answer(200, {"data": [{"embedding": voyage_server.encoded([1.0] * 512)}]}),
    Answer(200, {"data": [{"embedding": voyage_server.encoded([1.0] * 1024)}]}),
]


def test_without_meaning_words_answer_and_a_note_says_so(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    cat = picture(db, "alice", "Tabby cat", vector=None)
    for number, bad in enumerate(BAD_ANSWERS):
        asked = f"cat {number}"
        voyage.will_answer(bad)
        first = alice_on_voyage.get("/search", q=asked)
        assert first.status == 200, bad
        assert first.body["mode"] == "text", bad
        assert first.body["notes"] == ["meaning search is unavailable, words only"]
        assert [(hit["item_id"], hit["similarity"]) for hit in first.body["hits"]] == [(cat, None)]
        again = alice_on_voyage.get("/search", q=asked)
        assert again.body["mode"] == "hybrid", "a failure is not remembered"


def test_no_vector_is_bought_once_the_month_s_money_is_used_up(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    picture(db, "alice", "Tabby cat", vector=None)
    limits = {"items": 10, "storage_bytes": 10, "model_usd_per_month": 0.000_002, "scans": 1}
    db.execute(
        "INSERT INTO user_profiles (user_id, subscription_tier, usage_limits) VALUES ('alice', 'free', %s)",
        (Jsonb(limits),),
    )
    voyage.answer = lambda request: voyage_server.vectors(request, tokens=60)
    assert alice_on_voyage.get("/search", q="cat number one").body["mode"] == "hybrid"
    voyage.will_answer(voyage_server.BROKEN)
    assert alice_on_voyage.get("/search", q="cat number two").body["mode"] == "text"
    assert db.execute("SELECT FROM quota_reservations").fetchall() == [], (
        "bought or not, nothing stays set aside"
    )
    assert len(voyage.requests) == 2
    told = alice_on_voyage.get("/search", q="tabby cat, tabby cat, tabby cat, tabby cat")
    assert (told.status, told.body["mode"], len(told.body["hits"])) == (200, "text", 1)
    assert len(voyage.requests) == 2


def test_words_answer_even_where_what_was_set_aside_cannot_be_given_back(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise TransientError("the database gave up")

    picture(db, "alice", "Tabby cat", vector=None)
    voyage.will_answer(voyage_server.BROKEN)
    monkeypatch.setattr(quotas, "free", away)
    told = alice_on_voyage.get("/search", q="cat")
    assert (told.status, told.body["mode"], len(told.body["hits"])) == (200, "text", 1)
    assert len(db.execute("SELECT FROM quota_reservations").fetchall()) == 1, "it is left to expire"


def test_a_page_is_searched_as_the_one_before_or_not_at_all(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    for number in range(3):
        picture(db, "alice", "Tabby cat", vector=towards(0.5 + number / 10), model=embeddings.VOYAGE.name)
    asked = {"q": "cat", "limit": 1}
    with_meaning = alice_on_voyage.get("/search", **asked).body["next_cursor"]
    question.bought_vector.cache_clear()
    voyage.will_answer(voyage_server.BROKEN)
    answer = alice_on_voyage.get("/search", **asked, cursor=with_meaning)
    assert (answer.status, answer.body["type"]) == (503, "urn:problem-type:magpie:unavailable")
    assert alice_on_voyage.get("/search", **asked, cursor=with_meaning).body["mode"] == "hybrid"
    question.bought_vector.cache_clear()
    voyage.will_answer(voyage_server.BROKEN)
    words_only = alice_on_voyage.get("/search", **asked).body
    assert words_only["mode"] == "text"
    second = alice_on_voyage.get("/search", **asked, cursor=words_only["next_cursor"]).body
    assert (second["mode"], second["hits"][0]["similarity"]) == ("text", None)


def test_meaning_alone_cannot_be_searched_for_without_it(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database
) -> None:
    picture(db, "alice", "Tabby cat", vector=towards(1), model=embeddings.VOYAGE.name)
    voyage.will_answer(voyage_server.BROKEN)
    body = alice_on_voyage.get("/search", q="cat", mode="vector").body
    assert (body["mode"], body["hits"]) == ("vector", [])
    assert body["notes"] == ["meaning search is unavailable"]
    voyage.requests.clear()
    assert len(alice_on_voyage.get("/search", q="cat", mode="text").body["hits"]) == 1
    assert voyage.requests == [], "a vector that is not needed is not bought"


def test_a_slow_model_is_not_waited_for(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence = threading.Event()

    def silent(request: Request) -> Answer:
        silence.wait(10)
        return voyage_server.vectors(request)

    voyage.answer = silent
    monkeypatch.setattr(question, "TIMEOUT_SECONDS", 0.2)
    question._pool.cache_clear()
    try:
        assert alice_on_voyage.get("/search", q="cat").body["mode"] == "text"
    finally:
        silence.set()
        question._pool.cache_clear()


def test_a_missing_key_leaves_words(function_env: Callable[..., dict[str, str]], db: Database) -> None:
    environment = function_env("Api", EMBEDDER="voyage")
    cat = picture(db, "alice", "Tabby cat")
    answer = Caller("alice", environment["USER_POOL_CLIENT_ID"]).get("/search", q="cat")
    assert answer.body["mode"] == "text"
    assert [hit["item_id"] for hit in answer.body["hits"]] == [cat]


def test_neither_question_nor_key_nor_url_is_logged(
    voyage: VoyageServer, alice_on_voyage: Caller, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    picture(db, "alice", "Tabby cat")
    voyage.will_answer(voyage_server.BROKEN)
    assert alice_on_voyage.get("/search", q="cat embarrassing").status == 200
    logged = caplog.text + str([vars(record) for record in caplog.records if record.name != "botocore"])
    assert "question without a vector" in logged
    for secret in ("embarrassing", KEY, "X-Amz-Signature"):
        assert secret not in logged


def test_the_covering_index_and_the_word_index_serve_the_search(alice: Caller, db: Database) -> None:
    """At 20 % of all rows, where the planner's defaults would read the table."""
    db.execute(
        """
        INSERT INTO items (user_id, item_id, filename, object_key, status, analysis_version)
        SELECT CASE WHEN number % 5 = 0 THEN 'alice' ELSE 'user ' || number % 40 END, gen_random_uuid(),
               'a.jpg', '', 'ready', 1
          FROM generate_series(1, 6000) AS number
        """
    )
    db.execute(
        """
        INSERT INTO embeddings (user_id, item_id, model, dimensions, embedding, analysis_version, source_hash)
        SELECT user_id, item_id, %s, 1024, %s::halfvec, 1, '' FROM items
        """,
        (embeddings.OFFLINE.name, embeddings.halfvec(towards(0.5))),
    )
    db.execute(
        """
        INSERT INTO search_documents (user_id, item_id, document)
        SELECT user_id, item_id, to_tsvector('english', 'common word' || (random() * 3000)::int) FROM items
        """
    )
    db.execute("VACUUM ANALYZE items")
    db.execute("VACUUM ANALYZE embeddings")
    db.execute("VACUUM ANALYZE search_documents")
    terms = (question.Term("word77", ("word77",)),)
    vector = embeddings.halfvec(towards(1))
    asked = question.Question("word77", "hybrid", terms, embeddings.OFFLINE, vector)
    for filters in (Filters(), Filters(category="photo"), Filters(duplicate=True)):
        wanted = search.Search(asked, filters, 20)
        rows = db.execute(
            "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + search.statement(wanted),
            search.parameters("alice", wanted),
        )
        plan = "\n".join(str(row["QUERY PLAN"]) for row in rows.fetchall())
        assert "Index Only Scan using embeddings_exact on embeddings" in plan
        assert "Bitmap Index Scan on search_documents_keys" in plan
        assert "BitmapAnd" not in plan, "the keys alone say whose documents they are"
        for table in ("items", "analyses", "corrections", "embeddings", "search_documents"):
            assert f"Seq Scan on {table}" not in plan


def test_a_search_reads_no_more_where_others_have_much(alice: Caller, db: Database) -> None:
    """Buffers, which are the same on every machine: of what alice has, whatever the others hold."""
    for number in range(40):
        picture(db, "alice", f"Lighthouse number{number}", vector=towards(0.5))
    vector = embeddings.halfvec(towards(1))
    terms = (question.Term("lighthous", ("lighthouse",)),)
    wanted = search.Search(
        question.Question("lighthouse", "hybrid", terms, embeddings.OFFLINE, vector), Filters(), 20
    )

    def buffers() -> int:
        for table in ("items", "analyses", "embeddings", "search_documents"):
            db.execute(f"VACUUM ANALYZE {table}")
        row = db.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + search.statement(wanted),
            search.parameters("alice", wanted),
        ).fetchone()
        assert row is not None
        plan = row["QUERY PLAN"][0]["Plan"]
        assert plan["Actual Rows"] == 21
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    alone = buffers()
    db.execute(
        """
        INSERT INTO items (user_id, item_id, filename, object_key, status, analysis_version)
        SELECT 'user ' || number % 40, gen_random_uuid(), 'a.jpg', '', 'ready', 1
          FROM generate_series(1, 4000) AS number
        """
    )
    db.execute(
        """
        INSERT INTO embeddings (user_id, item_id, model, dimensions, embedding, analysis_version, source_hash)
        SELECT user_id, item_id, %s, 1024, %s::halfvec, 1, '' FROM items WHERE user_id <> 'alice'
        """,
        (embeddings.OFFLINE.name, embeddings.halfvec(towards(0.5))),
    )
    db.execute(
        """
        INSERT INTO search_documents (user_id, item_id, document)
        SELECT user_id, item_id, to_tsvector('english', 'lighthouse') FROM items WHERE user_id <> 'alice'
        """
    )
    # An index that has grown a level higher is one page more for each look-up.
    assert buffers() < alone + 150
