"""The stages behind the API: for two people with the same file, and for events that name strange ids."""

import gzip
import io
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
from PIL import Image

from functions.analyzer import handler as analyzer
from functions.embedder import handler as embedder
from functions.eraser import handler as eraser
from functions.exporter import handler as exporter
from functions.image_processor import handler as image_processor
from tests import sql_capture
from tests.conftest import Aws, LambdaContext
from tests.isolation.world import Person, World, anonymous, assert_held_to
from tests.sql_capture import Sent

Database = psycopg.Connection[dict[str, Any]]
Handler = Callable[[dict[str, Any], Any], Any]

STAGES: list[Handler] = [image_processor.lambda_handler, analyzer.lambda_handler, embedder.lambda_handler]
RUNNING = {"event_id", "usage_id", "duration_ms"}


@pytest.fixture
def world(aws: Aws, db: Database, function_env: Callable[..., dict[str, str]]) -> World:
    for name in ("ImageProcessor", "Analyzer", "Embedder", "Eraser", "Exporter"):
        function_env(name)
    return World(aws, db, function_env("Api", EMBEDDER="offline")["USER_POOL_CLIENT_ID"])


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((320, 200)).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def upload(person: Person, body: bytes, name: str = "same.jpg") -> str:
    made = person.call.post("/items", {"filename": name}).body
    form = made["upload"]
    assert requests.post(form["url"], data=form["fields"], files={"file": body}, timeout=5).ok
    return str(made["item_id"])


def through_the_stages(person: Person, item_id: str) -> list[Sent]:
    with sql_capture.recording() as sent:
        for stage in STAGES:
            stage({"user_id": person.user_id, "item_id": item_id}, LambdaContext())
    return sent


def rows(world: World, person: Person) -> dict[str, list[str]]:
    """All of a person's rows, as anybody's would be: without ids, times, durations and running numbers."""
    found = {}
    for table, lines in world.rows(person.user_id).items():
        kept = [{name: line[name] for name in line if name not in RUNNING} for line in lines]
        found[table] = sorted(anonymous(json.dumps(line, sort_keys=True), person) for line in kept)
    return found


def test_the_second_to_upload_a_file_is_treated_as_the_first(world: World) -> None:
    """Nothing is a duplicate of somebody else's, no reply of a model and no vector is shared."""
    body = jpeg()
    alice, bob = world.person("xylograph"), world.person("zymurgist")
    for person in (alice, bob):
        for _ in range(2):
            sent = through_the_stages(person, upload(person, body))
            assert len({statement.text for statement in sent}) > 10
            assert_held_to(person.user_id, sent, "a stage")
    assert rows(world, alice) == rows(world, bob)
    for person in (alice, bob):
        found = world.rows(person.user_id)
        assert len(found["model_replies"]) == 1, "the second copy of one's own is described for nothing"
        shown = person.call.get("/items").body["items"]
        assert [item["status"] for item in shown] == ["ready", "ready"]
        assert shown[0]["duplicate_of"] == shown[1]["item_id"]
        assert shown[1]["duplicate_of"] is None


def test_an_event_that_names_somebody_elses_item_changes_nothing_of_theirs(world: World) -> None:
    alice, bob = world.person("xylograph"), world.person("zymurgist")
    world.fill(alice)
    world.fill(bob)
    before = world.belongings(alice)
    for stage in STAGES:
        for more in ({}, {"run_id": str(uuid4())}):
            payload = {"user_id": bob.user_id, "item_id": alice.names.item, **more}
            with sql_capture.recording() as sent:
                try:
                    answer = json.dumps(stage(payload, LambdaContext()))
                except Exception as error:  # noqa: BLE001 - whatever it says
                    answer = str(error)
            assert alice.token not in answer
            assert_held_to(bob.user_id, sent, stage)
            assert world.belongings(alice) == before


def test_the_end_of_one_account_leaves_the_other_alone(world: World) -> None:
    alice, bob = world.person("xylograph"), world.person("zymurgist")
    world.fill(alice)
    world.fill(bob)
    before = world.belongings(alice)
    begun = bob.call("DELETE", "/me", {"wait": 0}).body
    event = {"user_id": bob.user_id, "erasure_id": begun["receipt_id"]}
    with sql_capture.recording() as sent:
        eraser.lambda_handler(event, LambdaContext())
    assert world.belongings(alice) == before
    left = {table for table, lines in world.rows(bob.user_id).items() if lines}
    assert left == {"erasures"}
    assert world.objects(bob.user_id) == []
    assert_held_to(bob.user_id, sent, "the eraser")


def copy_of_everything(person: Person) -> str:
    asked = person.call.get("/export", wait=0, fresh="true").body
    exporter.lambda_handler({"user_id": person.user_id, "export_id": asked["export_id"]}, LambdaContext())
    url = person.call.get("/export").body["url"]
    return gzip.decompress(requests.get(url, timeout=5).content).decode()


def test_a_copy_of_everything_holds_ones_own_only(world: World) -> None:
    alice, bob = world.person("xylograph"), world.person("zymurgist")
    world.fill(alice)
    world.fill(bob)
    hers, his = copy_of_everything(alice), copy_of_everything(bob)
    assert bob.token in his
    assert bob.names.item in his
    assert alice.token not in his
    assert not [name for name in alice.names.all() if name in his]
    # Nor a number that tells how much others have.
    signature = re.compile(r"\?[^\"]*X-Amz-[^\"]*")
    told = [
        sorted(anonymous(signature.sub("", copy), person).splitlines())
        for copy, person in ((hers, alice), (his, bob))
    ]
    assert told[0] == told[1]
