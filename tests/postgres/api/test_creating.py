"""Many items by one request: all or none, and the same ones when it is sent again."""

from typing import Any
from uuid import UUID

import boto3
import psycopg
import requests

from functions.api import creation
from tests.conftest import Aws
from tests.fakes.http_api import Caller, assert_problem

Database = psycopg.Connection[dict[str, Any]]


def several(count: int) -> dict[str, Any]:
    return {"items": [{"filename": f"IMG_{number:03}.jpg"} for number in range(count)]}


def forget(environment: dict[str, str]) -> None:
    """Lose what the cheap net remembers of requests."""
    dynamodb, table = boto3.client("dynamodb"), environment["IDEMPOTENCY_TABLE"]
    for row in dynamodb.scan(TableName=table)["Items"]:
        dynamodb.delete_item(TableName=table, Key={"id": row["id"]})


def test_a_hundred_items_are_made_at_once_in_their_order_each_with_its_own_form(
    alice: Caller, environment: dict[str, str], aws: Aws, db: Database
) -> None:
    answer = alice.post("/items", several(100))
    assert answer.status == 201
    made = answer.body["items"]
    rows = db.execute("SELECT * FROM items ORDER BY created_at").fetchall()
    assert [str(row["item_id"]) for row in rows] == [item["item_id"] for item in made]
    assert [row["filename"] for row in rows] == [f"IMG_{number:03}.jpg" for number in range(100)]
    assert {(row["user_id"], row["status"]) for row in rows} == {("alice", "pending")}
    assert [item["upload"]["fields"]["key"] for item in made] == [row["object_key"] for row in rows]
    lines = db.execute("SELECT DISTINCT item_id, stage, event FROM item_events").fetchall()
    assert len(lines) == 100
    # Each form does what it is for.
    form = made[7]["upload"]
    sent = requests.post(form["url"], data=form["fields"], files={"file": ("a", b"bytes")}, timeout=5)
    assert sent.ok, sent.text
    stored = aws.s3.get_object(Bucket=environment["UPLOADS_BUCKET"], Key=rows[7]["object_key"])
    assert stored["Body"].read() == b"bytes"


def test_what_is_wrong_is_named_and_nothing_is_made(alice: Caller, db: Database) -> None:
    good = {"filename": "a.jpg"}
    for body, status, kind, fields in (
        ({"items": []}, 422, "invalid-input", ["body.items"]),
        ({"items": [good] * 101}, 422, "invalid-input", ["body.items"]),
        ({"items": "a.jpg"}, 422, "invalid-input", ["body.items"]),
        ({"items": None}, 422, "invalid-input", ["body.items"]),
        ({"items": [good, good, good, {}]}, 422, "invalid-input", ["body.items.3.filename"]),
        ({"items": [good, 1]}, 422, "invalid-input", ["body.items.1"]),
        ({"items": [good], "filename": "b.jpg"}, 422, "invalid-input", ["body.filename"]),
        ({"items": [good, {**good, "size": 268435457}]}, 413, "too-large", ["body.items.1.size"]),
        ({"items": [good, {**good, "size": -1}]}, 422, "invalid-input", ["body.items.1.size"]),
    ):
        answer = alice.post("/items", body)
        assert_problem(answer, status, kind)
        assert [error["field"] for error in answer.body["errors"]] == fields
    assert db.execute("SELECT FROM items").fetchall() == []


def test_a_batch_sent_again_is_the_same_items(
    alice: Caller, bob: Caller, environment: dict[str, str], db: Database
) -> None:
    first = alice.post("/items", several(3), idempotency_key="k").body
    remembered = alice.post("/items", several(3), idempotency_key="k").body
    forget(environment)
    derived = alice.post("/items", several(3), idempotency_key="k").body
    ids = [[item["item_id"] for item in answer["items"]] for answer in (first, remembered, derived)]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == 3
    assert_problem(alice.post("/items", several(4), idempotency_key="k"), 422, "idempotency-key-reused")
    his = bob.post("/items", several(3), idempotency_key="k").body
    assert not {item["item_id"] for item in his["items"]} & set(ids[0])
    assert len(db.execute("SELECT FROM items WHERE user_id = 'alice'").fetchall()) == 3


def test_only_what_is_missing_of_a_batch_is_made(alice: Caller, db: Database) -> None:
    """Of ids that are derived from a request some are taken by items of yesterday."""
    old, recent, new = UUID(int=1), UUID(int=2), UUID(int=3)
    for item_id, age in ((old, "25 hours"), (recent, "1 hour")):
        db.execute(
            "INSERT INTO items (user_id, item_id, filename, object_key, created_at)"
            " VALUES ('alice', %s, 'there.jpg', 'key', now() - %s::interval)",
            (item_id, age),
        )
    wished = [creation.New(item_id, "new.jpg") for item_id in (old, recent, new)]
    made = creation.create("alice", wished, "correlation")
    assert made[0] not in (old, recent, new)
    assert made[1:] == [recent, new]
    rows = db.execute("SELECT item_id, filename FROM items").fetchall()
    assert {row["item_id"]: row["filename"] for row in rows} == {
        old: "there.jpg",
        recent: "there.jpg",
        new: "new.jpg",
        made[0]: "new.jpg",
    }


def test_what_was_deleted_since_is_neither_made_again_nor_given_a_form(
    alice: Caller, environment: dict[str, str], db: Database
) -> None:
    made = alice.post("/items", several(2), idempotency_key="k").body["items"]
    assert alice.delete(f"/items/{made[1]['item_id']}").status == 204
    assert_problem(alice.post("/items", several(2), idempotency_key="k"), 409, "item-deleted")
    forget(environment)
    assert_problem(alice.post("/items", several(2), idempotency_key="k"), 409, "item-deleted")
    assert [str(row["item_id"]) for row in db.execute("SELECT item_id FROM items").fetchall()] == [
        made[0]["item_id"]
    ]
    # Once requests are forgotten it is a new one.
    forget(environment)
    db.execute("UPDATE deleted_items SET deleted_at = now() - interval '25 hours'")
    again = alice.post("/items", several(2), idempotency_key="k").body["items"]
    assert again[0] != made[1]
    assert again[1]["item_id"] != made[1]["item_id"]


def test_who_had_everything_deleted_makes_nothing_new(alice: Caller, bob: Caller, db: Database) -> None:
    db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES ('alice', gen_random_uuid())")
    for body in ({"filename": "a.jpg"}, several(2)):
        assert_problem(alice.post("/items", body), 403, "account-deleted")
        assert bob.post("/items", body).status == 201
    assert {row["user_id"] for row in db.execute("SELECT user_id FROM items").fetchall()} == {"bob"}
