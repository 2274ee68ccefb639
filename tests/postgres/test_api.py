"""The API as API Gateway calls it, on a real database and the template's buckets and table."""

import base64
import json
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID, uuid4

import boto3
import psycopg
import pytest
import requests

from functions.api import collection, creation, retry, upload
from functions.api.problems import Problem
from functions.api.routes import system
from shared import clients, database
from shared.errors import TransientError
from tests.conftest import ROOT, Aws, LambdaContext
from tests.fakes import http_api
from tests.fakes.http_api import Caller, assert_problem
from tests.fakes.pictures import picture

Database = psycopg.Connection[dict[str, Any]]


def count(db: Database, user_id: str) -> int:
    row = db.execute("SELECT count(*) AS items FROM items WHERE user_id = %s", (user_id,)).fetchone()
    assert row is not None
    return int(row["items"])


# POST /items


def test_a_new_item_is_pending_and_has_a_form_for_exactly_its_key(
    alice: Caller, environment: dict[str, str], aws: Aws, db: Database
) -> None:
    before = datetime.now(UTC)
    answer = alice.post("/items", {"filename": "Urlaub/IMG 1.JPG", "size": 1234})
    assert answer.status == 201
    item_id = answer.body["item_id"]
    assert answer.body == {"item_id": str(UUID(item_id)), "status": "pending", "upload": ANY}
    (row,) = db.execute("SELECT * FROM items").fetchall()
    assert (row["user_id"], str(row["item_id"]), row["status"]) == ("alice", item_id, "pending")
    assert row["filename"] == "IMG 1.JPG"
    assert row["object_key"] == f"alice/{item_id}/original"
    assert row["correlation_id"] == "JKJaXmPLvHcESHA="
    (line,) = db.execute("SELECT stage, event FROM item_events").fetchall()
    assert (line["stage"], line["event"]) == ("api", "pending")
    upload = answer.body["upload"]
    expires = datetime.fromisoformat(upload["expires_at"])
    assert timedelta(minutes=14) < expires - before < timedelta(minutes=16)
    policy = json.loads(base64.b64decode(upload["fields"]["policy"]))
    assert ["content-length-range", 1, 268435456] in policy["conditions"]
    assert {"key": f"alice/{item_id}/original"} in policy["conditions"]
    assert {"Content-Type": "image/jpeg"} in policy["conditions"]
    assert {"bucket": environment["UPLOADS_BUCKET"]} in policy["conditions"]
    assert not any("starts-with" in condition for condition in policy["conditions"])
    assert datetime.fromisoformat(policy["expiration"]) - before < timedelta(minutes=16)
    posted = requests.post(
        upload["url"], data=upload["fields"], files={"file": ("a.jpg", b"bytes")}, timeout=5
    )
    assert posted.ok, posted.text
    stored = aws.s3.get_object(Bucket=environment["UPLOADS_BUCKET"], Key=f"alice/{item_id}/original")
    assert stored["Body"].read() == b"bytes"


def test_the_form_names_the_bucket_s_own_region(
    function_env: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A global address would answer a browser's upload with a redirect, which CORS forbids."""
    environment = function_env("Api", EMBEDDER="offline")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    clients.s3.cache_clear()
    form = upload.form(environment["UPLOADS_BUCKET"], "key", "image/png", 10)
    assert form.url == f"https://{environment['UPLOADS_BUCKET']}.s3.eu-west-1.amazonaws.com/"
    assert form.fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


def test_a_file_that_is_too_large_is_refused_at_once(alice: Caller, db: Database) -> None:
    assert alice.post("/items", {"filename": "a.jpg", "size": 268435456}).status == 201
    assert_problem(alice.post("/items", {"filename": "a.jpg", "size": 268435457}), 413, "too-large")
    assert count(db, "alice") == 1


def test_hostile_bodies_are_problems_and_make_nothing(alice: Caller, db: Database) -> None:
    json_type = {"content-type": "application/json"}
    cases: list[tuple[Any, dict[str, str], int, str]] = [
        ("", json_type, 400, "malformed-request"),
        ("{", json_type, 400, "malformed-request"),
        ("[" * 200_000, json_type, 400, "malformed-request"),
        ('{"filename": "' + "a" * 5000 + '"}', json_type, 422, "invalid-input"),
        (b"\xff\xfe{}", json_type, 400, "malformed-request"),
        (b"\xff\xd8\xff", {"content-type": "image/jpeg"}, 415, "unsupported-media-type"),
        ("filename=a", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
        ("--", {"content-type": "multipart/form-data"}, 415, "unsupported-media-type"),
        (None, {}, 400, "malformed-request"),
        ("null", json_type, 422, "invalid-input"),
        ("[]", json_type, 422, "invalid-input"),
        ("{}", json_type, 422, "invalid-input"),
        ('{"filename": ""}', json_type, 422, "invalid-input"),
        ('{"filename": null}', json_type, 422, "invalid-input"),
        ('{"filename": ["a.jpg"]}', json_type, 422, "invalid-input"),
        ('{"filename": "a.jpg", "size": 0}', json_type, 422, "invalid-input"),
        ('{"filename": "a.jpg", "size": NaN}', json_type, 422, "invalid-input"),
        ('{"filename": "a.jpg", "size": 1e400}', json_type, 422, "invalid-input"),
        ('{"filename": "a.jpg", "content_type": "text/html"}', json_type, 422, "invalid-input"),
        ('{"filename": "a.jpg", "content_type": "image/svg+xml"}', json_type, 422, "invalid-input"),
    ]
    for body, headers, status, kind in cases:
        answer = alice("POST", "/items", body=body, headers=headers)
        assert_problem(answer, status, kind)
    assert count(db, "alice") == 0


def test_errors_name_their_fields_and_repeat_nothing(alice: Caller) -> None:
    answer = alice.post("/items", {"filename": "a.jpg", "size": -1, "content_type": "<script>"})
    assert_problem(answer, 422, "invalid-input")
    assert [error["field"] for error in answer.body["errors"]] == ["body.content_type", "body.size"]
    assert "<script>" not in json.dumps(answer.body)
    assert "pydantic" not in json.dumps(answer.body)


def test_any_name_is_stored_as_something_that_can_be_shown(alice: Caller, db: Database) -> None:
    for name in ("a\x00b.jpg", "\ud800.jpg", "../../etc/passwd", "\u202egpj.exe", "\n", "x" * 4096):
        assert alice.post("/items", {"filename": name}).status == 201, name
    names = {row["filename"] for row in db.execute("SELECT filename FROM items").fetchall()}
    assert names == {"ab.jpg", "?.jpg", "passwd", "gpj.exe", "untitled", "x" * 255}


# Idempotency-Key


def test_a_request_sent_again_gets_the_same_item_and_a_fresh_form(
    alice: Caller, aws: Aws, environment: dict[str, str], db: Database
) -> None:
    body = {"filename": "a.jpg"}
    first = alice.post("/items", body, idempotency_key="key-1")
    again = alice.post("/items", body, idempotency_key="key-1")
    assert first.status == again.status == 201
    assert first.body["item_id"] == again.body["item_id"]
    assert again.body["upload"]["fields"]["key"] == first.body["upload"]["fields"]["key"]
    assert count(db, "alice") == 1
    (remembered,) = boto3.client("dynamodb").scan(TableName=environment["IDEMPOTENCY_TABLE"])["Items"]
    assert "policy" not in json.dumps(remembered), "a form is a secret, and stored nowhere"
    kept = datetime.fromtimestamp(int(remembered["expiration"]["N"]), UTC) - datetime.now(UTC)
    assert timedelta(hours=23) < kept <= timedelta(hours=24)


def test_a_key_is_its_user_s_own(alice: Caller, bob: Caller, db: Database) -> None:
    hers, his = (caller.post("/items", {"filename": "a.jpg"}, idempotency_key="k") for caller in (alice, bob))
    assert hers.status == his.status == 201
    assert hers.body["item_id"] != his.body["item_id"]
    assert (count(db, "alice"), count(db, "bob")) == (1, 1)


def test_a_key_cannot_be_used_for_another_request(alice: Caller, db: Database) -> None:
    alice.post("/items", {"filename": "a.jpg"}, idempotency_key="k")
    answer = alice.post("/items", {"filename": "b.jpg"}, idempotency_key="k")
    assert_problem(answer, 422, "idempotency-key-reused")
    assert count(db, "alice") == 1


def test_a_second_request_while_the_first_is_answered_is_told_to_wait(environment: dict[str, str]) -> None:
    asked: dict[str, Any] = {
        "operation": "create_item",
        "table": environment["IDEMPOTENCY_TABLE"],
        "user_id": "alice",
        "key": "k",
        "request": {"filename": "a.jpg"},
        "context": LambdaContext(),
    }
    meanwhile: list[Problem] = []

    def run() -> dict[str, Any]:
        with pytest.raises(Problem) as caught:
            retry.once(lambda: {"item_id": "the second"}, **asked)
        meanwhile.append(caught.value)
        return {"item_id": "the first"}

    assert retry.once(run, **asked) == {"item_id": "the first"}
    assert (meanwhile[0].status, meanwhile[0].kind) == (409, "request-in-progress")
    assert "Retry-After" in meanwhile[0].headers
    assert retry.once(run, **asked) == {"item_id": "the first"}


def test_a_request_whose_answer_was_lost_finds_its_item(
    alice: Caller, environment: dict[str, str], db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB is the cheap net; the id that is derived from the request is the one that holds."""
    dynamodb = boto3.client("dynamodb")
    table = environment["IDEMPOTENCY_TABLE"]
    create = creation.create

    def create_and_lose_the_table(*given: Any) -> list[UUID]:
        made = create(*given)
        dynamodb.delete_table(TableName=table)
        return made

    with monkeypatch.context() as losing:
        losing.setattr(creation, "create", create_and_lose_the_table)
        assert_problem(alice.post("/items", {"filename": "a.jpg"}, idempotency_key="k"), 503, "unavailable")
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    again = alice.post("/items", {"filename": "a.jpg"}, idempotency_key="k")
    assert again.status == 201
    assert count(db, "alice") == 1
    (row,) = db.execute("SELECT item_id FROM items").fetchall()
    assert str(row["item_id"]) == again.body["item_id"]


def test_a_key_that_is_used_again_after_a_day_makes_a_new_item(
    alice: Caller, environment: dict[str, str], db: Database
) -> None:
    first = alice.post("/items", {"filename": "a.jpg"}, idempotency_key="k")
    db.execute("UPDATE items SET created_at = now() - interval '25 hours'")
    dynamodb = boto3.client("dynamodb")
    (remembered,) = dynamodb.scan(TableName=environment["IDEMPOTENCY_TABLE"])["Items"]
    dynamodb.delete_item(TableName=environment["IDEMPOTENCY_TABLE"], Key={"id": remembered["id"]})
    second = alice.post("/items", {"filename": "a.jpg"}, idempotency_key="k")
    assert second.status == 201
    assert second.body["item_id"] != first.body["item_id"]
    assert count(db, "alice") == 2


def test_a_key_out_of_bounds_is_a_problem(alice: Caller, db: Database) -> None:
    for key in ("", "x" * 256, "two words", "umläut", "line\nbreak"):
        answer = alice.post("/items", {"filename": "a.jpg"}, idempotency_key=key)
        assert_problem(answer, 400, "invalid-idempotency-key")
    assert count(db, "alice") == 0


def test_without_a_key_every_request_is_a_new_one(alice: Caller, db: Database) -> None:
    for _ in range(2):
        alice.post("/items", {"filename": "a.jpg"})
    assert count(db, "alice") == 2


# GET /items


def test_a_list_is_paged_newest_first_without_gap_or_repeat(alice: Caller, db: Database) -> None:
    moment = datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC)
    ids = [
        # Three at a time have the very same moment.
        picture(db, "alice", vector=None, created_at=moment + timedelta(microseconds=number // 3))
        for number in range(10)
    ]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    pages = 0
    while True:
        answer = alice.get("/items", limit=3, **cursor)
        assert answer.status == 200
        seen += [item["item_id"] for item in answer.body["items"]]
        pages += 1
        if answer.body["next_cursor"] is None:
            break
        cursor = {"cursor": answer.body["next_cursor"]}
    assert pages == 4
    assert len(seen) == 10
    assert set(seen) == set(ids)
    newest = db.execute("SELECT item_id FROM items ORDER BY created_at DESC, item_id DESC").fetchall()
    assert seen == [str(row["item_id"]) for row in newest]
    assert len(alice.get("/items").body["items"]) == 10


def test_a_list_can_be_of_one_status(alice: Caller, db: Database) -> None:
    ready = picture(db, "alice", vector=None)
    rejected = picture(
        db,
        "alice",
        vector=None,
        status="rejected",
        error_code="not_an_image",
        error_message="This is no picture.",
        analysis_version=None,
        image_width=None,
        thumbnail_width=None,
    )
    assert [item["item_id"] for item in alice.get("/items", status="ready").body["items"]] == [ready]
    (item,) = alice.get("/items", status="rejected").body["items"]
    assert item["item_id"] == rejected
    assert item["error"] == {"code": "not_an_image", "message": "This is no picture."}
    assert (item["image"], item["thumbnail"], item["category"]) == (None, None, None)


def test_an_item_of_a_list_says_what_is_known_of_it(alice: Caller, db: Database) -> None:
    item_id = picture(
        db,
        "alice",
        "Tabby cat",
        category="animal",
        vector=None,
        format="JPEG",
        width=4032,
        height=3024,
        file_size=2_483_112,
        sha256="ab" * 32,
        perceptual_hash=-2,
        dominant_colours=psycopg.types.json.Jsonb([{"hex": "#aabbcc", "share": 0.42}]),
        captured_at=datetime(2026, 5, 1, 12, 30),  # noqa: DTZ001 - a camera rarely knows its zone
        camera="Pixel 9",
        duplicate_of=UUID(int=3),
    )
    (item,) = alice.get("/items").body["items"]
    assert item == {
        "item_id": item_id,
        "filename": "IMG_0001.jpg",
        "kind": "image",
        "status": "ready",
        "error": None,
        "created_at": ANY,
        "updated_at": ANY,
        "format": "JPEG",
        "width": 4032,
        "height": 3024,
        "file_size": 2483112,
        "sha256": "ab" * 32,
        "perceptual_hash": "fffffffffffffffe",
        "dominant_colours": [{"hex": "#aabbcc", "share": 0.42}],
        "captured_at": "2026-05-01T12:30:00",
        "camera": "Pixel 9",
        "location": None,
        "duplicate_of": str(UUID(int=3)),
        "image": {"width": 2048, "height": 1365},
        "thumbnail": {"width": 512, "height": 341, "url": ANY},
        "category": "animal",
        "headline": "Tabby cat",
        "summary": "",
        "tags": [],
        "corrections": None,
        "provider": "offline",
        "model": "offline-1",
    }
    assert datetime.fromisoformat(item["created_at"]).tzinfo is not None


def test_a_cursor_that_is_not_ours_is_a_problem(alice: Caller, db: Database) -> None:
    def encoded(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    moment, item_id = "2026-11-20T09:00:00+00:00", str(uuid4())
    for cursor in (
        "",
        "garbage",
        "!!!!",
        "é",
        "x" * 5000,
        encoded(None),
        encoded([]),
        encoded({}),
        encoded([moment]),
        encoded([moment, "no id"]),
        encoded(["no time", item_id]),
        encoded(["2026-11-20T09:00:00", item_id]),
        encoded([1, 2]),
        encoded([moment, item_id, "more"]),
        base64.urlsafe_b64encode(b"[" * 120).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ):
        assert_problem(alice.get("/items", cursor=cursor), 400, "invalid-cursor")


def test_a_question_out_of_bounds_is_a_problem(alice: Caller) -> None:
    for query in ({"limit": 0}, {"limit": 101}, {"limit": "ten"}, {"limit": ""}, {"status": "gone"}):
        assert_problem(alice.get("/items", **query), 422, "invalid-input")
    assert_problem(alice("GET", "/items", "limit=1&limit=2"), 422, "invalid-input")


# GET /items/{id}


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_one_item_comes_with_its_analysis_its_timeline_and_its_views(
    alice: Caller, environment: dict[str, str], aws: Aws, db: Database
) -> None:
    item_id = picture(db, "alice", "Tabby cat", category="animal", summary="It looks.", vector=None)
    for stage, event in (("image_processor", "processed"), ("analyzer", "analyzed"), ("embedder", "ready")):
        db.execute(
            "INSERT INTO item_events (user_id, item_id, stage, event, duration_ms, detail)"
            " VALUES ('alice', %s, %s, %s, 12.5, '{\"a\": 1}')",
            (item_id, stage, event),
        )
    answer = alice.get(f"/items/{item_id}")
    assert answer.status == 200
    body = answer.body
    assert body["analysis"] == {
        "category": "animal",
        "headline": "Tabby cat",
        "summary": "It looks.",
        "subcategories": [],
        "media_metadata": {},
        "image_details": {},
        "version": 1,
        "provider": "offline",
        "model": "offline-1",
        "created_at": ANY,
    }
    assert [line["event"] for line in body["timeline"]] == ["processed", "analyzed", "ready"]
    assert body["timeline"][0] == {
        "stage": "image_processor",
        "event": "processed",
        "occurred_at": ANY,
        "duration_ms": 12.5,
        "detail": {"a": 1},
    }
    for name, bucket, key in (
        ("image", "MEDIA_BUCKET", f"/alice/images/{item_id}.jpg"),
        ("thumbnail", "MEDIA_BUCKET", f"/alice/thumbnails/{item_id}.webp"),
        ("original", "UPLOADS_BUCKET", f"/alice/{item_id}/original"),
    ):
        url = urlsplit(body["views"][name])
        assert url.netloc.startswith(environment[bucket] + ".")
        assert unquote(url.path) == key
        assert query_of(body["views"][name])["X-Amz-Expires"] == "3600"
    original = query_of(body["views"]["original"])
    assert original["response-content-disposition"].startswith("attachment; ")
    assert original["response-content-type"] == "application/octet-stream"
    assert original["versionId"] == "v1"
    assert "response-content-disposition" not in query_of(body["views"]["image"])


def test_a_pending_item_has_no_views_and_a_rejected_one_its_original_only(
    alice: Caller, db: Database
) -> None:
    pending = alice.post("/items", {"filename": "a.jpg"}).body["item_id"]
    body = alice.get(f"/items/{pending}").body
    assert body["views"] == {"image": None, "thumbnail": None, "original": None}
    assert (body["analysis"], body["status"]) == (None, "pending")
    assert [line["event"] for line in body["timeline"]] == ["pending"]
    rejected = picture(
        db,
        "alice",
        vector=None,
        status="rejected",
        analysis_version=None,
        image_width=None,
        thumbnail_width=None,
    )
    views = alice.get(f"/items/{rejected}").body["views"]
    assert (views["image"], views["thumbnail"]) == (None, None)
    assert views["original"] is not None


def test_what_is_not_there_and_what_is_another_s_look_the_same(
    alice: Caller, bob: Caller, db: Database
) -> None:
    hers = picture(db, "alice", vector=None)
    assert alice.get(f"/items/{hers}").status == 200
    answers = [
        bob.get(f"/items/{hers}"),
        bob.get(f"/items/{uuid4()}"),
        bob.get("/items/not-an-id"),
        bob.get("/items/%00"),
        bob.get(f"/items/{hers}'--"),
    ]
    for answer in answers:
        assert_problem(answer, 404, "item-not-found")
        assert answer.body == answers[0].body


def test_two_users_with_the_same_file_see_only_their_own_on_every_route(
    alice: Caller, bob: Caller, db: Database
) -> None:
    same: dict[str, Any] = {"sha256": "ab" * 32, "item_id": UUID(int=9)}
    for caller in (alice, bob):
        picture(db, caller.user_id, "Golden sunset", filename=f"of {caller.user_id}.jpg", **same)
    picture(db, "alice", "Golden sunset", filename="of alice.jpg")
    for caller, other, expected in ((alice, bob, 2), (bob, alice, 1)):
        listed = caller.get("/items").body["items"]
        hits = caller.get("/search", q="golden sunset").body["hits"]
        one = caller.get(f"/items/{UUID(int=9)}").body
        assert len(listed) == len(hits) == expected
        assert {item["filename"] for item in [*listed, *hits, one]} == {f"of {caller.user_id}.jpg"}
        assert f"/{other.user_id}/" not in json.dumps([listed, hits, one])
        cursor = alice.get("/items", limit=1).body["next_cursor"]
        continued = caller.get("/items", cursor=cursor).body["items"]
        assert {item["filename"] for item in continued} <= {f"of {caller.user_id}.jpg"}


# Who is asking


def test_only_an_access_token_of_our_own_client_is_taken(alice: Caller, db: Database) -> None:
    routes = [("GET", "/items"), ("POST", "/items"), ("GET", f"/items/{uuid4()}"), ("GET", "/search")]
    for claims in (
        {"token_use": "id"},
        {"token_use": None},
        {"client_id": "another"},
        {"client_id": None, "aud": alice.client_id},
        {"sub": None},
        {"sub": ""},
        {"sub": "a/b"},
        {"sub": "x" * 129},
    ):
        for method, path in routes:
            body = {"filename": "a.jpg"} if method == "POST" else None
            query = {"q": "cat"} if path == "/search" else None
            answer = alice(method, path, query, body=body, claims=claims)
            assert_problem(answer, 401, "not-signed-in")
            assert answer.headers["www-authenticate"].startswith("Bearer")
    event = alice.event("GET", "/items")
    del event["requestContext"]["authorizer"]
    assert_problem(http_api.invoke(event), 401, "not-signed-in")
    assert count(db, "alice") == 0


def test_health_and_version_need_no_token(environment: dict[str, str]) -> None:
    health = http_api.invoke(http_api.sample("health"))
    assert (health.status, health.body) == (200, {"status": "ok", "checks": {"database": "ok"}})
    version = http_api.invoke(http_api.sample("version"))
    assert version.body["sign_in"] == {
        "region": "us-east-1",
        "user_pool_id": environment["USER_POOL_ID"],
        "client_id": environment["USER_POOL_CLIENT_ID"],
        "hosted_ui": "https://magpie-dev-123456789012.auth.us-east-1.amazoncognito.com",
    }


def test_where_no_page_may_sign_in_none_is_told_where(function_env: Callable[..., dict[str, str]]) -> None:
    function_env("Api", EMBEDDER="offline", HOSTED_UI_URL="")
    assert http_api.invoke(http_api.sample("version")).body["sign_in"]["hosted_ui"] is None


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == system.VERSION


# What goes wrong


def test_unknown_routes_and_methods_are_problems(alice: Caller) -> None:
    for path in ("/nothing", "/items/a/b", "/ITEMS", "//items", "/items/"):
        assert_problem(alice.get(path), 404, "not-found")
    for method, path, allowed in (
        ("DELETE", "/items", "GET, HEAD, POST"),
        ("PUT", "/search", "GET, HEAD, POST"),
        ("PUT", f"/items/{uuid4()}", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/health", "GET, HEAD"),
        ("GET", "/vector-index/rebuild", "POST"),
        ("HEAD", "/vector-index/rebuild", "POST"),
    ):
        answer = alice(method, path)
        if method != "HEAD":
            assert_problem(answer, 405, "method-not-allowed")
        assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_a_bug_is_told_without_its_inside_and_written_down(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("SELECT secret FROM inside")

    monkeypatch.setattr(collection, "page", broken)
    answer = alice.get("/items")
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in json.dumps(answer.body)
    assert "KeyError" not in json.dumps(answer.body)
    assert "request failed" in caplog.text
    assert "SELECT secret FROM inside" in caplog.text


def test_an_answer_that_breaks_its_own_model_is_our_fault_and_leaks_nothing(
    alice: Caller, db: Database
) -> None:
    picture(db, "alice", vector=None, dominant_colours=psycopg.types.json.Jsonb("secret colours"))
    answer = alice.get("/items")
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in json.dumps(answer.body)


def test_what_passes_says_when_to_come_back(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise TransientError("the database gave up: password=secret")

    monkeypatch.setattr(collection, "page", busy)
    answer = alice.get("/items")
    assert_problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret" not in json.dumps(answer.body)


def test_a_lost_database_is_unavailable_and_unhealthy(alice: Caller, environment: dict[str, str]) -> None:
    clients.ssm().put_parameter(
        Name=environment["DATABASE_URL_PARAMETER"],
        Value="postgresql://somebody:password@127.0.0.1:9/nothing",
        Type="SecureString",
        Overwrite=True,
    )
    database.close()
    health = alice.get("/health")
    assert (health.status, health.body) == (503, {"status": "failing", "checks": {"database": "failing"}})
    for answer in (
        alice.get("/items"),
        alice.get("/search", q="cat"),
        alice.get(f"/items/{uuid4()}"),
        alice.post("/items", {"filename": "a.jpg"}),
        alice.post("/items", {"filename": "a.jpg"}, idempotency_key="k"),
    ):
        assert_problem(answer, 503, "unavailable")
        assert "password" not in json.dumps(answer.body)


def test_no_log_holds_a_form_a_url_a_name_or_a_token(
    alice: Caller, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = alice.post("/items", {"filename": "private-name.jpg"}, idempotency_key="k").body
    shown = picture(db, "alice", "Tabby cat")
    alice.get(f"/items/{shown}")
    alice.get("/items")
    alice.get("/search", q="embarrassing cat")
    ours = [record for record in caplog.records if not record.name.startswith(("boto", "urllib3", "s3"))]
    logged = str([vars(record) for record in ours])
    assert made["item_id"] in logged
    for secret in ("X-Amz-Signature", "policy", "private-name", "embarrassing", "eyJraWQ"):
        assert secret not in logged


def test_every_answer_may_be_kept_by_nobody(alice: Caller) -> None:
    for answer in (
        alice.get("/items"),
        alice.get("/nothing"),
        alice.get("/health"),
        alice.get("/items", limit=0),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_sample_event_is_answered(environment: dict[str, str], db: Database) -> None:
    samples = sorted(path.stem for path in http_api.SAMPLES.glob("*.json"))
    assert len(samples) >= 5
    user_id = http_api.sample("list_items")["requestContext"]["authorizer"]["jwt"]["claims"]["sub"]
    item_id = UUID(http_api.sample("get_item")["rawPath"].rpartition("/")[2])
    statuses = {}
    for name in samples:
        if not db.execute("SELECT FROM items WHERE item_id = %s", (item_id,)).fetchall():  # one deletes it
            picture(db, user_id, item_id=item_id)
        event = http_api.sample(name)
        if "authorizer" in event["requestContext"]:
            event["requestContext"]["authorizer"]["jwt"]["claims"]["client_id"] = environment[
                "USER_POOL_CLIENT_ID"
            ]
        statuses[name] = http_api.invoke(event).status
    assert {statuses.pop(name) for name in ("create_item", "create_items")} == {201}
    assert {statuses.pop(name) for name in ("analyze_item", "embed_item", "resize_item")} == {202}
    assert statuses.pop("delete_item") == 204
    assert {statuses.pop(name) for name in ("erase_me", "erasure", "export")} == {202}
    assert statuses.pop("begin_checkout") == 501, "no key of Stripe"
    assert statuses.pop("open_portal") == 409, "no subscription"
    assert set(statuses.values()) == {200}
