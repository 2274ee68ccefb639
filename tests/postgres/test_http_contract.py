"""What holds on every route alike, whichever there are: they are told from the OpenAPI document."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import boto3
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from psycopg import sql
from schemathesis import GenerationMode

from functions.api import problems
from tests.conftest import Aws, LambdaContext
from tests.fakes import http_api, stripe_server, wsgi
from tests.fakes.belongings import everything_of
from tests.fakes.document import Operation, document, misfit, operations
from tests.fakes.http_api import Answer, Caller

Database = psycopg.Connection[dict[str, Any]]

INSIDES = (
    "SELECT", "INSERT", "UPDATE ", "psycopg", "pydantic", "Traceback", "File \"", ".py", "postgres", "boto",
    "magpie-uploadsbucket", "magpie-mediabucket", "magpie-idempotency", "arn:aws", "search_documents",
    "item_events", "usage_ledger", "user_profiles", "127.0.0.1",
)  # fmt: skip
"""What no problem may tell of."""


IMPATIENT = LambdaContext(remaining_ms=2_000)
"""Of a function that has no time to wait for what another one does."""


@dataclass
class World:
    """A signed-in user, what is theirs, and every answer that was not as it should be."""

    caller: Caller
    ids: dict[str, str]
    wrong: list[str] = field(default_factory=list)

    def ask(
        self, operation: Operation, query: Any = None, *, path: str | None = None, **given: Any
    ) -> Answer:
        """Ask for something, and note when the answer is not of the document or is no proper answer."""
        event = self.caller.event(operation.method, path or operation.at(**self.ids), query, **given)
        answer = http_api.invoke(event, IMPATIENT)
        told = misfit(operation, answer) or unsound(answer)
        if told:
            self.wrong.append(f"{operation.name} asked {query or ''} {str(given)[:300]}: {told}")
        return answer

    def body(self, operation: Operation) -> dict[str, Any]:
        """The arguments of `ask` that send a body which is all right, where one is needed."""
        return {"body": self.fitted(operation.example())} if operation.takes_body else {}

    def query(self, operation: Operation) -> dict[str, Any]:
        """The query that cannot be left out."""
        return {
            each["name"]: each["schema"].get("enum", ["sunset"])[0]
            for each in operation.parameters
            if each["in"] == "query" and each["required"]
        }

    def fitted(self, example: Any) -> Any:
        """An example with ids of this user's instead of its own."""
        if isinstance(example, dict):
            return {name: self.ids.get(name, self.fitted(value)) for name, value in example.items()}
        return [self.fitted(value) for value in example] if isinstance(example, list) else example


def unsound(answer: Answer) -> str | None:
    """Say what is wrong with an answer whatever it answers, None when nothing is."""
    if answer.headers.get("x-content-type-options") != "nosniff":
        return "may be taken for something else by a browser"
    if answer.status < 400:
        return None
    if answer.status >= 500:
        return f"{answer.status}: {answer.body}"
    if answer.headers["content-type"] != "application/problem+json":
        return f"{answer.status} as {answer.headers['content-type']}"
    kind = answer.body["type"].removeprefix(problems.TYPE_PREFIX)
    expected = {"title": problems.TITLES[kind], "status": answer.status, "correlation_id": "JKJaXmPLvHcESHA="}
    if not expected.items() <= answer.body.items() or not answer.body["detail"]:
        return f"no whole problem: {answer.body}"
    more = {"meter", "limit", "used", "wanted", "resets_at"} if kind == "over-quota" else set()
    if set(answer.body) - {*expected, "type", "detail", "errors", *more}:
        return f"more than a problem: {answer.body}"
    if len(json.dumps(answer.body)) > 32_000:
        return f"an endless problem: {str(answer.body)[:300]}"
    inside = [word for word in INSIDES if word in json.dumps(answer.body)]
    return f"tells of the inside, {inside}: {answer.body}" if inside else None


@pytest.fixture
def world(function_env: Callable[..., dict[str, str]], aws: Aws, db: Database) -> Iterator[World]:
    """Somebody with a bit of everything; fails in the end when any answer was not as it should be."""
    with stripe_server.running() as stripe:
        environment = function_env(
            "Api", EMBEDDER="offline", STRIPE_BASE_URL=stripe.base_url, DEFAULT_TIER="team"
        )
        aws.put_parameter(environment["STRIPE_KEY_PARAMETER"], stripe_server.KEY)
        made = new_world("anna", environment, aws, db)
        yield made
    assert not made.wrong, "\n".join(made.wrong[:40])


def new_world(name: str, environment: dict[str, str], aws: Aws, db: Database) -> World:
    item_id = everything_of(db, aws, name).first
    ids: dict[str, Any] = {"item_id": item_id}
    for table, key in (("scan_runs", "run_id"), ("scans", "scan_id"), ("imports", "import_id")):
        found = sql.SQL("SELECT {} FROM {} WHERE user_id = %s").format(
            sql.Identifier(key), sql.Identifier(table)
        )
        ids |= db.execute(found, (name,)).fetchone() or {}
    return World(
        Caller(name, environment["USER_POOL_CLIENT_ID"]), {key: str(value) for key, value in ids.items()}
    )


# Who is asking


def test_without_the_right_token_every_route_says_to_sign_in(world: World) -> None:
    client = world.caller.client_id
    checked = 0
    for operation in operations():
        if operation.is_open:
            continue
        given = {"query": world.query(operation), **world.body(operation)}
        answers = [
            world.ask(operation, **given, claims=claims)
            for claims in (
                {"token_use": "id"},
                {"token_use": None},
                {"client_id": "another"},
                {"client_id": None, "aud": client},
                {"sub": ""},
                {"sub": "a/b"},
                {"sub": None},
            )
        ]
        event = world.caller.event(operation.method, operation.at(**world.ids), **given)
        del event["requestContext"]["authorizer"]
        answers.append(http_api.invoke(event))
        for answer in answers:
            assert (answer.status, answer.body["type"]) == (401, "urn:problem-type:magpie:not-signed-in")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        checked += 1
    assert checked > 10


def test_what_needs_no_token_is_the_same_for_everybody(world: World) -> None:
    for operation in operations():
        if operation.is_open:
            event = world.caller.event(operation.method, operation.path)
            del event["requestContext"]["authorizer"]
            assert http_api.invoke(event).body == world.ask(operation).body


# What is asked for without its content


def test_head_answers_as_get_does_without_the_content(world: World) -> None:
    checked = 0
    for operation in operations():
        if operation.method != "GET":
            continue
        given = (operation.at(**world.ids), world.query(operation))
        answer, head = world.caller("GET", *given), world.caller("HEAD", *given)
        head.headers.pop("content-encoding", None)  # of the content that is not there
        assert (head.status, head.headers, head.body) == (answer.status, answer.headers, ""), operation
        checked += 1
    assert checked > 10
    assert world.caller("HEAD", "/items", {"limit": 0}).status == 422
    assert world.caller("HEAD", "/no/such/path").status == 404


# Ids


ODD_IDS = (
    "not-an-id", "0", "-1", "null", "%00", "\x00", "\ud800", "é", "٣", "a" * 5000, "{item_id}", "..", "*",
    "00000000-0000-0000-0000-000000000000'--", "00000000000000000000000000000000000000", "%2e%2e%2f",
)  # fmt: skip


def test_what_is_no_id_is_not_found_and_looks_like_what_is_another_s(world: World) -> None:
    checked = 0
    problem_of_no_route = world.caller.get("/no/such/path").body
    for operation in operations():
        if "{" not in operation.path:
            continue
        given = {"query": world.query(operation), **world.body(operation)}
        missing = world.ask(operation, path=operation.at(**dict.fromkeys(world.ids, str(uuid4()))), **given)
        for text in (str(uuid4()).upper(), *ODD_IDS):
            path = operation.at(**dict.fromkeys(world.ids, text))
            answer = world.caller(operation.method, path, **given)
            assert unsound(answer) is None
            assert answer.status == 404, (operation, text, answer.body)
            # A path that no route takes is not found either, in other words.
            assert answer.body in (missing.body, problem_of_no_route)
        checked += 1
    assert checked > 3


# Idempotency-Key


def keyed() -> list[Operation]:
    found = [operation for operation in operations() if operation.method == "POST"]
    assert found
    assert all(operation.takes_key for operation in found)
    # What takes an item away comes last.
    return sorted(found, key=lambda operation: operation.path.endswith("/undo"))


def test_a_key_out_of_bounds_is_refused_by_every_post_and_nothing_happens(world: World, db: Database) -> None:
    before = rows(db)
    for operation in keyed():
        for key in ("", "x" * 256, "two words", "umläut", "line\nbreak", "nul\x00", "\ud800"):
            answer = world.ask(
                operation, world.query(operation), **world.body(operation), headers={"idempotency-key": key}
            )
            assert (answer.status, answer.body["type"]) == (
                400,
                "urn:problem-type:magpie:invalid-idempotency-key",
            ), operation
    assert rows(db) == before


def test_a_post_sent_again_happens_once(world: World, aws: Aws, db: Database) -> None:
    for operation in keyed():
        aws.published()
        given = {**world.body(operation), "headers": {"idempotency-key": f"again-{operation.name}"}}
        first = world.ask(operation, world.query(operation), **given)
        after_one, said = rows(db), len(aws.published())
        second = world.ask(operation, world.query(operation), **given)
        assert second.status == first.status, operation
        assert steady(second.body) == steady(first.body)
        assert rows(db) == after_one
        assert len(aws.published()) <= said


def test_a_key_is_refused_with_another_request_and_while_the_first_is_answered(
    world: World, function_env: Callable[..., dict[str, str]]
) -> None:
    table = function_env("Api", EMBEDDER="offline")["IDEMPOTENCY_TABLE"]
    dynamodb = boto3.client("dynamodb")
    checked = 0
    for operation in keyed():
        if "idempotency-key-reused" not in operation.kinds(422):
            continue  # It only reads, and answers whatever it is asked.
        given = {**world.body(operation), "headers": {"idempotency-key": f"one-{operation.name}"}}
        first = world.ask(operation, world.query(operation), **given)
        assert first.status < 300, (operation, first.body)
        entries = dynamodb.scan(TableName=table)["Items"]
        assert len(entries) == 1, "a key belongs to one operation"
        reused = {"S": "another request's hash"}
        dynamodb.put_item(TableName=table, Item={**entries[0], "validation": reused})
        answer = world.ask(operation, world.query(operation), **given)
        assert (answer.status, answer.body["type"]) == (
            422,
            "urn:problem-type:magpie:idempotency-key-reused",
        ), operation
        busy = {**entries[0], "status": {"S": "INPROGRESS"}, "in_progress_expiration": {"N": "9999999999999"}}
        dynamodb.put_item(TableName=table, Item=busy)
        answer = world.ask(operation, world.query(operation), **given)
        assert (answer.status, answer.body["type"]) == (
            409,
            "urn:problem-type:magpie:request-in-progress",
        ), operation
        assert int(answer.headers["retry-after"]) > 0
        dynamodb.delete_item(TableName=table, Key={"id": entries[0]["id"]})
        checked += 1
    assert checked


def steady(body: Any) -> Any:
    """An answer without what is fresh each time: forms, and times of now."""
    if isinstance(body, dict):
        fresh = ("upload", "expires_at", "seconds", "took_ms", "updated_at")
        return {name: steady(value) for name, value in body.items() if name not in fresh}
    return [steady(value) for value in body] if isinstance(body, list) else body


def rows(db: Database) -> dict[str, int]:
    """How many rows each table has."""
    tables = db.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(tables) > 5
    counts = {}
    for table in tables:
        counted = db.execute(sql.SQL("SELECT count(*) AS n FROM {}").format(sql.Identifier(table["relname"])))
        counts[table["relname"]] = counted.fetchone()["n"]  # type: ignore[index]
    return counts


# Bodies


def hostile_bodies(example: Any) -> Iterator[Any]:
    """Bodies as nobody means them: bytes or text as they are sent."""
    yield from (b"", b"{", b"\xff\xfe", b"\x00", b"nul", b"null", b"true", b"0", b'""', b"[]", b"[[]]", b"{}")
    yield from (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"\xef\xbb\xbf{}", b"{} {}", b"'{}'")
    yield b"[" * 10_000
    yield b'{"a":' * 10_000
    yield b"[" * 10_000 + b"]" * 10_000
    yield b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    yield json.dumps({"filename": "x" * 1_000_000}).encode()
    yield json.dumps({f"name {number}": number for number in range(30_000)}).encode()
    yield json.dumps({"x" * 500_000: 1}).encode()
    yield b"1" * 100_000
    odd: tuple[Any, ...] = (
        None, True, -1, 0, 2**63, 10**400, -1e308, 1e-320, "", "\x00", "\ud800", "x" * 100_000, [], {}, [[]],
        [None] * 1000, {"\x00": "\x00"}, {"a": {"a": {}}}, float("nan"), float("inf"), "NaN", "١٢",
        "2026-02-30T25:00:00Z", "'; DROP TABLE items; --", "../../etc/passwd", "%00", "${jndi:x}",
    )  # fmt: skip
    if isinstance(example, dict):
        for name in example:
            for value in odd:
                yield json.dumps({**example, name: value}).encode()
            # A name twice: the last one counts, or none.
            yield (json.dumps(example)[:-1] + f", {json.dumps(name)}: null}}").encode()
        yield json.dumps({**example, "no such field": 1}).encode()
        yield json.dumps([example]).encode()
        yield json.dumps(json.dumps(example)).encode()


def test_no_body_breaks_anything(world: World) -> None:
    for operation in operations():
        if operation.method == "GET":
            continue
        example = world.fitted(operation.example())
        kept = dict(world.ids)
        for body in hostile_bodies(example):
            if operation.method == "DELETE" and body.strip() in (b"", b"{}"):
                continue  # That is asked in earnest.
            world.ask(
                operation, world.query(operation), body=body, headers={"content-type": "application/json"}
            )
        assert world.ids == kept


def taking_bodies() -> list[Operation]:
    found = [operation for operation in operations() if operation.takes_body]
    assert len(found) > 3
    return found


def wrong_fields(answer: Answer) -> list[str]:
    assert (answer.status, answer.body["type"]) == (422, "urn:problem-type:magpie:invalid-input"), answer.body
    return [error["field"] for error in answer.body["errors"]]


def test_a_field_that_nobody_knows_is_refused_everywhere(world: World) -> None:
    for operation in taking_bodies():
        body = {**world.fitted(operation.example()), "no_such_field": 1}
        answer = world.ask(operation, world.query(operation), body=body)
        assert wrong_fields(answer) == ["body.no_such_field"], operation


def test_a_number_or_a_truth_as_text_is_refused_everywhere(world: World) -> None:
    checked = 0
    for operation in taking_bodies():
        for name, kinds in operation.fields().items():
            if not kinds & {"integer", "number", "boolean"}:
                continue
            for value in ("1", *([1] if "boolean" in kinds else [True])):
                body = {**world.fitted(operation.example()), name: value}
                answer = world.ask(operation, world.query(operation), body=body)
                assert wrong_fields(answer) == [f"body.{name}"], operation
                checked += 1
    assert checked > 10


def test_a_problem_has_an_end_whatever_is_wrong(world: World) -> None:
    """Of each letter of the names JSON makes twelve."""
    names = [f"{number} {chr(0x1F600) * 300}" for number in range(1000)]
    for operation in taking_bodies():
        body = {**world.fitted(operation.example()), **dict.fromkeys(names, 1)}
        answer = world.ask(operation, world.query(operation), body=body)
        assert len(wrong_fields(answer)) == problems.MAX_ERRORS, operation
        assert len(json.dumps(answer.body)) < 32_000


def test_a_body_of_another_type_is_refused(world: World) -> None:
    checked = 0
    for operation in operations():
        if operation.takes_body and operation.said["requestBody"]["required"]:
            for kind in (
                "text/plain",
                "multipart/form-data",
                "application/x-www-form-urlencoded",
                "image/png",
            ):
                answer = world.ask(
                    operation, world.query(operation), body=b"filename=a", headers={"content-type": kind}
                )
                assert answer.status == 415, operation
            checked += 1
    assert checked


# Queries


ODD_VALUES = (
    "", " ", "\x00", "a\x00b", "\ud800", "0", "-1", "101", "9" * 400, "1e3", "1.5", "NaN", "Infinity", "٣",
    "true", "null", "undefined", "[]", "{}", "x" * 10_000, "'; DROP TABLE items; --", "%", "_", "\\",
    "2026-02-30",
    "0000-00-00", "99999-01-01", "2026-11-20T10:00:00", "no such value", ",", "a,b,,c",
    "00000000-0000-0000-0000-000000000000",
)  # fmt: skip


def test_no_query_breaks_anything(world: World) -> None:
    checked = 0
    for operation in operations():
        if operation.method == "DELETE":
            continue
        for parameter in operation.parameters:
            if parameter["in"] != "query":
                continue
            name, usual = parameter["name"], world.query(operation)
            for value in ODD_VALUES:
                world.ask(operation, {**usual, name: value}, **world.body(operation))
            world.ask(operation, f"{name}=1&{name}=2", **world.body(operation))
            world.ask(operation, f"{name}&{name}=", **world.body(operation))
            world.ask(operation, f"{name}=%ff%fe", **world.body(operation))
            checked += 1
        world.ask(
            operation,
            {**world.query(operation), "no-such-parameter": "1", "\x00": "\x00"},
            **world.body(operation),
        )
    assert checked > 3


def test_a_limit_out_of_bounds_is_refused_everywhere(world: World) -> None:
    checked = 0
    for operation in operations():
        if "limit" in {each["name"] for each in operation.parameters}:
            for limit in ("0", "-1", "101", "ten", "1.5", "9" * 30):
                answer = world.ask(operation, {**world.query(operation), "limit": limit})
                assert (answer.status, answer.body["type"]) == (422, "urn:problem-type:magpie:invalid-input")
                assert [error["field"] for error in answer.body["errors"]] == ["query.limit"]
            checked += 1
    assert checked > 3


def test_a_cursor_of_nobody_s_is_refused_everywhere(world: World) -> None:
    checked = 0
    for operation in operations():
        if "cursor" in {each["name"] for each in operation.parameters}:
            for cursor in ("", "garbage", "!!!", "é", "x" * 9000, "W10", "bnVsbA", "\x00", "e30"):
                answer = world.ask(operation, {**world.query(operation), "cursor": cursor})
                if "{" in operation.path and answer.status == 404:
                    continue  # There is no such thing to list anything of.
                assert (answer.status, answer.body["type"]) == (400, "urn:problem-type:magpie:invalid-cursor")
            checked += 1
    assert checked > 2


# Whatever the document allows, and what it does not


NO_ROUTE = {problems.TYPE_PREFIX + kind for kind in ("not-found", "method-not-allowed")}
EXAMPLES = 6
"""Of each sort for each operation; the same ones every time."""


def test_every_answer_to_generated_requests_is_one_of_the_document_s(world: World) -> None:
    schema = schemathesis.openapi.from_dict(document())
    schema.app = wsgi.application(world.caller, IMPATIENT)
    asked: Counter[str] = Counter()

    def ask(case: schemathesis.Case) -> None:
        asked[case.method] += 1
        if case.path_parameters and asked[case.method] % 2 and case.method != "DELETE":
            case.path_parameters = {name: world.ids[name] for name in case.path_parameters}
        response = case.call()
        is_json = "json" in (response.headers.get("content-type") or [""])[0]
        headers = {name: values[0] for name, values in response.headers.items()}
        answer = Answer(response.status_code, headers, response.json() if is_json else response.text)
        operation = Operation(case.method, case.path)
        # A path that generated text made another one, or none.
        lost = answer.status in (404, 405) and answer.body["type"] in NO_ROUTE
        told = unsound(answer) or (None if lost else misfit(operation, answer))
        if told:
            world.wrong.append(f"{told}\n{case.as_curl_command()}")

    # What deletes the account comes last.
    every = sorted((found.ok() for found in schema.get_all_operations()), key=lambda each: each.path == "/me")
    for operation in every:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            strategy = operation.as_strategy(generation_mode=mode)
            with suppress(Unsatisfiable):  # Nothing can be wrong about a request without parameters.
                GENERATED(given(strategy)(ask))()
    assert asked["GET"] > 100
    assert asked["POST"] > 50


GENERATED = settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
