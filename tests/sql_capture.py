"""Check every SQL statement that functions and `shared` send while the suite runs.

A pytest plugin. Whatever test makes the code under test send a statement that touches a tenant table
without holding it to a user, that test fails, whatever else it was about. A statement belongs to the code
under test when the line that sends it is in functions/ or shared/: what a test says to the database itself
is its own business.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.isolation import allowed
from tests.parallel import say_at_the_end

ROOT = Path(__file__).resolve().parent.parent
OURS = (f"{ROOT}/functions/", f"{ROOT}/shared/")
THROUGH = (str(Path(psycopg.__file__).parent), f"{ROOT}/shared/database.py", __file__)
"""Files that a statement passes through on its way from the line that sends it."""


@cache
def schema() -> Any:
    """The tables and functions that the migrations make."""
    from tests.isolation import statements

    return statements.read_schema(path.read_text() for path in sorted((ROOT / "migrations").glob("*.sql")))[0]


def normalized(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True)
class Sent:
    """A statement on its way to the database.

    Attributes:
        text: with its placeholders, whitespace made even.
        tables: the tenant tables that it touches.
        users: whom its parameters hold it to.
    """

    text: str
    tables: frozenset[str]
    users: frozenset[Any]


@dataclass
class Capture:
    """What was sent so far.

    Attributes:
        checked: what each distinct statement does, by its text.
        violations: those found since somebody last took them.
    """

    checked: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    listeners: list[list[Sent]] = field(default_factory=list)

    def sending(self, query: Any, values: list[Any], cursor: Any) -> None:
        """Look at a statement that is about to be sent, if it is ours.

        Args:
            values: its parameters, for each time that it is sent.
        """
        sender = _sender()
        if sender is None or sender in allowed.SENDERS:
            return
        text = query.decode() if isinstance(query, bytes) else query
        if not isinstance(text, str):
            text = text.as_string(cursor)
        if text not in self.checked:
            self.checked[text] = self._check(text)
        checked = self.checked[text]
        if checked.violations and normalized(text) not in allowed.statements():
            shown = normalized(text)
            self.violations += [f"{sender}: {sentence} in: {shown}" for sentence in checked.violations]
        if self.listeners:
            named = [row if isinstance(row, Mapping) else {} for row in values]
            given = [row.get(name) for row in named for name in checked.users]
            users = frozenset(user for one in given for user in (one if isinstance(one, list) else [one]))
            for heard in self.listeners:
                heard.append(Sent(normalized(text), checked.tables, users))

    def take(self) -> list[str]:
        """Return the violations since the last call."""
        taken = list(dict.fromkeys(self.violations))
        self.violations.clear()
        return taken

    def _check(self, text: str) -> Any:
        from tests.isolation import statements

        return statements.check(text, schema())


capture = Capture()


@contextmanager
def recording() -> Iterator[list[Sent]]:
    """Give out a list that grows by every statement that the code under test sends in the block."""
    heard: list[Sent] = []
    capture.listeners.append(heard)
    try:
        yield heard
    finally:
        capture.listeners.remove(heard)


def _sender() -> str | None:
    """Return the file of ours, below the root, that sends a statement; None where it is none of ours."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(THROUGH):
        frame = frame.f_back  # type: ignore[assignment]
    path = frame.f_code.co_filename if frame is not None else ""
    return path.removeprefix(f"{ROOT}/") if path.startswith(OURS) else None


def _watched(send: Callable[..., Any], many: bool = False) -> Callable[..., Any]:
    def watch(cursor: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        values = arguments[0] if arguments else named.get("params_seq" if many else "params")
        capture.sending(query, values if many and isinstance(values, list) else [values], cursor)
        return send(cursor, query, *arguments, **named)

    return watch


# Hooks of pytest

_originals: list[tuple[Any, str, Any]] = []
_deselected: list[Any] = []
_elsewhere: list[dict[str, Any]] = []
"""What the processes of a run in parallel have to say."""


def pytest_configure() -> None:
    for owner, name in (
        (psycopg.Cursor, "execute"),
        (psycopg.Cursor, "executemany"),
        (psycopg.Cursor, "stream"),
        (psycopg.Cursor, "copy"),
        (psycopg.ServerCursor, "execute"),
    ):
        _originals.append((owner, name, vars(owner)[name]))
        setattr(owner, name, _watched(vars(owner)[name], many=name == "executemany"))


def pytest_unconfigure() -> None:
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)


def pytest_deselected(items: list[pytest.Item]) -> None:
    _deselected.extend(items)


def _is_whole(config: pytest.Config) -> bool:
    """Whether this run was asked for every test there is."""
    asked = {config.invocation_params.dir.joinpath(argument).resolve() for argument in config.args}
    return asked <= {ROOT, ROOT / "tests"} and not _deselected and not config.getoption("ignore")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _elsewhere.append(getattr(node, "workeroutput", {}).get("sql", {"whole": False, "sent": []}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    sent = sorted({normalized(text) for text in capture.checked})
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["sql"] = {"whole": _is_whole(session.config), "sent": sent}
        return
    if _elsewhere:
        whole = all(worker["whole"] for worker in _elsewhere)
        sent += [text for worker in _elsewhere for text in worker["sent"]]
    else:
        whole = _is_whole(session.config)
    if whole and exitstatus == pytest.ExitCode.OK and (hidden := _unseen(sent)):
        say_at_the_end(session.config, "SQL that cannot be read whole, and that no test has sent", hidden)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unseen(sent: list[str]) -> list[str]:
    """Return the places of the SQL that neither reading nor the whole suite could check."""
    from tests.isolation import sources

    pieces = sources.pieces(schema(), allowed.statements())
    return [piece.place for piece in pieces if not any(piece.is_in(text) for text in sent)]


def _blame() -> None:
    if violations := capture.take():
        pytest.fail("statements that are not held to a user:\n" + "\n".join(violations), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    result = yield
    _blame()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    result = yield
    _blame()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    result = yield
    _blame()
    return result
