"""The local stack as benchmarks use it: in a process and a folder of its own, with the offline models."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psycopg
import urllib3
from psycopg.rows import dict_row

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 8
PATIENCE_SECONDS = 1800
"""Longer than that nobody waits, on whatever machine."""


class Stack:
    """The local stack, and somebody who is signed in to it.

    Args:
        data: an empty folder.
        metered: a folder for what the functions' handlers take (`benchmarks/metered`); None: nobody asks.

    Attributes:
        pid: of the stack's own process. Each environment of a function is a child of it, and so is the
            database's server.
    """

    def __init__(self, data: Path, metered: Path | None = None) -> None:
        keys = ("ANTHROPIC_API_KEY", "VOYAGE_API_KEY")
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", "from benchmarks.local_stack import serve; serve()", data, metered or ""],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in keys},
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        assert self._process.stdout  # noqa: S101 - it was asked for
        if not self._process.stdout.readline():
            raise SystemExit("the stack did not start")
        self.about: dict[str, Any] = json.loads((data / "stack.json").read_text())
        self.user_id: str = self.about["user"]["sub"]
        self._http = urllib3.PoolManager(maxsize=AT_ONCE)
        self._token = self._sign_in()

    def client(self, service: str) -> Any:
        """Return a client of the stack's AWS endpoint."""
        return boto3.client(
            service,
            endpoint_url=self.about["aws_url"],
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - the stack's own, which everybody knows
        )

    def _sign_in(self) -> str:
        user = self.about["user"]
        answer = self.client("cognito-idp").initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=self.about["sign_in"]["client_id"],
            AuthParameters={"USERNAME": user["email"], "PASSWORD": user["password"]},
        )
        return str(answer["AuthenticationResult"]["AccessToken"])

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask the API as the user."""
        answer = self._http.request(
            method,
            self.about["api_url"] + path,
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        if answer.status >= 300:
            raise SystemExit(f"{method} {path} answered {answer.status}: {answer.data.decode()}")
        found: dict[str, Any] = answer.json()
        return found

    def post(self, form: dict[str, Any], body: bytes) -> None:
        """Upload a file by the form that the API gave out for it."""
        fields = {**form["fields"], "file": ("picture.jpg", body, "image/jpeg")}
        answer = self._http.request("POST", form["url"], fields=fields)
        if answer.status >= 300:
            raise SystemExit(f"the upload was answered {answer.status}: {answer.data.decode()}")

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Ask the database itself, past everything that is measured."""
        with psycopg.connect(self.about["database_url"], row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def stop(self) -> None:
        """Stop it, and whatever it has started."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        assert self._process.stdout  # noqa: S101 - as above
        self._process.stdout.close()


def serve() -> None:
    """Run the local stack until a signal, and say on stdout when it is ready. In a process of its own."""
    from local import stack

    data, metered = sys.argv[1:]
    more = {}
    if metered:
        meter = ROOT / "benchmarks" / "metered"
        more = {"METERED": metered, "PYTHONPATH": f"{meter}{os.pathsep}{ROOT}"}

    def ready(_: stack.Stack) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    stack.Stack(Path(data), 0, 0, environment=more).run(ready)


@contextmanager
def running(metered: Path | None = None) -> Iterator[Stack]:
    """Yield a fresh stack; nothing of it is left."""
    # Short, because a Unix socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="magpie-bench-"))
    try:
        stack = Stack(folder / "data", metered)
        try:
            yield stack
        finally:
            stack.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait(condition: Callable[[], Any], pause: float = 0.5) -> Any:
    """Return the first true value of a condition.

    Raises:
        SystemExit: none came in all this time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing came of it within {PATIENCE_SECONDS} s")
        time.sleep(pause)
    return found
