"""The API and its storage on a loopback port, with the stages behind them: what the command line speaks to.

Every request is answered by the real handler, on the test's database and moto. Addresses of objects are
turned to this server, which passes what comes for them on to moto, in this process.
"""

import gzip
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from functions.api.handler import lambda_handler
from tests.conftest import LambdaContext
from tests.fakes.http_api import Caller
from tests.fakes.pipeline import Pipeline


@dataclass
class Served:
    """A server, and what it was asked.

    Attributes:
        before: is called with method and path before each request is answered, and may raise.
        copy: the last export.
    """

    caller: Caller
    pipeline: Pipeline
    url: str = ""
    asked: list[str] = field(default_factory=list)
    copy: bytes = b""
    before: Callable[[str, str], None] = lambda method, path: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """Have the stages do what waits for them."""
        with self.lock:
            self.pipeline.run(lambda: False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, *_: Any) -> None:
        """Say nothing on stderr, which tests read."""

    def do_GET(self) -> None:  # noqa: N802 - the name that the base class calls
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urllib.parse.urlsplit(self.path)
        served = self.served
        with served.lock:
            served.asked.append(f"{self.command} {parts.path}")
            served.before(self.command, parts.path)
            if parts.path == "/copy":
                self._send(200, served.copy, "application/gzip")
            elif parts.path == "/storage":
                self._storage(urllib.parse.parse_qs(parts.query)["url"][0], body)
            else:
                self._api(parts, body)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def _api(self, parts: urllib.parse.SplitResult, body: bytes) -> None:
        event = self.served.caller.event(
            self.command,
            parts.path,
            parts.query,
            body=body or None,
            headers={"content-type": "application/json", "accept-encoding": "identity"} if body else {},
        )
        answer = lambda_handler(event, LambdaContext(remaining_ms=15_000))  # type: ignore[arg-type]
        said = json.loads(answer["body"] or "null")
        if parts.path == "/export" and said.get("status") == "succeeded":
            said |= self._copied(said["url"])
        self._send(answer["statusCode"], json.dumps(self._turned(said)).encode(), "application/json")
        self.served.pipeline.run(lambda: False)

    def _turned(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._turned(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._turned(inner) for inner in value]
        if isinstance(value, str) and value.startswith("https://"):
            return f"{self.served.url}/storage?url={urllib.parse.quote(value, safe='')}"
        return value

    def _copied(self, url: str) -> dict[str, str]:
        """Keep a copy of an export whose addresses are turned, and say where it is."""
        lines = gzip.decompress(requests.get(url, timeout=10).content).splitlines()
        turned = [json.dumps(self._turned(json.loads(line))) for line in lines]
        self.served.copy = gzip.compress("".join(f"{line}\n" for line in turned).encode())
        digest = hashlib.sha256(self.served.copy).hexdigest()
        return {"url": f"{self.served.url}/copy", "sha256": digest}

    def _storage(self, url: str, body: bytes) -> None:
        kind = {"Content-Type": self.headers["Content-Type"]} if body else {}
        answer = requests.request(self.command, url, data=body or None, headers=kind, timeout=10)
        self._send(answer.status_code, answer.content, answer.headers.get("Content-Type", "text/plain"))
        self.served.pipeline.run(lambda: False)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(caller: Caller, pipeline: Pipeline) -> Iterator[Served]:
    """Serve until the end of the block."""
    served = Served(caller, pipeline)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"served": served}))
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
