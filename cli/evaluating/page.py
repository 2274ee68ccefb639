"""A result as one HTML file that needs nothing beside it: no script, no font, no picture."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError
from cli.evaluating import models, report, tables
from cli.evaluating.agreement import FIELDS
from cli.evaluating.report import Document
from cli.output import duration, readable

if TYPE_CHECKING:
    from jinja2 import Environment

MARK = '<meta name="generator" content="magpie eval">'
"""Tells a page that was written here, and may be replaced, from a file of somebody's."""
WORST = 12
SHOWN = 10
"""Hits of a query."""
ITEMS = 50
"""Items of a model."""


def refuse_other(path: Path) -> None:
    """Refuse, before anything is measured, a file that a page must not or cannot take the place of.

    Raises:
        CommandError: `not_a_page`, or `no_folder`.
    """
    if not path.absolute().parent.is_dir():
        raise CommandError("no_folder", f"There is no folder {path.absolute().parent} for the page.")
    if path.is_file():
        with path.open("rb") as file:
            if MARK.encode() in file.read(500):
                return
    if path.exists():
        raise CommandError("not_a_page", f"{path} is there and is no page of ours: choose another name.")


def write(path: Path, page: str) -> None:
    """Write a page."""
    path.write_text(readable(page), encoding="utf-8")


def evaluation(document: Document) -> str:
    """Return the page of an evaluation. Whatever questions and headlines hold is text there."""
    k = document["k"]
    modes = document["modes"]
    columns = [name for group in tables.groups(k) for name in group if "@" in name]
    return _render(
        "evaluation.html",
        document=document,
        remarks=tables.remarks(document),
        legend=tables.LEGEND,
        k=k,
        main=f"ndcg@{k}",
        columns=columns,
        keys=[f"{name}@{depth}" for name in tables.NAMES for depth in report.depths(k)],
        types=_types(modes, k),
        worst={mode: report.worst(figures, k, WORST) for mode, figures in modes.items()},
        shown=SHOWN,
        every=_every(modes, k),
    )


def analyses(document: Document) -> str:
    """Return the page of a comparison with reviewed analyses."""
    compared = document["models"]
    named = [name for name in FIELDS if any(name in model["fields"] for model in compared)]
    return _render(
        "analyses.html",
        document=document,
        remarks=models.remarks(document),
        legend=models.LEGEND,
        names=models.names(compared),
        fields={name: models.label(name) for name in named},
        shown=ITEMS,
    )


def _types(modes: Mapping[str, Document], k: int) -> list[Document]:
    """Return what the chart shows of each type: one bar a mode, None where it has no such queries."""
    kinds = dict.fromkeys(kind for figures in modes.values() for kind in figures["types"])
    charted = []
    for kind in kinds:
        rows = [figures["types"].get(kind) for figures in modes.values()]
        bars = [row and _height(row, k) for row in rows]
        charted.append({"name": kind, "count": max(row["count"] for row in rows if row), "bars": bars})
    return charted


def _height(row: Document, k: int) -> float | None:
    value: float | None = row[f"ndcg@{k}"]
    return row["no_answer_empty"] if value is None else value


def _every(modes: Mapping[str, Document], k: int) -> list[Document]:
    """Return the queries with their figures in each mode, the worst first."""
    by_mode = [{query["query_id"]: query for query in figures["queries"]} for figures in modes.values()]
    known = {query_id: query for queries in by_mode for query_id, query in queries.items()}
    rows = []
    for query_id, query in known.items():
        values = [_value(queries.get(query_id), k) for queries in by_mode]
        worth = [value["value"] for value in values if value["value"] is not None]
        names = {name: query[name] for name in ("query_id", "query_type", "query_text")}
        rows.append({**names, "values": values, "mean": sum(worth) / len(worth)})
    return sorted(rows, key=lambda row: row["mean"])


def _value(query: Document | None, k: int) -> Document:
    if query is None:
        return {"value": None, "shown": "–", "bad": False}
    if "empty" in query:
        found = len(query["found"])
        return {
            "value": float(query["empty"]),
            "shown": "empty" if query["empty"] else f"{found} found",
            "bad": not query["empty"],
        }
    value = query[f"ndcg@{k}"]
    return {"value": value, "shown": tables.number(value), "bad": value < 0.5}


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader(folder),
    )
    environment.filters |= {
        "figure": tables.number,
        "share": tables.percent,
        "time": duration,
        "least": _least,
    }
    return environment


def _least(item: Document) -> str:
    return ", ".join(models.least(item))


def _render(template: str, **values: Any) -> str:
    from markupsafe import Markup

    mark = Markup(MARK)  # noqa: S704 - our own constant
    return _environment().get_template(template).render(mark=mark, **values)
