"""Two hundred people who do whatever they like, with ids, cursors and keys of each other: a state machine.

Each step is a request of somebody, made of the cases of any route, with names that are theirs, somebody
else's or nobody's. The model knows who owns what; after each step no answer holds anything of anybody else,
and nothing of anybody else has changed. `--hypothesis-profile=deep` goes deeper.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from functions.eraser import handler as eraser
from shared import database
from tests import sql_capture
from tests.conftest import Aws, LambdaContext
from tests.fakes.http_api import Answer
from tests.isolation.cases import CASES, READS, Ask
from tests.isolation.test_stages import jpeg, through_the_stages, upload
from tests.isolation.world import Names, Person, World, assert_held_to, text_of
from tests.sql_capture import schema

PEOPLE = 200
STAGED = 1
"""Uploads of one run of the machine that go through the real stages: each takes a good part of a second."""

TOKEN = re.compile(r"zz[a-j]{9}zz")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# What is there of everybody but one: how many rows, and which versions of them. What is counted of all
# together is nobody's: whoever spends something, or leaves, changes it.
OTHERS = """
SELECT count(*) AS rows, sum(hashtextextended(t.xmin::text || ' ' || t.ctid::text, 0)) AS versions
  FROM {} AS t WHERE user_id NOT IN (%(user_id)s, '*')
"""


def token(number: int) -> str:
    """A word that only one person's things hold: no part of any other's, and no slip of the pen from it."""
    return "zz" + "".join("abcdefghij"[int(digit)] * 3 for digit in f"{number:03}") + "zz"


class Town:
    """Everybody, each with something in every table, in a database that every run of the machine copies."""

    def __init__(self, world: World, server: str, url: str, use: Callable[[str], None]) -> None:
        self.world = world
        self._server, self._url, self._use = server, url, use
        self._numbers = itertools.count()
        self.people = [world.person(token(number)) for number in range(PEOPLE)]
        with world.db.transaction():
            for person in self.people:
                world.fill(person, objects=False)
        world.db.close()
        self.owners = {name: person for person in self.people for name in person.names.all()}

    @contextmanager
    def copy(self) -> Iterator[tuple[int, "psycopg.Connection[dict[str, Any]]"]]:
        """A copy of the database that the functions use, its number, and a connection to it."""
        number = next(self._numbers)
        source, name = re.search(r"/(test_\d+)\?", self._url)[1], f"town_{number}"  # type: ignore[index]
        with psycopg.connect(self._server, autocommit=True) as maintenance:
            maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        url = self._url.replace(f"/{source}?", f"/{name}?")
        self._use(url)
        connection = database.connect(url)
        try:
            yield number, connection
        finally:
            connection.close()
            database.close()
            with psycopg.connect(self._server, autocommit=True) as maintenance:
                maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


somebody = st.one_of(st.integers(0, 3), st.integers(0, PEOPLE - 1))
"""Few of them meet often, and all of them sometimes."""


class Machine(RuleBasedStateMachine):
    """What people do, and what must hold whatever they do.

    Attributes:
        owners: whose an id is; ids that nobody has are nobody's.
        items: ids of each person's items; `ready` of those that can be found, `brought` by an import.
    """

    def __init__(self, town: Town) -> None:
        super().__init__()
        self.town = town
        self._copy = town.copy()
        self.example, self.db = self._copy.__enter__()
        self.owners = {name: person.user_id for name, person in town.owners.items()}
        self.items = {p.user_id: {p.names.item, p.names.copy, p.names.alike} for p in town.people}
        self.ready = {user_id: set(names) for user_id, names in self.items.items()}
        self.brought = {p.user_id: {p.names.copy, p.names.alike} for p in town.people}
        self.cursors: list[tuple[str, int, str]] = []
        self.gone: set[str] = set()
        self.staged = 0
        self.steps = 0
        self.last = town.people[0]

    def teardown(self) -> None:
        self._copy.__exit__(None, None, None)

    # What they do

    @rule(
        who=somebody,
        route=st.sampled_from(sorted(set(CASES) - {"DELETE /me"})),
        which=st.integers(0, 99),
        whose=st.lists(
            st.one_of(st.none(), somebody), min_size=len(fields(Names)), max_size=len(fields(Names))
        ),
        key=st.one_of(st.none(), st.integers(0, 3)),
    )
    def ask_for_anything(
        self, who: int, route: str, which: int, whose: list[int | None], key: int | None
    ) -> None:
        """Any request, with any names; under a key that others use too."""
        person = self.town.people[who]
        names = self._names(person, whose)
        asks = CASES[route](names)
        ask = asks[which % len(asks)]
        headers = {"idempotency_key": f"{self.example}-{key}"} if key is not None and "POST" in route else {}
        answer = self._asked(person, ask, **headers)
        named = set(UUID.findall(f"{ask.path} {ask.body}"))
        if ask.names and not ask.found and any(self.owners.get(name) != person.user_id for name in named):
            assert answer.status == 404, (ask, answer.body)
        if route == "POST /items" and answer.status == 201:
            made = [answer.body] if "item_id" in answer.body else answer.body["items"]
            self.items[person.user_id] |= {item["item_id"] for item in made}
        if route == "DELETE /items/<item_id>" and answer.status == 204:
            self.items[person.user_id] -= named
            self.ready[person.user_id] -= named
        if route == "POST /imports/<import_id>/items" and answer.status == 200:
            made_here = {item["item_id"] for item in answer.body["items"]}
            self.items[person.user_id] |= made_here
            self.brought[person.user_id] |= made_here
            self.ready[person.user_id] |= made_here  # described, and without a picture to wait for
        if route == "POST /imports/<import_id>/undo" and answer.status == 200:
            self.items[person.user_id] -= self.brought[person.user_id]
            self.ready[person.user_id] -= self.brought[person.user_id]
        carried = answer.body.get("next_cursor") if isinstance(answer.body, dict) else None
        if carried and route in READS:
            self.cursors.append((route, which, carried))

    @precondition(lambda self: self.cursors)
    @rule(who=somebody, which=st.integers(0, 99))
    def go_on_from_somebody_elses_page(self, who: int, which: int) -> None:
        route, case, cursor = self.cursors[which % len(self.cursors)]
        person = self.town.people[who]
        asks = CASES[route](person.names)
        mine = asks[case % len(asks)]
        query = {**(mine.query or {}), "cursor": cursor} if mine.method == "GET" else None
        body = {**mine.body, "cursor": cursor} if mine.body else None
        assert self._asked(person, Ask(mine.method, mine.path, query, body)).status in (200, 400, 404)

    @rule(who=somebody, other=somebody, mode=st.sampled_from(["hybrid", "text", "vector"]))
    def look_for_somebody_elses_word(self, who: int, other: int, mode: str) -> None:
        person, word = self.town.people[who], self.town.people[other].token
        query = {"q": word, "mode": mode, "min_score": 0, "limit": 100}
        answer = self._asked(person, Ask("GET", "/search", query), asked=word)
        assert {hit["item_id"] for hit in answer.body["hits"]} <= self.ready[person.user_id]
        if mode == "text" and who != other:
            assert answer.body["hits"] == []

    @rule(who=somebody, what=st.sampled_from(["upload", "leave", "nothing", "nothing", "nothing"]))
    def do_what_is_rare(self, who: int, what: str) -> None:
        person = self.town.people[who]
        if what == "upload" and self.staged < STAGED and person.user_id not in self.gone:
            self.upload_the_file_that_everybody_has(person)
        elif what == "leave" and self.steps > 5:
            self.leave(person)

    def leave(self, person: Person) -> None:
        receipt = self._asked(person, Ask("DELETE", "/me", {"wait": 0})).body
        event = {"user_id": person.user_id, "erasure_id": receipt["receipt_id"]}
        self._watched(person, "eraser", lambda: eraser.lambda_handler(event, LambdaContext()))
        self.items[person.user_id].clear()
        self.ready[person.user_id].clear()
        self.gone.add(person.user_id)

    def upload_the_file_that_everybody_has(self, person: Person) -> None:
        self.staged += 1
        before = self._others(person)
        item_id = upload(person, jpeg(), f"cat {person.token}.jpg")
        assert_held_to(person.user_id, through_the_stages(person, item_id), "a stage")
        assert self._others(person) == before
        self.owners[item_id] = person.user_id
        self.items[person.user_id].add(item_id)
        self.ready[person.user_id].add(item_id)

    # What must hold

    def _asked(self, person: Person, ask: Ask, asked: str = "", **headers: str) -> Answer:
        """Make a request, and look at its answer and its traces.

        Args:
            asked: a word of the request that its answer may repeat.
        """
        note(f"{person.token}: {ask}")
        answer = self._watched(person, ask, lambda: ask(person.call, **headers))
        text = text_of(answer)
        assert answer.status < 500, (ask, answer.body)
        assert set(TOKEN.findall(text.replace(asked, "") if asked else text)) <= {person.token}, ask
        repeated = set(UUID.findall(f"{ask.query} {ask.body}")) if ask.found else set()
        for name in set(UUID.findall(text)) - repeated:
            owner = self.owners.get(name)
            assert owner in (None, person.user_id), (ask, name, owner)
            self.owners[name] = person.user_id
        self.last = person
        return answer

    def _watched(self, person: Person, what: object, do: Callable[[], Any]) -> Any:
        before = self._others(person)
        with sql_capture.recording() as sent:
            done = do()
        assert_held_to(person.user_id, sent, what)
        assert self._others(person) == before, f"{what} changed something of somebody else"
        return done

    def _others(self, person: Person) -> list[dict[str, Any]]:
        parts = " UNION ALL ".join(OTHERS.format(table) for table in sorted(schema().tenant_tables))
        return self.db.execute(parts, {"user_id": person.user_id}).fetchall()

    @invariant()
    def whoever_asked_last_finds_exactly_their_own(self) -> None:
        """Lists, counts and hits, against the model."""
        self.steps += 1
        person = self.last
        listed = person.call.get("/items", limit=100).body["items"]
        assert {item["item_id"] for item in listed} == self.items[person.user_id]
        counted = person.call.get("/categories", limit=100).body["categories"]
        assert sum(category["items"] for category in counted) == len(self.ready[person.user_id])
        found = person.call.get("/search", q="tabby", mode="text", limit=100, min_score=0).body["hits"]
        cats = {*self.town.owners, *self.brought[person.user_id]}
        expected = self.ready[person.user_id] & cats
        assert {hit["item_id"] for hit in found} == expected

    def _names(self, person: Person, whose: list[int | None]) -> Names:
        """Names that are the person's own where `whose` names them, somebody else's, or nobody's."""
        given = {}
        for field, number in zip(fields(Names), whose, strict=True):
            if number is None:
                given[field.name] = getattr(person.names, field.name)
            elif number % 7 == 6:
                given[field.name] = str(uuid4())
            else:
                given[field.name] = getattr(self.town.people[number].names, field.name)
        return Names(**given)


@pytest.mark.timeout(1800)
def test_nobody_ever_sees_or_changes_anything_of_anybody_else(
    aws: Aws,
    db: "psycopg.Connection[dict[str, Any]]",
    database_server: str,
    database_url: str,
    function_env: Callable[..., dict[str, str]],
    stripe_url: str,
) -> None:
    for name in ("ImageProcessor", "Analyzer", "Embedder", "Eraser"):
        function_env(name)
    environment = function_env("Api", EMBEDDER="offline", STRIPE_BASE_URL=stripe_url)

    def use(url: str) -> None:
        database.close()
        aws.put_parameter(environment["DATABASE_URL_PARAMETER"], url)

    town = Town(World(aws, db, environment["USER_POOL_CLIENT_ID"]), database_server, database_url, use)
    deep = settings.get_current_profile_name() == "deep"
    run_state_machine_as_test(
        lambda: Machine(town),
        settings=settings(
            max_examples=settings.default.max_examples if deep else 12,
            stateful_step_count=settings.default.stateful_step_count if deep else 20,
            deadline=None,
            # To make a failure small takes minutes.
            phases=settings.default.phases if deep else (Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
