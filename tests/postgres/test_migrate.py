"""The function that brings the database up to date, on a real PostgreSQL."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from functions.migrate import handler, runner
from functions.migrate.runner import Migration, MigrationError
from shared import parameters
from shared.database import DatabaseEnv, connect
from shared.errors import TransientError

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "events/samples/migrate"

ONE = Migration("0001_one.sql", b"CREATE TABLE one (id int); INSERT INTO one VALUES (1);")
TWO = Migration("0002_two.sql", b"CREATE TABLE two (id int);")
BROKEN = Migration("0002_two.sql", b"CREATE TABLE two (id int); SELECT nothing FROM nowhere;")


@pytest.fixture
def url(database_server: str) -> Iterator[str]:
    """URL of an empty database, where nobody has migrated anything."""
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty")
        yield database_server.replace("/postgres?", "/empty?")
        connection.execute("DROP DATABASE empty WITH (FORCE)")


@pytest.fixture
def connection(url: str) -> Iterator["psycopg.Connection[dict[str, object]]"]:
    with connect(url) as connection:
        yield connection


def tables(url: str) -> set[str]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row["tablename"] for row in rows}


def test_files_are_applied_in_order_and_recorded(url, connection):
    assert runner.apply(connection, [ONE, TWO], 10) == ["0001_one.sql", "0002_two.sql"]
    assert tables(url) == {"one", "two", "schema_migrations"}
    rows = connection.execute(
        "SELECT name, sha256, applied_at FROM schema_migrations ORDER BY name"
    ).fetchall()
    assert [(row["name"], row["sha256"]) for row in rows] == [(m.name, m.sha256) for m in (ONE, TWO)]
    assert all(row["applied_at"] for row in rows)


def test_a_second_run_changes_nothing(connection):
    runner.apply(connection, [ONE], 10)
    assert runner.apply(connection, [ONE], 10) == []
    assert runner.apply(connection, [ONE, TWO], 10) == ["0002_two.sql"]


def test_a_failing_file_leaves_nothing_of_itself_and_keeps_those_before(url, connection):
    with pytest.raises(MigrationError, match=r"0002_two.sql fails: relation .nowhere. does not exist"):
        runner.apply(connection, [ONE, BROKEN], 10)
    assert tables(url) == {"one", "schema_migrations"}
    assert runner.apply(connection, [ONE, TWO], 10) == ["0002_two.sql"]


def test_an_edited_file_is_refused(connection):
    runner.apply(connection, [ONE], 10)
    edited = Migration(ONE.name, ONE.sql + b" -- changed my mind")
    with pytest.raises(MigrationError, match="0001_one.sql was edited after it was applied"):
        runner.apply(connection, [edited, TWO], 10)


def test_other_line_ends_are_no_edit(connection):
    unix = Migration("0001_one.sql", b"CREATE TABLE one (\n id int\n);\n")
    runner.apply(connection, [unix], 10)
    assert runner.apply(connection, [Migration(unix.name, unix.sql.replace(b"\n", b"\r\n"))], 10) == []


def test_a_rolled_back_deployment_finds_a_database_ahead_of_it(connection):
    runner.apply(connection, [ONE, TWO], 10)
    assert runner.apply(connection, [ONE], 10) == []


def test_an_applied_file_that_got_another_name_is_refused(connection):
    runner.apply(connection, [ONE], 10)
    with pytest.raises(MigrationError, match="0001_one.sql was applied and is gone or has another name"):
        runner.apply(connection, [Migration("0001_uno.sql", ONE.sql)], 10)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "there are no migrations"),
        (["0001_a.sql", "0001_b.sql"], "number 0001 is there twice: 0001_b.sql"),
        (["0001_a.sql", "0003_c.sql"], "number 0002 is missing before 0003_c.sql"),
        (["0002_b.sql"], "number 0001 is missing"),
        (["1_a.sql"], "1_a.sql is not named like"),
        (["0001-a.sql"], "0001-a.sql is not named like"),
    ],
)
def test_files_that_make_no_sequence_are_refused(names, sentence):
    with pytest.raises(MigrationError, match=sentence):
        runner.ordered([Migration(name, b"") for name in names])


def test_the_projects_own_files_are_found_in_order():
    found = runner.find()
    assert [migration.name for migration in found] == sorted(
        f.name for f in (ROOT / "migrations").glob("*.sql")
    )
    assert found


def test_the_projects_own_files_apply_where_the_extension_is_already_there(url, connection):
    connection.execute("CREATE EXTENSION vector")
    applied = runner.apply(connection, runner.find(), 30)
    assert applied[0] == "0001_foundation.sql"
    assert {"items", "embeddings", "schema_migrations"} <= tables(url)


def test_of_two_runs_at_once_one_waits_and_finds_nothing_to_do(url):
    slow = Migration("0001_slow.sql", b"CREATE TABLE slow (id int); SELECT pg_sleep(0.3);")
    results: list[list[str]] = []

    def run() -> None:
        with connect(url) as own:
            results.append(runner.apply(own, [slow, TWO], 10))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for result in results for name in result) == ["0001_slow.sql", "0002_two.sql"]


def test_waiting_for_another_run_ends_in_time(url, connection):
    with connect(url) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", [runner.LOCK])
        with pytest.raises(TransientError, match="the database gave up: QueryCanceled"):
            runner.apply(connection, [ONE], 1)
    assert runner.apply(connection, [ONE], 1) == ["0001_one.sql"]


class Answers(HTTPServer):
    """Stands where CloudFormation reads its answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _AnswerHandler)
        self.received: list[tuple[str | None, dict[str, object]]] = []
        self.refusals = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/answer"


class _AnswerHandler(BaseHTTPRequestHandler):
    server: Answers

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.refusals:
            self.server.refusals -= 1
            self.send_response(503)
        else:
            self.server.received.append((self.headers["content-type"], json.loads(body)))
            self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answers() -> Iterator[Answers]:
    server = Answers()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def given_url(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The function finds this database's URL where the template says."""
    monkeypatch.setenv("DATABASE_URL_PARAMETER", "/magpie/test/database-url")
    monkeypatch.setattr(parameters, "get", {"/magpie/test/database-url": url}.__getitem__)
    DatabaseEnv.load.cache_clear()
    yield url
    DatabaseEnv.load.cache_clear()


def request(answers: Answers, kind: str) -> dict[str, object]:
    sample = json.loads((SAMPLES / "custom_resource.json").read_text())
    return {**sample, "ResponseURL": answers.url, "RequestType": kind}


def test_called_by_hand_it_says_what_it_applied(given_url, lambda_context):
    event = json.loads((SAMPLES / "direct.json").read_text())
    result = handler.lambda_handler(event, lambda_context)
    assert result == {"applied": [migration.name for migration in runner.find()]}
    assert handler.lambda_handler(event, lambda_context) == {"applied": []}


def test_cloudformation_hears_of_success(given_url, answers, lambda_context):
    handler.lambda_handler(request(answers, "Create"), lambda_context)
    ((content_type, body),) = answers.received
    assert body["Status"] == "SUCCESS"
    assert body["RequestId"] == "0f4a8cf4-8a4d-4d1a-9f27-3c6c7f4dbd52"
    assert body["LogicalResourceId"] == "Migration"
    assert body["Data"]["Applied"].startswith("0001_foundation.sql")
    assert content_type == ""
    assert "items" in tables(given_url)


def test_the_resource_keeps_its_id_when_it_is_updated(given_url, answers, lambda_context):
    handler.lambda_handler(request(answers, "Create"), lambda_context)
    created = answers.received[0][1]["PhysicalResourceId"]
    event = {**request(answers, "Update"), "PhysicalResourceId": created}
    handler.lambda_handler(event, lambda_context)
    assert answers.received[1][1]["PhysicalResourceId"] == created


def test_deleting_the_stack_leaves_the_data(given_url, answers, lambda_context):
    handler.lambda_handler(request(answers, "Create"), lambda_context)
    handler.lambda_handler(request(answers, "Delete"), lambda_context)
    assert answers.received[1][1]["Status"] == "SUCCESS"
    assert "items" in tables(given_url)


def test_cloudformation_hears_of_a_failure_and_why(given_url, answers, lambda_context, monkeypatch):
    monkeypatch.setattr(runner, "find", lambda: [ONE, BROKEN])
    handler.lambda_handler(request(answers, "Create"), lambda_context)
    ((_, body),) = answers.received
    assert body["Status"] == "FAILED"
    assert body["Reason"] == '0002_two.sql fails: relation "nowhere" does not exist'


def test_cloudformation_hears_of_a_failure_that_nobody_foresaw(answers, lambda_context, monkeypatch):
    def explode() -> list[Migration]:
        raise RuntimeError("postgresql://user:secret@host/db")

    monkeypatch.setattr(runner, "find", explode)
    handler.lambda_handler(request(answers, "Create"), lambda_context)
    ((_, body),) = answers.received
    assert body["Status"] == "FAILED"
    assert body["Reason"] == "RuntimeError: see the log of magpie-test"


def test_an_answer_that_is_refused_at_first_is_sent_again(given_url, answers, lambda_context):
    answers.refusals = 2
    handler.lambda_handler(request(answers, "Create"), lambda_context)
    assert len(answers.received) == 1


def test_a_response_url_that_is_not_https_is_not_used(lambda_context, monkeypatch):
    event = json.loads((SAMPLES / "custom_resource.json").read_text())
    monkeypatch.setattr(runner, "find", lambda: [])
    with pytest.raises(ValueError, match="a ResponseURL is HTTPS"):
        handler.lambda_handler({**event, "ResponseURL": "http://169.254.169.254/"}, lambda_context)
