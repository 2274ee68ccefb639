"""The result of an evaluation: one document, which `--json` prints, tables and pages show, and files keep."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cli import measures
from cli.evaluating.answers import Answered, Asked
from cli.measures import GRADES, Query

RELEVANCES = {grade: name for name, grade in GRADES.items()}
SHOWN_WARNINGS = 5
SEARCHABLE = {"processed", "analyzed", "ready", "failed"}
"""Statuses of items that a search may find."""

Document = dict[str, Any]


def depths(k: int) -> tuple[int, ...]:
    """Return how many hits are looked at, where a person asked for `k` of them."""
    return tuple(sorted({*measures.DEPTHS, k}))


def fetched(k: int) -> int:
    """Return how many hits are asked for."""
    return max(depths(k))


def document(
    queries: Sequence[Query], rounds: Sequence[Asked], items: Mapping[str, Document | None], k: int
) -> Document:
    """Return the whole result.

    Args:
        rounds: one for each mode.
        items: what is known of the items that were expected and not found; None of those that are not there.
    """
    known = {hit["item_id"]: hit for asked in rounds for answer in asked.answered for hit in answer.hits}
    known |= {item_id: item for item_id, item in items.items() if item is not None}
    return {
        "modes": {asked.mode: _mode(asked, known, k) for asked in rounds if asked.answered},
        "unscored": {asked.mode: asked.unscored for asked in rounds if asked.unscored},
        "queries": len(queries),
        "without_answer": sum(not query.expected for query in queries),
        "k": k,
        "fetched": fetched(k),
        "missing_items": sorted(item_id for item_id, item in items.items() if item is None),
        "unsearchable_items": {
            item_id: item["status"]
            for item_id, item in sorted(items.items())
            if item is not None and item["status"] not in SEARCHABLE
        },
        "warnings": measures.disagreements(queries),
    }


def unfound(queries: Iterable[Query], rounds: Iterable[Asked]) -> list[str]:
    """Return the expected items that no question found: whether they are there is not known."""
    found = {item_id for asked in rounds for answer in asked.answered for item_id in answer.ranking}
    return sorted({item_id for query in queries for item_id in query.expected} - found)


def _mode(asked: Asked, known: Mapping[str, Document], k: int) -> Document:
    queries = [answer.query for answer in asked.answered]
    rankings = {answer.query.query_id: answer.ranking for answer in asked.answered}
    each = measures.measure_each(queries, rankings, depths(k))

    def figures(answers: Sequence[Answered]) -> Document:
        chosen = [answer.query for answer in answers]
        averages = measures.average(chosen, rankings, each, depths(k))
        return {
            "count": len(answers),
            **{name: _rounded(value) for name, value in averages.items()},
            "latency_ms": latencies([answer.milliseconds for answer in answers]),
        }

    types = dict.fromkeys(query.type for query in queries)
    return {
        **figures(asked.answered),
        "types": {
            kind: figures([answer for answer in asked.answered if answer.query.type == kind])
            for kind in types
        },
        "queries": [_query(answer, each, known) for answer in asked.answered],
    }


def _query(
    answer: Answered, each: Mapping[str, Mapping[str, float]], known: Mapping[str, Document]
) -> Document:
    query = answer.query
    places: dict[str, int] = {}
    for place, item_id in enumerate(answer.ranking, start=1):
        places.setdefault(item_id, place)
    values: dict[str, Any] = {name: _rounded(value) for name, value in each.get(query.query_id, {}).items()}
    if not query.expected:
        values = {"empty": not answer.hits}
    return {
        "query_id": query.query_id,
        "query_text": query.text,
        "query_type": query.type,
        **values,
        "latency_ms": round(answer.milliseconds, 3),
        "expected": [
            {
                "item_id": item_id,
                "relevance": RELEVANCES[grade],
                "place": places.get(item_id),
                **_names(known.get(item_id)),
            }
            for item_id, grade in sorted(query.expected.items(), key=lambda pair: -pair[1])
        ],
        "found": [
            {
                "item_id": hit["item_id"],
                "relevance": RELEVANCES.get(query.expected.get(hit["item_id"], 0)),
                "score": hit.get("score"),
                **_names(hit),
            }
            for hit in answer.hits
        ],
    }


def _names(item: Mapping[str, Any] | None) -> Document:
    return {name: (item or {}).get(name) for name in ("filename", "headline")}


def latencies(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile, by nearest rank: both are times that were measured."""
    ordered = sorted(milliseconds)
    return {
        name: round(ordered[math.ceil(share * len(ordered)) - 1], 3)
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def worst(mode: Document, k: int, count: int) -> list[Document]:
    """Return the queries of a mode that it does worst on, the worst first; none that has a perfect answer."""
    imperfect = [query for query in mode["queries"] if query.get(f"ndcg@{k}", 1) < 1]
    return sorted(imperfect, key=lambda query: (query[f"ndcg@{k}"], query["mrr"]))[:count]


def not_empty(mode: Document, count: int) -> list[Document]:
    """Return the queries for which something was found that should have stayed empty, the surest first."""
    wrong = [query for query in mode["queries"] if query.get("empty") is False]
    return sorted(wrong, key=lambda query: -(query["found"][0]["score"] or 0))[:count]
