"""A Voyage AI on loopback: answers in the recorded shapes, and as badly as one tells it to.

Shapes as of November 2026, https://docs.voyageai.com/reference/embeddings-api and error-codes.
"""

import base64
import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared import hashed_words

KEY = "pa-test-key"

Request = dict[str, Any]


@dataclass
class Answer:
    """An HTTP answer; `body` is sent as JSON unless it is bytes."""

    status: int
    body: Any
    content_type: str = "application/json"


def failure(status: int, detail: str) -> Answer:
    return Answer(status, {"detail": detail})


THROTTLED = failure(429, "Rate limit exceeded. Please pace your requests.")
BROKEN = Answer(500, b"Internal Server Error", "text/plain")
OVERLOADED = Answer(503, b"<html><body>503 Service Temporarily Unavailable</body></html>", "text/html")
UNAUTHORIZED = failure(401, "Provided API key is invalid.")
FORBIDDEN = failure(403, "The IP address you are sending the request from is forbidden.")
NOT_JSON = Answer(200, b"<html>a proxy says hello</html>", "text/html")
CUT_SHORT = Answer(200, b'{"object": "list", "data": [{"object": "embedd')
ANOTHER_SHAPE = Answer(200, {"results": []})
TOO_DEEP = Answer(200, b"[" * 100_000)


def encoded(vector: list[float]) -> str:
    """Return a vector as `encoding_format: base64` gives it: float32, little-endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def vectors(request: Request, made: list[list[float]] | None = None, tokens: int | None = None) -> Answer:
    """Return the successful answer to a request: by default each text's hashed words, a token per word."""
    texts = request["input"]
    found = made or [hashed_words.embed(text) or [1.0] + [0.0] * 1023 for text in texts]
    data = [
        {"object": "embedding", "embedding": encoded(vector), "index": index}
        for index, vector in enumerate(found)
    ]
    count = sum(len(text.split()) for text in texts) if tokens is None else tokens
    return Answer(
        200, {"object": "list", "data": data, "model": request["model"], "usage": {"total_tokens": count}}
    )


@dataclass
class VoyageServer:
    """What was asked, and what is answered.

    Attributes:
        requests: the bodies received, in order.
        answer: called with each body; a test puts its own here.
    """

    base_url: str = ""
    requests: list[Request] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    answer: Callable[[Request], Answer] = vectors

    def will_answer(self, *answers: Answer) -> None:
        """Give these answers one after the other, and then the proper ones."""
        waiting = iter(answers)
        self.answer = lambda request: next(waiting, None) or vectors(request)


@contextmanager
def running() -> Iterator[VoyageServer]:
    """Run the server on a free port of loopback."""
    voyage = VoyageServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            voyage.requests.append(body)
            voyage.keys.append(self.headers["Authorization"])
            answer = voyage.answer(body) if self.path == "/v1/embeddings" else failure(404, "Not Found")
            raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            try:
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except ConnectionError:
                self.close_connection = True  # the client has given up, as some tests want it to

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    voyage.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield voyage
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
