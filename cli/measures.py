"""Retrieval sets, and how well rankings answer them.

A retrieval set is a file of questions with the items that should be found, each of high, medium or low
relevance. The measures are trec_eval's, computed by ir-measures; what each says is in docs/evaluate.md.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from cli.errors import CommandError

GRADES = {"high": 3, "medium": 2, "low": 1}
"""What an item is worth where it is found. nDCG takes these as they are: linear gain, as trec_eval does."""
DEPTHS = (1, 3, 5, 10)
"""How many of the first hits are looked at."""
LONGEST_QUERY = 1000
"""Characters, as the API takes them."""
SHOWN_FAULTS = 10


@dataclass(frozen=True)
class Query:
    """A question, and what should be found.

    Attributes:
        type: such as `paraphrase`; queries of one type are also averaged by themselves.
        expected: items with their grades, 3 for high to 1 for low. Empty: nothing should be found.
        expected_count: what the file says that `expected` holds, or None.
    """

    query_id: str
    text: str
    type: str
    expected: dict[str, int] = field(default_factory=dict)
    expected_count: int | None = None


def read_queries(path: Path) -> list[Query]:
    """Read a retrieval set.

    Raises:
        CommandError: `bad_queries`; says of every fault where it is, up to ten of them.
        OSError: there is no such file, or it cannot be read.
    """
    document = read_json(path, "bad_queries")
    listed = document.get("queries") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise CommandError("bad_queries", f'{path}: a retrieval set is an object {{"queries": [...]}}.')
    if not listed:
        raise CommandError("bad_queries", f"{path}: there are no queries in it.")
    faults: list[str] = []
    queries: list[Query] = []
    seen: dict[str, int] = {}
    for position, entry in enumerate(listed):
        query = _query(entry, f"queries[{position}]", faults)
        if query is None:
            continue
        first = seen.setdefault(query.query_id, position)
        if first != position:
            faults.append(
                f"queries[{position}]: query_id {query.query_id!r} is that of queries[{first}] already"
            )
        queries.append(query)
    if faults:
        raise CommandError("bad_queries", told(path, faults))
    return queries


def read_json(path: Path, code: str) -> Any:
    """Return what a JSON file holds.

    Raises:
        CommandError: with the given code: it holds no JSON.
        OSError: there is no such file, or it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise CommandError(code, f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CommandError(code, f"{path} is no JSON: {error.msg} at {where}.") from None
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CommandError(code, f"{path} is no JSON: {why}.") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def told(path: Path, faults: Sequence[str]) -> str:
    """Say what is wrong with a file, one fault a sentence."""
    more = len(faults) - SHOWN_FAULTS
    ending = f"; and {more} more" if more > 0 else ""
    return f"{path}: {'; '.join(faults[:SHOWN_FAULTS])}{ending}."


def item_key(item_id: str) -> str:
    """Return an item's id as the API writes it; what is no UUID stays as it is."""
    try:
        return str(UUID(item_id))
    except ValueError:
        return item_id


def _query(entry: Any, place: str, faults: list[str]) -> Query | None:
    """Read one query, adding what is wrong with it to `faults`; None where it cannot be read."""
    if not isinstance(entry, dict):
        faults.append(f"{place} is no object")
        return None
    before = len(faults)
    texts = {}
    for name in ("query_id", "query_text", "query_type"):
        value = entry.get(name)
        if isinstance(value, str) and value.strip():
            texts[name] = value.strip()
        else:
            faults.append(f"{place}: {name} {_found(entry, name)}; it must be a text")
    if len(texts.get("query_text", "")) > LONGEST_QUERY:
        faults.append(f"{place}: query_text is longer than {LONGEST_QUERY} characters")
    expected = _expected(entry, place, faults)
    count = entry.get("expected_count")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        faults.append(f"{place}: expected_count {_found(entry, 'expected_count')}; it must be a whole number")
    if len(faults) > before:
        return None
    return Query(texts["query_id"], texts["query_text"], texts["query_type"], expected, count)


def _expected(entry: dict[str, Any], place: str, faults: list[str]) -> dict[str, int]:
    listed = entry.get("expected_items")
    if not isinstance(listed, list):
        faults.append(f"{place}: expected_items {_found(entry, 'expected_items')}; it must be a list")
        return {}
    expected: dict[str, int] = {}
    for position, item in enumerate(listed):
        where = f"{place}: expected_items[{position}]"
        if not isinstance(item, dict):
            faults.append(f"{where} is no object")
            continue
        item_id, relevance = item.get("item_id"), item.get("relevance")
        if not isinstance(item_id, str) or not item_id.strip():
            faults.append(f"{where}: item_id {_found(item, 'item_id')}; it must be a text")
        elif not isinstance(relevance, str) or relevance not in GRADES:
            faults.append(f"{where}: relevance {_found(item, 'relevance')}; it must be high, medium or low")
        elif item_key(item_id.strip()) in expected:
            faults.append(f"{where}: item_id {item_id!r} is there twice")
        else:
            expected[item_key(item_id.strip())] = GRADES[relevance]
    return expected


def _found(entry: dict[str, Any], name: str) -> str:
    if name not in entry:
        return "is missing"
    text = json.dumps(entry[name])
    return f"is {text if len(text) <= 60 else text[:59] + '…'}"


def disagreements(queries: Iterable[Query]) -> list[str]:
    """Say which queries name another number of items than they say. They are measured by those they name."""
    return [
        f"{query.query_id}: expected_count is {query.expected_count}, but expected_items are "
        f"{len(query.expected)}"
        for query in queries
        if query.expected_count is not None and query.expected_count != len(query.expected)
    ]


def names(depths: Iterable[int] = DEPTHS) -> list[str]:
    """Return the keys of the measures, in the order in which they are shown."""
    return ["mrr", *(f"{name}@{depth}" for name in ("ndcg", "recall", "precision") for depth in depths)]


def measure(
    queries: Sequence[Query], rankings: Mapping[str, Sequence[str]], depths: Sequence[int] = DEPTHS
) -> dict[str, float | None]:
    """Return the averages over queries that have an answer, and `no_answer_empty`: the share of the others
    for which nothing was found. Each is None where there are no such queries.

    Args:
        rankings: for each query what was found, the best first; what is there twice counts once.

    Raises:
        CommandError: `no_measures`, this machine has no library for them.
        KeyError: a query has no ranking.
    """
    return average(queries, rankings, measure_each(queries, rankings, depths), depths)


def measure_each(
    queries: Sequence[Query], rankings: Mapping[str, Sequence[str]], depths: Sequence[int] = DEPTHS
) -> dict[str, dict[str, float]]:
    """Return the measures of each query that has an answer, by its id. For the rest see `measure`."""
    answerable = [query for query in queries if query.expected]
    if not answerable:
        return {}
    computed_by = library()
    wanted = _wanted(tuple(depths))
    # Numbers stand for the names, which the library hands on to C as they are.
    right, found = {}, {}
    for position, query in enumerate(answerable):
        ranking = list(dict.fromkeys(rankings[query.query_id]))
        number = {item: str(n) for n, item in enumerate(dict.fromkeys([*ranking, *query.expected]))}
        right[str(position)] = {number[item]: grade for item, grade in query.expected.items()}
        found[str(position)] = {number[item]: float(-place) for place, item in enumerate(ranking)}
    # Where nothing was found the library says nothing.
    each = {query.query_id: dict.fromkeys(wanted.values(), 0.0) for query in answerable}
    for metric in computed_by.iter_calc(list(wanted), right, found):
        each[answerable[int(metric.query_id)].query_id][wanted[metric.measure]] = float(metric.value)
    return each


def average(
    queries: Iterable[Query],
    rankings: Mapping[str, Sequence[str]],
    each: Mapping[str, Mapping[str, float]],
    depths: Sequence[int] = DEPTHS,
) -> dict[str, float | None]:
    """Return what `measure` does, for all or some of the queries of which `measure_each` told."""
    measured, unanswerable = [], []
    for query in queries:
        if query.expected:
            measured.append(each[query.query_id])
        else:
            unanswerable.append(query.query_id)
    averages: dict[str, float | None] = {
        name: sum(values[name] for values in measured) / len(measured) if measured else None
        for name in names(depths)
    }
    empty = sum(not rankings[query_id] for query_id in unanswerable)
    averages["no_answer_empty"] = empty / len(unanswerable) if unanswerable else None
    return averages


@cache
def _wanted(depths: tuple[int, ...]) -> dict[Any, str]:
    """Return the library's measures with our names for them."""
    theirs = library()
    known = {"ndcg": theirs.nDCG, "recall": theirs.R, "precision": theirs.P}
    wanted = {theirs.RR: "mrr"}
    for name, kind in known.items():
        wanted |= {kind @ depth: f"{name}@{depth}" for depth in depths}
    return wanted


def library() -> Any:
    """Return what computes the measures.

    Raises:
        CommandError: `no_measures`, this machine has none.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise CommandError(
            "no_measures",
            "The measures are computed by ir-measures, of which there is no build for this kind of machine. "
            "Run the command on Linux on x86-64, or on macOS, with --api-url.",
        ) from error
    return ir_measures
