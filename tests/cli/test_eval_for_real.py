"""`magpie eval` and `eval-analyses` through the API itself, with part of the retrieval set."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from werkzeug.serving import make_server

from tests.conftest import Aws, LambdaContext
from tests.fakes import wsgi
from tests.fakes.http_api import Caller
from tests.retrieval import collection, loading

Database = psycopg.Connection[dict[str, Any]]

pytest.importorskip("ir_measures", reason="there is no build of it for this kind of machine")

USER = "user-1"
NAMES = ("paella-menu", "ramen-bowl", "sourdough-crumb", "boarding-pass-kef", "puffins-cliff", "corgi-sofa")


@pytest.fixture
def described() -> list[collection.Described]:
    return [each for each in collection.pictures() if each.name in NAMES]


@pytest.fixture
def served(
    function_env: Callable[..., dict[str, str]],
    aws: Aws,
    db: Database,
    here: Path,
    described: list[collection.Described],
) -> Iterator[None]:
    """The API on a port of its own, with a few pictures; whoever is signed in at `here` owns them."""
    environment = function_env("Api", EMBEDDER="offline")
    loading.load(db, USER, described)
    caller = Caller(USER, environment["USER_POOL_CLIENT_ID"])
    server = make_server("127.0.0.1", 0, wsgi.application(caller, LambdaContext()))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stack = json.loads((here / "stack.json").read_text())
    (here / "stack.json").write_text(
        json.dumps({**stack, "api_url": f"http://127.0.0.1:{server.server_port}"})
    )
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def expected(name: str) -> list[dict[str, str]]:
    return [{"item_id": str(collection.item_id(name)), "relevance": "high"}]


def test_a_search_that_answers_is_measured_as_one(run, served, tmp_path):
    questions = {
        "puffins on a cliff": expected("puffins-cliff"),
        "tonkotsu ramen": expected("ramen-bowl"),
        "boarding pass to Iceland": expected("boarding-pass-kef"),
        "xylophone": [],
        "a dragon of another collection": expected("revenue-chart"),
    }
    queries = [
        {"query_id": f"q{n}", "query_text": text, "query_type": "plain", "expected_items": items}
        for n, (text, items) in enumerate(questions.items())
    ]
    path = tmp_path / "queries.json"
    path.write_text(json.dumps({"queries": queries}))

    ran = run("eval", str(path), "--json")

    assert (ran.code, ran.json["unscored"]) == (0, {})
    assert list(ran.json["modes"]) == ["text", "vector", "hybrid"]
    for mode in ran.json["modes"].values():
        assert [query["mrr"] for query in mode["queries"] if query.get("expected")] == [1, 1, 1, 0]
        assert mode["ndcg@10"] == 0.75
    assert ran.json["modes"]["text"]["no_answer_empty"] == 1
    assert ran.json["missing_items"] == [str(collection.item_id("revenue-chart"))]


def test_stored_analyses_are_compared_as_they_were_stored(run, served, tmp_path, described):
    items = [{"item_id": str(each.item_id), "analysis": dict(each.analysis)} for each in described]
    items[0]["analysis"] = {**described[0].analysis, "category": "Work"}
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"items": items}))

    ran = run("eval-analyses", str(path), "--json")

    assert ran.code == 0
    (model,) = ran.json["models"]
    assert (model["provider"], model["model"], model["count"]) == ("by-hand", "by-hand", len(NAMES))
    assert model["fields"].pop("category")["score"] == pytest.approx(1 - 1 / len(NAMES), abs=1e-6)
    assert {each["score"] for each in model["fields"].values()} == {1}
