"""A Magpie whose API is the real one, with PostgreSQL and the state machine behind it; in this process."""

import importlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from cli import watching
from tests.conftest import Aws, LambdaContext, client
from tests.contract.conftest import folder
from tests.fakes import wsgi
from tests.fakes.http_api import Caller
from tests.fakes.pictures import picture
from tests.fakes.state_machine import FUNCTIONS, Machine, running

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Database = psycopg.Connection[dict[str, Any]]
for _name in FUNCTIONS:
    # Now, for a logger keeps the stdout that it finds: in a test that would be what commands print to.
    importlib.import_module(f"functions.{folder(_name)}.handler")

USER = "user-1"
"""Whom the sign-in of tests/cli/conftest.py makes tokens for."""


class System:
    """The API, which one request after the other goes to.

    Attributes:
        machine: what runs.
        requests: method and path of each request.
        loses: whether the first answer for each Idempotency-Key is lost, though the request is carried out.
    """

    def __init__(self, machine: Machine, user_pool_client_id: str) -> None:
        self.machine = machine
        self.requests: list[str] = []
        self.loses = False
        self._keys: set[str] = set()
        caller = Caller(USER, user_pool_client_id)
        self._api = wsgi.application(caller, LambdaContext(remaining_ms=15_000))

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        # Nobody polls the reporter's queue here: what it holds is taken to it before anybody looks.
        for event in self.machine.ended_events():
            self.machine.report(event)
        # The functions of a run share this process's one connection with the API.
        key = environ.get("HTTP_IDEMPOTENCY_KEY")
        lost = self.loses and key is not None and key not in self._keys
        with self.machine._lock:
            answer = self._api(environ, (lambda *_: None) if lost else start)
        if lost and key is not None:
            self._keys.add(key)
            start("503 Service Unavailable", [("Retry-After", "0"), ("Content-Type", "application/json")])
            return [b"{}"]
        return answer


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - as the base class calls it
        """Say nothing on stderr, which tests read."""


@pytest.fixture
def system(
    aws: Aws,
    function_env: Callable[..., dict[str, str]],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[System]:
    """The real API at the address that commands find by themselves; runs are watched without delay."""
    monkeypatch.setattr(watching, "FIRST_LOOK", 0.02)
    monkeypatch.setattr(watching, "SLOWEST_LOOK", 0.02)
    with running(aws, function_env, ANALYZER="offline", EMBEDDER="offline") as machine:
        found = System(machine, function_env("Api", EMBEDDER="offline")["USER_POOL_CLIENT_ID"])
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = make_server("127.0.0.1", 0, found, request_handler=_Quiet)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        stack = json.loads((here / "stack.json").read_text())
        stack["api_url"] = f"http://127.0.0.1:{server.server_port}"
        (here / "stack.json").write_text(json.dumps(stack))
        yield found
        # A test may end before what it has started.
        sfn = client("stepfunctions")
        for each in sfn.list_executions(stateMachineArn=machine.arn)["executions"]:
            machine.wait(each["executionArn"])
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def pictures(db: Database) -> Callable[..., list[str]]:
    """Put items there that only lack their vectors: `pictures(3)`; returns their ids."""

    def put(count: int, **columns: Any) -> list[str]:
        given = {"status": "analyzed", "vector": None, **columns}
        return [str(picture(db, USER, f"Picture {number}", **given)) for number in range(count)]

    return put


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a person sit at the terminal who will type this."""

    class Terminal:
        def __init__(self, text: str) -> None:
            self._lines = text.splitlines(keepends=True)

        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:
            return self._lines.pop(0) if self._lines else ""

    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(text))
