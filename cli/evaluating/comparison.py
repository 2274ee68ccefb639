"""What a change did: two results of `magpie eval`, query by query.

Only queries that both have are compared. Where nothing should be found, a query is worth 1 as long as it
finds nothing, and 0 when it finds something.
"""

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from cli.errors import CommandError
from cli.evaluating.report import Document
from cli.evaluating.tables import Cells, number, print_packed
from cli.measures import read_json, told
from cli.output import Output, listed, plain, styled

SAME = 1e-9
"""Differences that come from rounding."""
EXACT = 12
"""Queries that changed up to which every way of flipping their signs is tried: 4,096 of them."""
SAMPLES = 10_000
SHOWN = 20
"""Queries that a terminal shows of each mode."""
LIKELY_CHANCE = 0.05


def read(path: Path) -> Document:
    """Return a result that `magpie eval --json` printed.

    Raises:
        CommandError: `bad_result`, it is none.
        OSError: there is no such file, or it cannot be read.
    """
    document = read_json(path, "bad_result")
    if not isinstance(document, dict) or not isinstance(document.get("modes"), dict):
        raise CommandError("bad_result", f"{path} is no result of magpie eval --json: it has no modes.")
    if not isinstance(document.get("k"), int):
        raise CommandError("bad_result", f"{path} is no result of magpie eval --json: it has no k.")
    faults = [
        f"{mode}: query {position} is not as magpie eval --json writes it"
        for mode, figures in document["modes"].items()
        for position, query in enumerate(_queries(figures))
        if not _sound(query, document["k"])
    ]
    if faults:
        raise CommandError("bad_result", told(path, faults))
    return document


def _queries(figures: Any) -> list[Any]:
    listed_there = figures.get("queries") if isinstance(figures, dict) else None
    return listed_there if isinstance(listed_there, list) else [None]


def _sound(query: Any, k: int) -> bool:
    return (
        isinstance(query, dict)
        and all(isinstance(query.get(name), str) for name in ("query_id", "query_text", "query_type"))
        and (
            isinstance(query.get("empty"), bool)
            or all(isinstance(query.get(name), int | float) for name in _names(k))
        )
    )


def _names(k: int) -> list[str]:
    """Return the figures that are read of a query which has an answer."""
    return ["mrr", *(f"{name}@{depth}" for name in ("ndcg", "recall") for depth in {k, 10})]


def compare(one: Document, other: Document, mode: str | None = None) -> Document:
    """Return what is different in the second result.

    Args:
        mode: the only one that counts; None for all that both have.
    """
    # 10 is in every result; another depth only where both have it.
    depth = one["k"] if one["k"] == other["k"] else 10
    modes = [each for each in one["modes"] if each in other["modes"] and mode in (None, each)]
    left_out = sorted({*one["modes"], *other["modes"]} - {*modes} if mode is None else set())
    return {
        "measure": f"ndcg@{depth}",
        "modes": {each: _mode(one["modes"][each], other["modes"][each], f"ndcg@{depth}") for each in modes},
        "modes_of_one_only": left_out,
    }


def _mode(one: Document, other: Document, measure: str) -> Document:
    before = {query["query_id"]: query for query in one["queries"]}
    after = {query["query_id"]: query for query in other["queries"]}
    # A query that was given an answer, or lost its answer, is another question.
    both = [
        each for each in before if each in after and _has_answer(before[each]) == _has_answer(after[each])
    ]
    pairs = [(before[each], after[each]) for each in both]
    queries = [_query(*pair, measure) for pair in pairs]
    types = dict.fromkeys(query["query_type"] for query in queries)
    return {
        **_totals(pairs, measure),
        "p_value": chance([query["change"] for query in queries if query["measure"] == measure]),
        "latency_ms": {"a": one.get("latency_ms"), "b": other.get("latency_ms")},
        "types": {
            kind: _totals([pair for pair in pairs if pair[1]["query_type"] == kind], measure)
            for kind in types
        },
        "queries": sorted(queries, key=lambda query: (-abs(query["change"]), query["change"])),
        "only_in_a": [each for each in before if each not in both],
        "only_in_b": [each for each in after if each not in both],
    }


def _has_answer(query: Document) -> bool:
    return "empty" not in query


def _query(before: Document, after: Document, measure: str) -> Document:
    name = measure if _has_answer(before) else "empty"
    a, b = float(before[name]), float(after[name])
    return {
        "query_id": after["query_id"],
        "query_text": after["query_text"],
        "query_type": after["query_type"],
        "measure": name,
        "a": a,
        "b": b,
        "change": round(b - a, 6),
        "same_question": before["query_text"] == after["query_text"],
    }


def _totals(pairs: Sequence[tuple[Document, Document]], measure: str) -> Document:
    changes = [_query(*pair, measure)["change"] for pair in pairs]
    answered = [pair for pair in pairs if _has_answer(pair[0])]
    others = [pair for pair in pairs if not _has_answer(pair[0])]
    return {
        "count": len(pairs),
        "better": sum(change > SAME for change in changes),
        "worse": sum(change < -SAME for change in changes),
        "same": sum(abs(change) <= SAME for change in changes),
        **{name: _averages(answered, name) for name in (measure, "mrr", measure.replace("ndcg", "recall"))},
        "no_answer_empty": _averages(others, "empty"),
    }


def _averages(pairs: Sequence[tuple[Document, Document]], name: str) -> dict[str, float | None]:
    if not pairs:
        return {"a": None, "b": None, "change": None}
    a, b = (sum(float(pair[side][name]) for pair in pairs) / len(pairs) for side in (0, 1))
    return {"a": round(a, 6), "b": round(b, 6), "change": round(b - a, 6)}


def chance(changes: Sequence[float]) -> float:
    """Return how often chance alone would make a mean difference as large as this one.

    A paired randomisation test: were the change without effect, each query's difference could as well be the
    other way round. Up to 12 differences all ways are counted, beyond that 10,000 of them, always the same
    ones. It is two-sided. Smucker, Allan, Carterette 2007, https://doi.org/10.1145/1321440.1321528
    """
    different = [change for change in changes if abs(change) > SAME]
    if not different:
        return 1.0
    observed = abs(sum(different)) - SAME
    if len(different) <= EXACT:
        ways = list(itertools.product((1, -1), repeat=len(different)))
        hits = sum(
            abs(sum(sign * change for sign, change in zip(way, different, strict=True))) >= observed
            for way in ways
        )
        return round(hits / len(ways), 6)
    dice = random.Random(0)  # noqa: S311 - of a test's samples, not of a secret
    hits = 1
    for _ in range(SAMPLES):
        bits = dice.getrandbits(len(different))
        flipped = sum(each if bits >> place & 1 else -each for place, each in enumerate(different))
        hits += abs(flipped) >= observed
    return round(hits / (SAMPLES + 1), 6)


def show(out: Output, document: Document) -> None:
    """Print a comparison."""
    measure = document["measure"]
    depth = measure.rpartition("@")[2]
    columns = [
        ["Queries", "Better", "Worse", "Same"],
        *([f"{name} A", f"{name} B"] for name in (f"nDCG@{depth}", "MRR", f"R@{depth}", "Empty")),
    ]
    for mode, figures in document["modes"].items():
        rows = [("all", _cells(figures, measure))]
        rows += [(kind, _cells(totals, measure)) for kind, totals in figures["types"].items()]
        out.show(styled(mode, "bold"))
        print_packed(out, "Type", rows, columns)
        out.show(styled(verdict(figures, measure)), Text())
        _show_queries(out, figures["queries"])
        for side in ("a", "b"):
            only = figures[f"only_in_{side}"]
            if only:
                names = ", ".join(only[:10]) + (f" and {len(only) - 10} more" if len(only) > 10 else "")
                out.note(f"{mode}: only in {side.upper()}: {names}", "yellow")
        changed = [query["query_id"] for query in figures["queries"] if not query["same_question"]]
        if changed:
            out.note(f"{mode}: asked in other words: {', '.join(changed[:10])}", "yellow")
    out.note(f"A is {document['a']}, B is {document['b']}.", "dim")
    if document["modes_of_one_only"]:
        out.note(f"Only one of them has: {', '.join(document['modes_of_one_only'])}", "yellow")


def verdict(figures: Document, measure: str) -> str:
    """Say whether the change is more than chance would make."""
    change, p_value = figures[measure]["change"], figures["p_value"]
    if change is None:
        return "There is no query with an answer in both."
    if abs(change) <= SAME and p_value >= 1:
        return "On average nothing changed."
    by_chance = f"by chance alone a difference this large comes in {p_value:.1%} of cases".replace("%", " %")
    judgement = "that may be chance" if p_value > LIKELY_CHANCE else "that is hardly chance"
    return f"On average {change:+.3f}; {by_chance}: {judgement}."


def _cells(totals: Document, measure: str) -> Cells:
    counts = {name.capitalize(): str(totals[name]) for name in ("better", "worse", "same")}
    depth = measure.rpartition("@")[2]
    cells = {"Queries": str(totals["count"]), **counts}
    for shown, name in (
        (f"nDCG@{depth}", measure),
        ("MRR", "mrr"),
        (f"R@{depth}", f"recall@{depth}"),
        ("Empty", "no_answer_empty"),
    ):
        cells |= {f"{shown} {side.upper()}": number(totals[name][side]) for side in ("a", "b")}
    return cells


def _show_queries(out: Output, queries: Sequence[Document]) -> None:
    from cli.output import table

    different = [query for query in queries if abs(query["change"]) > SAME]
    if not different:
        return
    listing = table("Change", "A", "B", "Query", "Type", "Question", right=("Change", "A", "B"))
    for query in different[:SHOWN]:
        colour = "green" if query["change"] > 0 else "red"
        listing.add_row(
            styled(f"{query['change']:+.3f}", colour),
            styled(number(query["a"])),
            styled(number(query["b"])),
            styled(query["query_id"]),
            styled(query["query_type"]),
            styled(query["query_text"]),
        )
    out.show(listing)
    if len(different) > SHOWN:
        more = listed(len(different) - SHOWN, "query", "queries")
        out.show(styled(plain(f"… and {more} more; --json has them all."), "dim"))
    out.show(Text())
