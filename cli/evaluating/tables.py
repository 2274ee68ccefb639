"""What an evaluation says on a terminal: as many columns beside each other as there is room for."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from cli.evaluating import report
from cli.evaluating.report import Document
from cli.output import Output, duration, listed, plain, styled, table

if TYPE_CHECKING:
    from rich.table import Table

NAMES = {"ndcg": "nDCG", "recall": "R", "precision": "P"}
WORST = 5
"""Queries that are shown of each mode."""
GAP = 2
LEGEND = (
    "nDCG, R (recall) and P (precision) among so many first hits. MRR: 1 / place of the first right hit. "
    "Empty: share of the queries without an answer for which nothing was found. Times are as seen from here."
)

Cells = dict[str, str]


def show(out: Output, document: Document) -> None:
    """Print an evaluation."""
    k = document["k"]
    modes = document["modes"]
    if modes:
        overall = [(mode, cells(figures, k)) for mode, figures in modes.items()]
        print_packed(out, "Mode", overall, groups(k))
    for mode, figures in modes.items():
        out.show(Text(), styled(f"By type of query: {mode}", "bold"))
        rows = [(kind, cells(inner, k)) for kind, inner in figures["types"].items()]
        print_packed(out, "Type", rows, groups(k))
    for mode, figures in modes.items():
        _show_worst(out, mode, figures, k)
    if modes:
        out.note(LEGEND, "dim")
    notes(out, document)


def notes(out: Output, document: Document) -> None:
    """Say on stderr what a reader of the figures has to know."""
    for line in remarks(document):
        out.note(line, "yellow")


def remarks(document: Document) -> list[str]:
    """Return sentences on what is not as it should be with an evaluation."""
    lines = []
    for mode, unscored in document["unscored"].items():
        query_id, why = next(iter(unscored.items()))
        if mode in document["modes"]:
            lines.append(f"{_of(unscored, 'query', 'queries')} left out by {mode}; {query_id}: {why}.")
        else:
            lines.append(f"Nothing was scored by {mode}: {why}.")
    missing, unsearchable = document["missing_items"], document["unsearchable_items"]
    if missing:
        lines.append(
            f"{_of(missing, 'expected item')} not in this collection, such as {missing[0]}: the set does not "
            "fit it. They count as not found."
        )
    if unsearchable:
        item_id, status = next(iter(unsearchable.items()))
        lines.append(
            f"{_of(unsearchable, 'expected item')} not to be found as things stand, such as {item_id}, which "
            f"is {status}. They count as not found."
        )
    warnings = document["warnings"]
    lines += [f"{warning}." for warning in warnings[: report.SHOWN_WARNINGS]]
    more = len(warnings) - report.SHOWN_WARNINGS
    if more > 0:
        lines.append(f"And {listed(more, 'query', 'queries')} more whose expected_count is another.")
    return lines


def _of(things: Collection[Any], one: str, many: str | None = None) -> str:
    return f"{listed(len(things), one, many)} {'is' if len(things) == 1 else 'are'}"


def groups(k: int) -> list[list[str]]:
    """Return the columns, in groups that stay together."""
    by_depth = {name: [f"{short}@{depth}" for depth in report.depths(k)] for name, short in NAMES.items()}
    return [["Queries", "MRR", *by_depth["ndcg"]], by_depth["recall"], by_depth["precision"],
            ["Empty", "p50", "p95"]]  # fmt: skip


def cells(figures: Document, k: int) -> Cells:
    """Return the figures of a mode or a type, as they are shown."""
    shown = {
        "Queries": str(figures["count"]),
        "MRR": number(figures["mrr"]),
        "Empty": percent(figures["no_answer_empty"]),
        "p50": duration(figures["latency_ms"]["p50"]),
        "p95": duration(figures["latency_ms"]["p95"]),
    }
    for name, short in NAMES.items():
        for depth in report.depths(k):
            shown[f"{short}@{depth}"] = number(figures[f"{name}@{depth}"])
    return shown


def number(value: float | None) -> str:
    """Return a measure for people."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Return a share for people."""
    return "–" if value is None else f"{value:.0%}".replace("%", " %")


def print_packed(
    out: Output, label: str, rows: Sequence[tuple[str, Cells]], columns: Sequence[Sequence[str]]
) -> None:
    """Print rows of figures: in one table where there is room for it, else in several below each other."""
    for position, names in enumerate(packed(label, rows, columns, out.console.width)):
        out.show(*([Text()] if position else []), _table(label, rows, names))


def packed(
    label: str, rows: Sequence[tuple[str, Cells]], columns: Sequence[Sequence[str]], width: int
) -> list[list[str]]:
    """Return which columns stand in which table."""

    def widths(names: Sequence[str]) -> int:
        return sum(GAP + max(len(name), *(len(cells[name]) for _, cells in rows)) for name in names)

    first = max(len(label), *(len(plain(name)) for name, _ in rows))
    tables: list[list[str]] = []
    for group in columns:
        if tables and first + widths([*tables[-1], *group]) <= width:
            tables[-1] += group
        else:
            tables.append(list(group))
    return tables


def _table(label: str, rows: Sequence[tuple[str, Mapping[str, str]]], names: Sequence[str]) -> "Table":
    made = table(label, *names, right=names)
    for name, shown in rows:
        made.add_row(styled(name), *(styled(shown[column]) for column in names))
    return made


def _show_worst(out: Output, mode: str, figures: Document, k: int) -> None:
    queries = report.worst(figures, k, WORST)
    out.show(Text())
    if not queries and figures["mrr"] is not None:
        out.show(styled(f"By {mode} every query with an answer is answered perfectly.", "bold"))
    elif queries:
        out.show(styled(f"Worst by {mode}", "bold"))
    for query in queries:
        heading = styled(query["query_text"])
        goodness = f"nDCG@{k} {number(query[f'ndcg@{k}'])}"
        heading.append(plain(f"  {query['query_id']}, {query['query_type']}, {goodness}"), "dim")
        out.show(heading)
        out.show(*(Padding(styled(line, "dim"), (0, 0, 0, 4)) for line in story(query, min(k, WORST))))
    wrong = report.not_empty(figures, WORST)
    if wrong:
        out.show(Text(), styled(f"Should have stayed empty by {mode}", "bold"))
        listing = table("Score", "Query", "Question", "Found first", right=("Score",), whole=("Query",))
        for query in wrong:
            first = query["found"][0]
            score = "–" if first["score"] is None else f"{first['score']:.2f}"
            listing.add_row(score, *map(styled, (query["query_id"], query["query_text"], name(first))))
        out.show(listing)


def story(query: Document, count: int) -> list[str]:
    """Return what a query found, and what it should have, in lines."""
    found = [f"{place} {name(hit)}" + (f" ({hit['relevance']})" if hit["relevance"] else "")
             for place, hit in enumerate(query["found"][:count], start=1)]  # fmt: skip
    more = len(query["found"]) - count
    ending = f"; and {more} more" if more > 0 else ""
    lines = [f"found: {'; '.join(found)}{ending}" if found else "found: nothing"]
    expected = [
        f"{name(item)} ({item['relevance']}, {'at ' + str(item['place']) if item['place'] else 'not found'})"
        for item in query["expected"]
    ]
    lines.append(f"expected: {'; '.join(expected) if expected else 'nothing'}")
    return lines


def name(item: Mapping[str, Any]) -> str:
    """Return what people call an item."""
    called = str(item.get("headline") or item.get("filename") or item["item_id"])
    return called if len(called) <= 60 else called[:59] + "…"
