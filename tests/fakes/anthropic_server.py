"""A local HTTP server with the shapes of Anthropic's Messages API and Bedrock's InvokeModel.

The real SDK talks to it: `ANTHROPIC_BASE_URL` or `ANTHROPIC_BEDROCK_BASE_URL` lead there. It answers
what it was given, in order, and remembers what it was asked. A request that it has no answer for gets
a 500, so that a call too many is seen.
"""

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """One HTTP response. With `gate`, it is held back until somebody opens it or the server closes."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class AnthropicServer:
    """`with AnthropicServer() as server: server.will_answer(message(...))`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: deque[Answer] = deque()
        self._closing = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                fake.asked.append(Asked(self.path, dict(self.headers.items()), json.loads(content)))
                try:
                    answer = fake._answers.popleft()
                except IndexError:
                    answer = error(500, "api_error", "nobody expected this request")
                if answer.gate is not None:
                    while not (answer.gate.wait(0.02) or fake._closing.is_set()):
                        pass
                self.send_response(answer.status)
                for name, value in {"Content-Type": JSON, **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that ran out of patience has hung up: that is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def will_answer(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def analysis(**changed: Any) -> dict[str, Any]:
    """What a model says of a picture, in the shape that it is asked for."""
    return {
        "category": "Food and drink",
        "subcategories": ["Coffee", "Tableware"],
        "headline": "Espresso in a red cup on a wooden table",
        "summary": "A white-rimmed red cup of espresso stands on a red saucer. A spoon lies beside it.",
        "media_metadata": {
            "original_poster": None,
            "tagged_accounts": [],
            "location_tags": [],
            "audio_source": None,
            "hashtags": [],
        },
        "image_details": {
            "extracted_text": [],
            "objects": ["cup", "saucer", "spoon", "table"],
            "themes": ["coffee break"],
            "emotions": ["calm"],
            "vibes": ["warm", "cosy"],
            "likely_source": "photograph",
            "key_interest": "the cup of espresso",
            "visual_hierarchy": ["cup", "spoon"],
        },
    } | changed


def message(
    text: str | None = None,
    *,
    stop_reason: str = "end_turn",
    input_tokens: int = 5210,
    output_tokens: int = 312,
    thinking: bool = False,
    gate: threading.Event | None = None,
) -> Answer:
    """A successful reply; without a text, a good analysis."""
    content: list[dict[str, Any]] = [
        {"type": "text", "text": json.dumps(analysis()) if text is None else text}
    ]
    if thinking:
        content.insert(0, {"type": "thinking", "thinking": "A cup, I think.", "signature": "EqoBCkgIARAB"})
    body = {
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": content,
        "container": None,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": "standard",
        },
    }
    return Answer(200, json.dumps(body).encode(), {"request-id": "req_011CSHoEeqs5C35K2UUqR7Fy"}, gate)


def refusal() -> Answer:
    """The model declined. Successful, and paid for."""
    body = json.loads(message("").body)
    body |= {
        "content": [],
        "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "general_harms", "explanation": None},
    }
    body["usage"]["output_tokens"] = 3
    return Answer(200, json.dumps(body).encode())


def error(status: int, kind: str, said: str = "", **headers: str) -> Answer:
    """An error of Anthropic's API."""
    body = {"type": "error", "error": {"type": kind, "message": said or kind}, "request_id": "req_011CSHoE"}
    return Answer(status, json.dumps(body).encode(), {"request-id": "req_011CSHoE", **headers})


def bedrock_error(status: int, kind: str, said: str) -> Answer:
    """An error of Amazon Bedrock."""
    headers = {
        "x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/coral/",
        "x-amzn-RequestId": "5e0c1f0b",
    }
    return Answer(status, json.dumps({"message": said}).encode(), headers)


def page(status: int, html: str) -> Answer:
    """What a proxy or a gateway says instead."""
    return Answer(status, html.encode(), {"Content-Type": "text/html; charset=utf-8"})
