"""How well search answers a set of questions about 303 described pictures, and that it gets no worse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from cli import measures
from functions.api.handler import lambda_handler
from functions.embedder.text import embedded_text
from tests.conftest import LambdaContext
from tests.fakes.http_api import Caller
from tests.retrieval import __main__ as written
from tests.retrieval import collection, loading, measuring

Database = psycopg.Connection[dict[str, Any]]

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 0.02
LEAST_EMPTY = 0.8


def recorded() -> measuring.Figures:
    figures: measuring.Figures = json.loads(measuring.FIGURES.read_text(encoding="utf-8"))
    return figures


def test_search_is_as_good_as_it_was(function_env: Callable[..., dict[str, str]], db: Database) -> None:
    """If worse is on purpose: `python -m tests.retrieval.measuring --record`, and docs/search.md."""
    environment = function_env("Api", EMBEDDER="offline")
    loading.load(db, measuring.USER, collection.pictures())
    db.execute("ANALYZE")
    caller = Caller(measuring.USER, environment["USER_POOL_CLIENT_ID"])

    def search(**asked: Any) -> list[dict[str, Any]]:
        answer = lambda_handler(caller.event("GET", "/search", asked), LambdaContext(remaining_ms=15_000))
        assert answer["statusCode"] == 200, answer["body"]
        return list(json.loads(answer["body"])["hits"])

    measured, before = measuring.figures(search), recorded()
    for half in collection.HALVES:
        for mode in loading.MODES:
            now, then = measured[half][mode]["all"]["ndcg@10"], before[half][mode]["all"]["ndcg@10"]
            assert now is not None
            assert then is not None
            assert now >= then - TOLERANCE, (half, mode)
        for mode in ("text", "hybrid"):
            empty = measured[half][mode]["all"]["no_answer_empty"]
            assert empty is not None
            assert empty >= LEAST_EMPTY, (half, mode)


def test_what_is_recorded_meets_the_goals_and_is_what_the_docs_show() -> None:
    held_out = recorded()[collection.HELD_OUT]
    assert (held_out["text"]["all"]["ndcg@10"] or 0) >= 0.93
    assert (held_out["hybrid"]["all"]["ndcg@10"] or 0) >= 0.94
    assert measuring.table(recorded()) in (ROOT / "docs" / "search.md").read_text(encoding="utf-8")


def test_the_set_is_written_as_import_and_eval_read_it(tmp_path: Path) -> None:
    assert written.main([str(tmp_path)]) == 0
    exported = json.loads((tmp_path / "collection.json").read_text())
    items, analyses = (exported["tables"][name] for name in ("items", "analyses"))
    assert len(items) == len(analyses) == len({item["id"] for item in items}) == 303
    assert {each["item_id"] for each in analyses} == {item["id"] for item in items}
    assert all(embedded_text(json.loads(each["raw_response"])) for each in analyses)
    queries = measures.read_queries(tmp_path / "queries.json")
    assert len(queries) == 177
    assert {item for query in queries for item in query.expected} <= {item["id"] for item in items}
    assert measures.disagreements(queries) == []
    halves = [measures.read_queries(tmp_path / f"queries-{half}.json") for half in collection.HALVES]
    assert sorted(query.query_id for half in halves for query in half) == sorted(q.query_id for q in queries)
    assert written.main([]) == 2
