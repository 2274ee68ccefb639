"""What an item may cost in calls and statements, and a query in pages: numbers that no machine changes.

`budgets.json` has them, with the reason for each. `python -m tests.postgres.budgets` writes the tables in
docs/performance.md from it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from botocore.client import BaseClient

from tests import sql_capture

ROOT = Path(__file__).resolve().parents[2]
BUDGETS = Path(__file__).with_name("budgets.json")
PAGE = ROOT / "docs" / "performance.md"
BEGINS, ENDS = "<!-- budgets: written by python -m tests.postgres.budgets -->", "<!-- end of budgets -->"
SLACK = 1.1
"""A query may read so many times the pages of its budget: statistics are drawn by lot."""


@dataclass
class Spent:
    """What a piece of work has sent, each by a short name, and how often."""

    aws: Counter[str] = field(default_factory=Counter)
    sql: Counter[str] = field(default_factory=Counter)


def named(sent: sql_capture.Sent) -> str:
    """Return a short name for a statement: what it does first, and to which tables of users."""
    verb = sent.text.split()[0]
    if verb == "WITH":
        verb = re.findall(r"\b(?:INSERT|UPDATE|DELETE)\b|$", sent.text)[0] or "SELECT"
    called = re.match(r"SELECT (\w+)\(", sent.text)
    if called and not sent.text.startswith("SELECT count("):
        return f"{called[1]}()"
    return " ".join([verb, ", ".join(sorted(sent.tables))]).strip()


@contextmanager
def spending() -> Iterator[Spent]:
    """Yield what counts every AWS call, every statement and every transaction of the block.

    Of a call it counts whoever makes it: nobody but the code under test is to be at work in the block.
    """
    spent = Spent()

    def call(client: BaseClient, operation: str, given: Any) -> Any:
        spent.aws[f"{client.meta.service_model.service_name}:{operation}"] += 1
        return api_call(client, operation, given)

    def connect(*arguments: Any, **named: Any) -> Any:
        spent.sql["connect"] += 1
        return connects(*arguments, **named)

    def command(connection: Any, text: Any, *more: Any, **named: Any) -> Any:
        spent.sql[(text if isinstance(text, bytes) else text.as_bytes(connection)).decode().split()[0]] += 1
        return commands(connection, text, *more, **named)

    api_call, commands = BaseClient._make_api_call, psycopg.Connection._exec_command
    connects = psycopg.Connection.connect
    with pytest.MonkeyPatch.context() as patched, sql_capture.recording() as heard:
        patched.setattr(BaseClient, "_make_api_call", call)
        patched.setattr(psycopg.Connection, "_exec_command", command)
        patched.setattr(psycopg, "connect", connect)
        yield spent
    spent.sql.update(map(named, heard))


@contextmanager
def statements() -> Iterator[list[tuple[Any, Any]]]:
    """Yield a list that grows by every statement of the block that may be explained, and its parameters."""
    sent: list[tuple[Any, Any]] = []

    def execute(cursor: Any, query: Any, params: Any = None, **more: Any) -> Any:
        text = query if isinstance(query, str) else query.as_string(cursor)
        if re.match(r"\s*(SELECT|WITH)\b", text):
            sent.append((query, params))
        return executes(cursor, query, params, **more)

    executes = psycopg.Cursor.execute
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", execute)
        yield sent


def pages_of(connection: "psycopg.Connection[Any]", query: Any, params: Any) -> int:
    """Return how many pages a statement reads, from memory or disk, the second time that it is asked."""
    for _ in range(2):
        cursor = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", params)
    ((found,),) = (tuple(row.values()) for row in cursor)
    plan = found[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def read() -> dict[str, Any]:
    """Return the budgets."""
    found: dict[str, Any] = json.loads(BUDGETS.read_text())
    return found


def allowed(work: str, kind: str) -> dict[str, int]:
    """Return how often a piece of work may do each thing; kind is `aws` or `sql`."""
    entry = read()["work"][work]
    found = allowed(entry["as"], kind) if "as" in entry else {}
    return found | {each["what"]: each["times"] for each in entry[kind]}


def difference(spent: Mapping[str, int], allowed: Mapping[str, int]) -> list[str]:
    """Say what is more, or less, than it was."""
    return [
        f"{what}: {spent.get(what, 0)} times, and {allowed.get(what, 0)} in the budget"
        for what in sorted({*spent, *allowed})
        if spent.get(what, 0) != allowed.get(what, 0)
    ]


def tables() -> str:
    """Return the tables of the page."""
    budgets = read()
    lines = ["| | AWS calls | SQL |", "|---|---|---|"]
    for work in budgets["work"]:
        aws, sql = (sum(allowed(work, kind).values()) for kind in ("aws", "sql"))
        lines.append(f"| {work} | {aws} | {sql} |")
    for work, entry in budgets["work"].items():
        lines += ["", f"**{work}**: {entry['about']}", "", "| What | Times | Why |", "|---|---|---|"]
        rows = [*entry["aws"], *entry["sql"]]
        lines += [f"| {each['what']} | {each['times']} | {each['why']} |" for each in rows]
    lines += ["", budgets["buffers"]["about"], "", "| Request | Pages |", "|---|---|"]
    lines += [f"| {request} | {pages:,} |" for request, pages in budgets["buffers"]["pages"].items()]
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with the tables as they are now."""
    before, _, rest = text.partition(BEGINS)
    return f"{before}{BEGINS}\n\n{tables()}\n\n{ENDS}{rest.partition(ENDS)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
