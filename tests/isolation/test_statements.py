"""Every statement of functions/ and `shared` is held to a user, whether a test sends it or not."""

import re
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from shared import database
from tests import parallel, sql_capture
from tests.isolation import allowed, sources, statements
from tests.sql_capture import Capture, normalized, schema

Database = psycopg.Connection[dict[str, Any]]


def test_the_tenant_tables_are_those_of_the_database(db: Database) -> None:
    """Read from the catalogue too, so that no way of making a table hides it from the checker."""
    found = db.execute(
        """
        SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
         WHERE attname = 'user_id' AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f')
           AND relnamespace = 'public'::regnamespace
        """
    )
    assert {row["relname"] for row in found} == schema().tenant_tables


def test_the_functions_of_the_database_are_held_to_a_user(db: Database) -> None:
    migrations = sorted((sql_capture.ROOT / "migrations").glob("*.sql"))
    read, violations = statements.read_schema(path.read_text() for path in migrations)
    assert {name for name, found in violations.items() if found} == set(allowed.FUNCTIONS)
    made = db.execute(
        """
        SELECT proname FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
        """
    )
    assert {row["proname"] for row in made} == set(violations)
    assert read.functions["refresh_search_document"] == (0,)


def test_every_statement_that_can_be_read_is_held_to_a_user() -> None:
    found = sources.texts(schema().tenant_tables)
    assert len(found) > 50, "the SQL is somewhere else now"
    wrong = []
    for text in found:
        if text.whole is None or normalized(text.whole) in allowed.statements():
            continue
        checked = statements.check(text.whole, schema())
        if text.sent and checked.tables and checked.violations:
            wrong.append((text.place, checked.violations))
    assert wrong == []


def test_what_cannot_be_read_whole_is_known() -> None:
    """At the end of a run of the whole suite each of these must have been sent by some test."""
    unread = sources.pieces(schema(), allowed.statements())
    assert len(unread) < len(sources.texts(schema().tenant_tables)) / 3
    for piece in unread:
        assert piece.whole is None or not piece.sent or not statements.check(piece.whole, schema()).tables


@pytest.mark.parametrize("entry", allowed.STATEMENTS, ids=lambda entry: f"{entry.module}.{entry.constant}")
def test_what_is_allowed_is_there_and_needs_to_be_allowed(entry: allowed.Allowed) -> None:
    text = allowed.text(entry)
    assert statements.check(text, schema()).violations != (), "it needs no exception any more"
    assert len(entry.reason) > 20


def test_senders_that_are_not_listened_to_are_there() -> None:
    for path in allowed.SENDERS:
        assert (sql_capture.ROOT / path).is_file()


# What is sent


def sent_from(path: str, code: str, **names: Any) -> None:
    """Run code as if it stood in a file of ours."""
    exec(compile(code, f"{sql_capture.ROOT}/{path}", "exec"), names)  # noqa: S102 - the test's own text


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Capture:
    """What the plugin notices here, kept from failing this very test."""
    mine = Capture()
    monkeypatch.setattr(sql_capture, "capture", mine)
    return mine


@pytest.mark.parametrize(
    "code",
    [
        "db.execute('SELECT count(*) FROM items')",
        "db.execute(b'SELECT count(*) FROM items')",
        "db.execute(sql.SQL('SELECT count(*) FROM {}').format(sql.Identifier('items')))",
        "db.cursor().execute('SELECT count(*) FROM items')",
        "db.cursor().executemany('DELETE FROM items WHERE item_id = %s', [])",
        "list(db.cursor().stream('SELECT count(*) FROM items'))",
        "[None for _ in [1] if db.execute('SELECT count(*) FROM items')]",
        "with db.cursor().copy('COPY items TO STDOUT') as copy: list(copy)",
        "with db.transaction(), db.cursor('named') as cursor: cursor.execute('SELECT user_id FROM items')",
    ],
)
def test_whatever_way_a_statement_is_sent_it_is_seen(watching: Capture, db: Database, code: str) -> None:
    sent_from("functions/any/store.py", code, db=db, sql=psycopg.sql)
    (violation,) = watching.take()
    assert violation.startswith("functions/any/store.py: ")
    assert watching.take() == []


def test_what_goes_through_the_shared_connection_is_its_sender_s(
    watching: Capture, function_env: Any
) -> None:
    function_env("Api")
    one = "database.fetch_one('SELECT 1 FROM items', {})"
    sent_from("functions/api/any.py", one, database=database)
    with database.transaction() as cursor:
        sent_from("shared/any.py", "cursor.execute('SELECT 2 FROM items')", cursor=cursor)
        cursor.execute("SELECT 3 FROM items")
    database.fetch_all("SELECT 4 FROM items", {})
    seen = [violation.partition(" in: ")[2] for violation in watching.take()]
    assert seen == ["SELECT 1 FROM items", "SELECT 2 FROM items"]


def test_what_a_test_says_to_the_database_is_its_own_business(watching: Capture, db: Database) -> None:
    db.execute("SELECT count(*) FROM items")
    sent_from("tests/any.py", "db.execute('SELECT 1 FROM items')", db=db)
    sent_from("functions/migrate/runner.py", "db.execute('SELECT 1 FROM items')", db=db)
    assert watching.take() == []
    assert watching.checked == {}


def test_a_recording_says_whose_rows_were_asked_for(watching: Capture, db: Database) -> None:
    with sql_capture.recording() as sent:
        code = "db.execute('SELECT 1 FROM items WHERE user_id = %(user_id)s', {'user_id': 'alice'})"
        sent_from("functions/any/store.py", code, db=db)
    (statement,) = sent
    assert (statement.tables, statement.users) == ({"items"}, {"alice"})
    assert watching.take() == []


def test_a_test_that_sends_such_a_statement_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_capture, "capture", Capture(violations=["this one"]))
    hook = sql_capture.pytest_runtest_call()
    next(hook)
    with pytest.raises(pytest.fail.Exception, match="this one"):
        hook.send(None)


class Run:
    """A run of pytest that is over, as its hooks see it."""

    def __init__(self, *args: str) -> None:
        self.args = list(args)
        self.invocation_params = SimpleNamespace(dir=sql_capture.ROOT)
        self.stash: dict[Any, dict[str, list[str]]] = {parallel.SECTIONS: {}}

    def getoption(self, name: str) -> None:
        return None

    def finish(self) -> tuple[int, list[str]]:
        """Return the exit status, and the places that are told at the end."""
        session = SimpleNamespace(config=self, exitstatus=0)
        sql_capture.pytest_sessionfinish(session, 0)  # type: ignore[arg-type]
        told = [place for places in self.stash[parallel.SECTIONS].values() for place in places]
        return int(session.exitstatus), told


@pytest.fixture
def alone(watching: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were a process of its own that has run nothing yet."""
    monkeypatch.setattr(sql_capture, "_elsewhere", [])
    monkeypatch.setattr(sql_capture, "_deselected", [])


def test_a_whole_run_fails_when_some_sql_was_neither_read_nor_sent(alone: None) -> None:
    hidden = [piece.place for piece in sources.pieces(schema(), allowed.statements())]
    assert Run("tests").finish() == (1, hidden)
    assert Run("tests/isolation").finish() == (0, [])


def test_a_whole_run_in_several_processes_is_judged_as_one(alone: None) -> None:
    hidden = sources.pieces(schema(), allowed.statements())
    sent = [normalized("x".join(part or "" for part in piece.parts)) for piece in hidden]
    for texts in (sent[:1], sent[1:]):
        output = {"sql": {"whole": True, "sent": texts}}
        sql_capture.pytest_testnodedown(SimpleNamespace(workeroutput=output))
        status, left = Run("tests").finish()
        assert hidden[0].place not in left
        assert status == (1 if left else 0)
    assert left == []
    sql_capture.pytest_testnodedown(SimpleNamespace())  # a process that died has not said what it has sent
    assert Run("tests").finish() == (0, [])


# What is written


def test_pieces_are_found_in_what_they_became() -> None:
    piece = sources.Text("here", None, ("SELECT a\n  FROM items\n WHERE ", None, " ORDER BY b"), sent=False)
    assert piece.is_in("SELECT a FROM items WHERE user_id = $1 ORDER BY b")
    assert not piece.is_in("SELECT a FROM items WHERE user_id = $1")
    assert piece.whole is None


def test_no_piece_says_so_little_that_it_is_in_everything() -> None:
    for piece in sources.pieces(schema(), allowed.statements()):
        known = re.sub(r"\W", "", "".join(part for part in piece.parts if part is not None))
        assert len(known) >= 8, piece.place
