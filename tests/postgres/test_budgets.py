"""Nothing costs more calls, statements or pages than it did: what `budgets.json` says, and no more."""

import importlib
import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
from PIL import Image
from psycopg.sql import SQL, Identifier, Literal

from benchmarks.collection import Collection, load
from functions.analyzer import claude, versions
from shared import database, quotas
from tests.conftest import Aws, LambdaContext, client
from tests.fakes import anthropic_server, voyage_server
from tests.fakes.anthropic_server import AnthropicServer, analysis
from tests.fakes.http_api import Caller
from tests.postgres import budgets
from tests.postgres.budgets import SLACK, Spent, spending

Database = psycopg.Connection[dict[str, Any]]

QUEUES = {
    "image_processor": "ImageProcessorQueue",
    "analyzer": "AnalyzerQueue",
    "embedder": "EmbedderQueue",
}
OWN, OTHERS = 2_000, 9
"""How many pictures somebody has, and how many others have as many."""
CROWDED = ("items", "analyses", "embeddings", "search_documents", "search_words")


def picture(number: int) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((320, 200 + number)).convert("RGB").save(out, "JPEG")
    return out.getvalue()


class Way:
    """The way of pictures through the API and the stages, with models that cost money."""

    def __init__(self, aws: Aws, caller: Caller, model: AnthropicServer) -> None:
        self._aws = aws
        self._caller = caller
        self._model = model
        self._brought_in = 0

    def upload(self) -> Spent:
        """Bring in a new picture; returns what the API has spent on it."""
        self._brought_in += 1
        with spending() as spent:
            made = self._caller.post("/items", {"filename": "a.jpg"})
        form = made.body["upload"]
        files = {"file": picture(self._brought_in)}
        assert requests.post(form["url"], data=form["fields"], files=files, timeout=5).ok
        said = json.dumps(analysis(headline=f"Cup number {self._brought_in}"))
        self._model.will_answer(anthropic_server.message(said))
        return spent

    def take(self, stage: str) -> list[dict[str, Any]]:
        """Empty a stage's queue; returns its messages as Lambda hands them to the function."""
        url = self._aws.resources.ref(QUEUES[stage])
        records = []
        while found := client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                records.append(
                    {
                        "messageId": message["MessageId"],
                        "receiptHandle": message["ReceiptHandle"],
                        "body": message["Body"],
                        "attributes": {"ApproximateReceiveCount": "1"},
                        "eventSourceARN": self._aws.resources.attribute(QUEUES[stage], "Arn"),
                    }
                )
        return records

    def work(self, stage: str, records: list[dict[str, Any]]) -> Spent:
        """Give a stage one batch; returns what it has spent."""
        handler = importlib.import_module(f"functions.{stage}.handler").lambda_handler
        with spending() as spent:
            answer = handler({"Records": records}, LambdaContext())
        assert answer == {"batchItemFailures": []}
        return spent

    def through(self) -> dict[str, Spent]:
        """Bring in a picture and give each stage its message twice; returns what each work has spent."""
        spent = {"api, POST /items": self.upload()}
        for stage in QUEUES:
            message = self.take(stage)[:1]
            spent[stage] = self.work(stage, message)
            spent[f"{stage}, the same message again"] = self.work(stage, message)
        return spent

    def together(self, count: int) -> Spent:
        """Bring in pictures, and return what the embedder spends on all of them in one batch."""
        for _ in range(count):
            self.upload()
        for stage in ("image_processor", "analyzer"):
            for record in self.take(stage):
                self.work(stage, [record])
        records = self.take("embedder")
        assert len(records) == count
        return self.work("embedder", records)


@pytest.fixture
def way(
    aws: Aws, db: Database, function_env: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Way]:
    with AnthropicServer() as model, voyage_server.running() as voyage:
        environment: dict[str, str] = {}
        for name in ("Api", "ImageProcessor", "Analyzer", "Embedder"):
            environment |= function_env(name, VOYAGE_BASE_URL=voyage.base_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", model.url)
        # In the last minutes of a month the money of two is held.
        monkeypatch.setattr(quotas, "period", lambda _: "2026-11")
        aws.put_parameter(environment["ANTHROPIC_KEY_PARAMETER"], "sk-not-a-real-key")
        aws.put_parameter(environment["VOYAGE_KEY_PARAMETER"], voyage_server.KEY)
        claude.forget()
        yield Way(aws, Caller("alice", environment["USER_POOL_CLIENT_ID"]), model)
        claude.forget()


def test_an_item_costs_the_calls_and_statements_that_the_budget_has_a_reason_for(way: Way) -> None:
    way.through()  # opens the connection, reads the parameters
    spent = way.through() | {"embedder, ten items in one batch": way.together(10)}
    assert spent.keys() == budgets.read()["work"].keys()
    differences = {
        f"{work}, {kind}": found
        for work, each in spent.items()
        for kind in ("aws", "sql")
        if (found := budgets.difference(getattr(each, kind), budgets.allowed(work, kind)))
    }
    assert not differences, (
        f"change the code, or tests/postgres/budgets.json: {json.dumps(differences, indent=1)}"
    )


def test_a_call_and_a_statement_more_are_noticed(way: Way, aws: Aws) -> None:
    database.connection()
    with spending() as spent:
        assert versions.find("alice", uuid4()) is None
        with database.transaction():
            versions.find("alice", uuid4())
        client("s3").list_objects_v2(Bucket=aws.media)
    assert spent.aws == {"s3:ListObjectsV2": 1}
    assert spent.sql == {"SELECT items": 2, "BEGIN": 1, "COMMIT": 1}
    assert budgets.difference(spent.sql, {"SELECT items": 1, "BEGIN": 1, "DELETE items": 1}) == [
        "COMMIT: 1 times, and 0 in the budget",
        "DELETE items: 0 times, and 1 in the budget",
        "SELECT items: 2 times, and 1 in the budget",
    ]


def test_every_reason_is_on_the_page() -> None:
    text = budgets.PAGE.read_text()
    assert budgets.BEGINS in text
    assert budgets.page(text) == text, "run python -m tests.postgres.budgets"
    entries = [
        each for work in budgets.read()["work"].values() for kind in ("aws", "sql") for each in work[kind]
    ]
    assert entries
    assert all(each["why"].strip() for each in entries)


# Pages


@pytest.fixture(scope="module")
def crowded(database_server: str) -> tuple[str, Collection]:
    """A database of ten people with 2,000 pictures each, their rows well mixed; and the pictures of one."""
    mine = Collection(((1, OWN),))
    url = database_server.replace("/postgres?", "/crowded?")
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE crowded TEMPLATE template_magpie")
    with psycopg.connect(url, autocommit=True) as connection:
        load(mine, connection)
        _multiply(connection)
    return url, mine  # which goes with the server


def _multiply(connection: "psycopg.Connection[Any]") -> None:
    """Give others the same rows, and mix them as a table is mixed that many fill at once."""
    connection.execute("SET session_replication_role = replica")  # what the triggers would keep is copied too
    for table in CROWDED:
        staged = {"table": Identifier(table), "staged": Identifier(f"staged_{table}")}
        connection.execute(SQL("CREATE TEMP TABLE {staged} AS SELECT * FROM {table}").format(**staged))
    connection.execute(SQL("TRUNCATE {} CASCADE").format(SQL(", ").join(map(Identifier, CROWDED))))
    indexes = connection.execute(
        """
        SELECT indexname, indexdef FROM pg_indexes
         WHERE tablename = ANY(%s) AND indexname NOT IN (SELECT conname FROM pg_constraint)
        """,
        (list(CROWDED),),
    ).fetchall()
    for name, _ in indexes:
        connection.execute(SQL("DROP INDEX {}").format(Identifier(name)))
    for table in CROWDED:
        columns = connection.execute(
            """
            SELECT column_name FROM information_schema.columns
             WHERE table_name = %s AND is_generated = 'NEVER' AND column_name <> 'user_id'
            """,
            (table,),
        ).fetchall()
        copy = SQL(
            """
            INSERT INTO {table} (user_id, {columns})
            SELECT CASE n WHEN 0 THEN user_id ELSE 'other-' || n END, {columns}
              FROM {staged} AS staged CROSS JOIN generate_series(0, {others}) AS n
             ORDER BY md5(staged.ctid::text || n)
            """
        )
        names = {
            "table": Identifier(table),
            "staged": Identifier(f"staged_{table}"),
            "columns": SQL(", ").join(Identifier(name) for (name,) in columns),
            "others": Literal(OTHERS),
        }
        connection.execute(copy.format(**names))
    for (
        _,
        definition,
    ) in indexes:  # at the end, and at once: an index of words takes ten times as long row by row
        connection.execute(definition)
    for table in CROWDED:
        connection.execute(SQL("VACUUM (ANALYZE) {}").format(Identifier(table)))


@pytest.fixture
def pages(
    crowded: tuple[str, Collection], aws: Aws, function_env: Callable[..., dict[str, str]]
) -> Iterator[dict[str, int]]:
    """How many pages each query of the API reads for one of these people."""
    url, mine = crowded
    environment = function_env("Api", EMBEDDER="offline")
    aws.put_parameter(environment["DATABASE_URL_PARAMETER"], url)
    call = Caller(mine.users[0], environment["USER_POOL_CLIENT_ID"])
    (question,) = mine.questions(1)
    asked = {
        "list": ("/items", {}),
        "show": (f"/items/{mine.pictures[0].item_id}", {}),
        "search by words": ("/search", {"q": question, "mode": "text"}),
        "search by meaning": ("/search", {"q": question, "mode": "vector"}),
        "search by both": ("/search", {"q": question, "mode": "hybrid"}),
    }
    try:
        yield {name: _pages(url, call, path, query) for name, (path, query) in asked.items()}
    finally:
        database.close()


def _pages(url: str, call: Caller, path: str, query: dict[str, Any]) -> int:
    with budgets.statements() as sent:
        answer = call.get(path, **query)
    assert answer.status == 200, answer.body
    assert answer.body.get("items") or answer.body.get("hits") or answer.body.get("item_id")
    with database.connect(url) as connection:
        return sum(budgets.pages_of(connection, *each) for each in sent)


def test_a_query_reads_no_more_pages_than_its_budget(pages: dict[str, int]) -> None:
    allowed = budgets.read()["buffers"]["pages"]
    assert pages.keys() == allowed.keys()
    over = {
        name: f"{read} pages, and {allowed[name]} in the budget"
        for name, read in pages.items()
        if read > SLACK * allowed[name]
    }
    assert not over
    # A budget that is far above what is read would hold nobody back.
    assert all(read * SLACK * SLACK >= allowed[name] for name, read in pages.items()), pages
