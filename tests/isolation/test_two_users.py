"""Two people with the same file: whatever one of them asks for, nothing of the other comes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import requests

from docs import openapi
from tests import sql_capture
from tests.conftest import Aws
from tests.isolation.cases import CASES, PUBLIC, READS, Ask
from tests.isolation.world import Names, Person, World, anonymous, assert_held_to, comparable, strange, urls

Database = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def world(aws: Aws, db: Database, function_env: Callable[..., dict[str, str]], stripe_url: str) -> World:
    # What the API needs, and the functions that stand behind it.
    api = {"EMBEDDER": "offline", "STRIPE_BASE_URL": stripe_url}
    environment = function_env("Eraser") | function_env("Api", **api)
    return World(aws, db, environment["USER_POOL_CLIENT_ID"])


@pytest.fixture
def alice(world: World) -> Person:
    person = world.person("xylograph")
    world.fill(person)
    return person


@pytest.fixture
def bob(world: World) -> Person:
    person = world.person("zymurgist")
    world.fill(person)
    return person


def every_route() -> set[str]:
    return {f"{route.method} {route.path}" for route in openapi.every()}


def test_every_route_is_tested_here() -> None:
    assert every_route() == {*CASES, *PUBLIC}
    assert len(CASES) > 20


def test_everybody_has_something_in_every_table(world: World, alice: Person) -> None:
    empty = {table for table, rows in world.rows(alice.user_id).items() if not rows}
    assert empty == {"erasures"}, "a table that nobody has anything in is not tested here"
    marked = {table for table, rows in world.rows(alice.user_id).items() if alice.token in str(rows)}
    assert marked | empty == set(world.rows(alice.user_id))


def test_what_everybody_is_told_is_about_nobody(world: World, alice: Person, bob: Person) -> None:
    for route in sorted(PUBLIC):
        path = route.removeprefix("GET ").replace("<release>", "1").replace("<name>", "app.js")
        with sql_capture.recording() as sent:
            plain = {"accept-encoding": "identity"}
            told = [person.call("GET", path, headers=plain) for person in (alice, bob)]
        assert comparable(told[0]) == comparable(told[1]), route
        assert not strange(told[0], [alice, bob]), route
        assert not any(statement.tables for statement in sent), route


def test_what_one_is_answered_is_the_same_whatever_the_other_has(world: World, bob: Person) -> None:
    """Lists, counts, categories, usage, duplicates, similar items and hits of searches, scores included."""
    asks = [ask for route in READS for ask in CASES[route](bob.names)]
    before = [comparable(ask(bob.call)) for ask in asks]
    alice = world.person("xylograph")
    world.fill(alice)
    for _ in range(5):
        world.picture(alice, str(uuid4()))
    for ask, told in zip(asks, before, strict=True):
        with sql_capture.recording() as sent:
            answer = ask(bob.call)
        assert comparable(answer) == told, ask
        assert not strange(answer, [alice]), ask
        assert_held_to(bob.user_id, sent, ask)


def test_reading_shows_ones_own_things(world: World, alice: Person, bob: Person) -> None:
    """Or else the test before would be content with empty answers."""
    for route in READS:
        for ask in CASES[route](bob.names):
            answer = ask(bob.call)
            if route == "GET /me/erasure":
                assert answer.status == 404
            else:
                assert answer.status == 200, (ask, answer.body)
    assert len(bob.call.get("/items").body["items"]) == 3
    assert bob.call.get("/items", duplicate="true").body["items"][0]["duplicate_of"] == bob.names.item
    assert bob.call.get("/categories").body["categories"][0]["items"] == 3
    for mode in ("hybrid", "text", "vector"):
        assert len(bob.call.get("/search", q="tabby cat", mode=mode).body["hits"]) == 3
        # Her own word is one that she alone has.
        assert bob.call.get("/search", q=alice.token, mode=mode, min_score=0.5).body["hits"] == []
    assert len(bob.call.get(f"/items/{bob.names.item}/similar").body["hits"]) == 2
    for reason in ("exact", "perceptual", "embedding"):
        assert len(bob.call.get("/duplicates", by=reason).body["groups"]) == 1


def test_the_second_is_told_what_the_first_is_told(world: World, alice: Person, bob: Person) -> None:
    """But for names, ids and times: not even a number or a cursor tells who was there before."""
    for person in (alice, bob):
        for number in range(3):
            add = "INSERT INTO item_events (user_id, item_id, stage, event) VALUES (%s, %s, 'api', %s)"
            world.db.execute(add, (person.user_id, person.names.item, str(number)))
    for route in READS:
        for hers, his in zip(CASES[route](alice.names), CASES[route](bob.names), strict=True):
            told = [comparable(ask(person.call)) for ask, person in ((hers, alice), (his, bob))]
            assert anonymous(told[0], alice) == anonymous(told[1], bob), his


def asks_with_names(names: Names) -> list[tuple[str, Ask]]:
    return [(route, ask) for route, asks in CASES.items() for ask in asks(names) if ask.names]


def test_what_is_somebody_elses_is_not_there(world: World, alice: Person, bob: Person) -> None:
    """The same answer as for an id that nobody has, by the same statements, and nothing happens to it."""
    before = world.belongings(alice)
    world.aws.published()
    tried = set()
    for (route, foreign), (_, unknown) in zip(
        asks_with_names(alice.names), asks_with_names(Names()), strict=True
    ):
        with sql_capture.recording() as sent_for_foreign:
            theirs = foreign(bob.call)
        with sql_capture.recording() as sent_for_unknown:
            nobodys = unknown(bob.call)
        assert anonymous(comparable(theirs)) == anonymous(comparable(nobodys)), foreign
        assert [s.text for s in sent_for_foreign] == [s.text for s in sent_for_unknown], foreign
        assert_held_to(bob.user_id, sent_for_foreign, foreign)
        assert alice.token not in comparable(theirs), foreign
        if not foreign.found:
            assert theirs.status == 404, (foreign, theirs.body)
        assert world.belongings(alice) == before, foreign
        tried.add(route)
    assert tried >= {route for route in CASES if "<" in route}
    assert {"POST /items/reprocess", "POST /failed/replay", "POST /scans"} <= tried
    assert not [event for event in world.aws.published() if alice.token in str(event)]


def test_what_one_does_to_ones_own_things_leaves_the_others_alone(
    world: World, alice: Person, bob: Person
) -> None:
    before = world.belongings(alice)
    for route, asks in CASES.items():
        for ask in asks(bob.names):
            with sql_capture.recording() as sent:
                answer = ask(bob.call)
            if route != "GET /me/erasure":
                assert answer.status < 300 or answer.body["type"].endswith(
                    ("item-not-fit", "too-many-runs")
                ), (
                    ask,
                    answer.body,
                )
            assert not strange(answer, [alice]), ask
            assert_held_to(bob.user_id, sent, ask)
            assert world.belongings(alice) == before, ask
    assert not [event for event in world.aws.published() if alice.token in str(event)]


def test_a_key_of_somebody_else_is_a_new_key(world: World, alice: Person, bob: Person) -> None:
    """For every POST: the same `Idempotency-Key` of another user is another request."""
    posts = [route for route in CASES if route.startswith("POST ")]
    for route in posts:
        for first, second in zip(CASES[route](alice.names), CASES[route](bob.names), strict=True):
            key = str(uuid4())
            hers = first(alice.call, idempotency_key=key)
            before = world.belongings(alice)
            his = second(bob.call, idempotency_key=key)
            assert his.status == hers.status, second
            assert not strange(his, [alice]), second
            assert world.belongings(alice) == before, second
            ids = [body.body.get(name) for body in (hers, his) for name in ("item_id", "run_id")]
            assert len([i for i in ids if i]) == len({i for i in ids if i}), second
    assert len(posts) > 5


def test_a_cursor_of_somebody_else_leads_to_nothing_of_theirs(
    world: World, alice: Person, bob: Person
) -> None:
    for n in range(3):
        world.picture(alice, str(uuid4()), created_at=f"2020-01-0{n + 1}T00:00Z")
    for _ in range(3):
        world.db.execute(
            """
            INSERT INTO scan_runs (user_id, run_id, kind, request)
            SELECT user_id, gen_random_uuid(), kind, request FROM scan_runs WHERE run_id = %s
            """,
            (alice.names.run,),
        )
    found = 0
    for route in READS:
        for ask in CASES[route](alice.names):
            carried = (ask(alice.call).body or {}).get("next_cursor")
            if not carried:
                continue
            found += 1
            mine = CASES[route](bob.names)[CASES[route](alice.names).index(ask)]
            said = {**(mine.query or {}), **(mine.body or {}), "cursor": carried}
            used = Ask(mine.method, mine.path, said if mine.query else None, said if mine.body else None)
            with sql_capture.recording() as sent:
                answer = used(bob.call)
            assert answer.status in (200, 400), used
            assert not strange(answer, [alice]), used
            assert_held_to(bob.user_id, sent, used)
    assert found >= 5


def test_urls_are_of_ones_own_objects_and_work_for_exactly_one(
    world: World, alice: Person, bob: Person
) -> None:
    seen = set()
    for route in READS:
        for ask in CASES[route](bob.names):
            for url in urls(ask(bob.call).body):
                parts = urlsplit(url)
                assert parts.path.startswith(f"/{bob.user_id}/"), ask
                seen.add(parts.path)
                if len(seen) > 20:
                    continue
                assert requests.get(url, timeout=5).text == bob.token
                path = parts.path.replace(bob.user_id, alice.user_id)
                for mine, theirs in zip(bob.names.all(), alice.names.all(), strict=True):
                    path = path.replace(mine, theirs)
                refused = requests.get(parts._replace(path=path).geturl(), timeout=5)
                assert refused.status_code == 403
                assert "SignatureDoesNotMatch" in refused.text
                assert requests.get(parts._replace(query="").geturl(), timeout=5).status_code == 403
    assert {path.split("/")[2] for path in seen} == {
        "images",
        "thumbnails",
        "exports",
        bob.names.item,
        bob.names.copy,
    }


def test_a_form_uploads_to_ones_own_key_only(world: World, alice: Person, bob: Person) -> None:
    form = bob.call.post("/items", {"filename": "cat.jpg"}).body["upload"]
    before = world.belongings(alice)
    for key in (f"{alice.user_id}/{alice.names.item}/original", f"{alice.user_id}/new/original"):
        changed = {**form["fields"], "key": key}
        answer = requests.post(form["url"], data=changed, files={"file": b"bytes"}, timeout=5)
        assert (answer.status_code, "AccessDenied" in answer.text) == (403, True)
    assert world.belongings(alice) == before
    assert requests.post(form["url"], data=form["fields"], files={"file": b"bytes"}, timeout=5).ok


def test_an_id_that_was_somebody_elses_is_free(world: World, alice: Person, bob: Person) -> None:
    """Rows are found by their owner and their id together: the same id twice is nothing special."""
    world.picture(bob, alice.names.item)
    answer = bob.call.get(f"/items/{alice.names.item}")
    assert answer.status == 200
    assert alice.token not in str(answer.body)
    assert bob.call("DELETE", f"/items/{alice.names.item}").status == 204
    assert alice.call.get(f"/items/{alice.names.item}").status == 200
    assert requests.get(alice.call.get(f"/items/{alice.names.item}").body["views"]["image"], timeout=5).ok


def test_nobody_signs_in_as_everybody(world: World, alice: Person) -> None:
    """`*` owns the operator's runs, which are over everybody's items."""
    run = str(uuid4())
    values = {"run": run, "user": alice.user_id, "item": alice.names.item}
    psycopg.ClientCursor(world.db).execute(
        """
        INSERT INTO scan_runs (user_id, run_id, kind, request) VALUES ('*', %(run)s, 'nightly', '{}');
        INSERT INTO scan_results (user_id, run_id, item_id, run_owner, outcome, began_at)
        VALUES (%(user)s, %(run)s, %(item)s, '*', 'done', now())
        """,
        values,
    )
    operator = Person("*", replace(alice.call, user_id="*"))
    for route in CASES:
        for ask in CASES[route](Names(run=run)):
            assert ask(operator.call).status == 401, ask
    assert alice.call.get(f"/runs/{run}").status == 404
    assert run not in str(alice.call.get("/runs").body)
