"""A Magpie to talk to: the API, its storage and its sign-in, as one small server in this process."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.app import main

ROOT = Path(__file__).resolve().parent.parent.parent
EMAIL, PASSWORD, CLIENT = "demo@magpie.local", "correct horse 1", "client-1"
SETTINGS = ("MAGPIE_API_URL", "MAGPIE_DATA", "MAGPIE_EMAIL", "PHOTOS", "COLUMNS", "AWS_PROFILE",
            "AWS_ENDPOINT_URL", "ANTHROPIC_API_KEY", "VOYAGE_API_KEY")  # fmt: skip
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
"""The smallest PNG."""
REJECTED = ("not_an_image", "These bytes are not those of a picture.")


@dataclass
class Request:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Magpie:
    """The server's state, and what tests may change of it.

    Attributes:
        requests: all that came in, in order.
        trouble: answers that come instead of the real ones: (method, beginning of path, status, headers).
        stuck: names of files whose items never get anywhere.
        page: the most items of one page.
        storage_error: S3's code for every upload.
        problem: body of a 422 that answers every request to the API.
        code: of the authenticator, when users have one as a second factor.
        refusal: of the user pool's trigger, for every sign-in and renewal.
        rotates: whether a refresh token is good for one renewal only, which brings the next.
        answers: what tests let the API answer, by method and path: a status and a body for each request.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    trouble: list[tuple[str, str, int, dict[str, str]]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    originals: dict[str, bytes] = field(default_factory=dict)
    by_key: dict[str, dict[str, Any]] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    page: int = 100
    sub: str = "user-1"
    storage_error: str = ""
    problem: Any = None
    access: set[str] = field(default_factory=set)
    refresh: set[str] = field(default_factory=set)
    lifetime: int = 3600
    password: str = PASSWORD
    temporary: bool = False
    code: str = ""
    refusal: str = ""
    rotates: bool = False
    answers: dict[tuple[str, str], Callable[[Request], tuple[int, Any]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sign_in(self) -> dict[str, str]:
        return {"region": "us-east-1", "user_pool_id": "us-east-1_pool", "client_id": CLIENT}

    def asked(self, method: str, path: str) -> list[Request]:
        """Requests of one kind, of those that came in."""
        return [each for each in self.requests if each.method == method and each.path == path]

    def add(self, filename: str, status: str = "ready", **more: Any) -> dict[str, Any]:
        """Put an item there."""
        item = _item(filename, status) | more
        self.items.insert(0, item)
        return item

    def token(self) -> str:
        """Make an access token that is accepted."""
        claims = {"sub": self.sub, "token_use": "access", "n": str(uuid.uuid4())}
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        token = f"e30.{body}.c2ln"
        self.access.add(token)
        return token


def _item(filename: str, status: str) -> dict[str, Any]:
    ready = status == "ready"
    return {
        "item_id": str(uuid.uuid4()),
        "filename": filename,
        "status": status,
        "error": {"code": REJECTED[0], "message": REJECTED[1]} if status in {"rejected", "failed"} else None,
        "created_at": "2026-11-20T10:00:00+00:00",
        "updated_at": "2026-11-20T10:00:02+00:00",
        "format": "PNG" if ready else None,
        "width": 640 if ready else None,
        "height": 480 if ready else None,
        "file_size": 12345 if ready else None,
        "sha256": "ab" * 32 if ready else None,
        "perceptual_hash": "00ff00ff00ff00ff" if ready else None,
        "dominant_colours": [{"hex": "#aa3300", "share": 0.5}] if ready else None,
        "captured_at": None,
        "camera": None,
        "location": None,
        "duplicate_of": None,
        "image": {"width": 640, "height": 480} if ready else None,
        "thumbnail": {"width": 512, "height": 384, "url": None} if ready else None,
        "category": "photograph" if ready else None,
        "headline": f"A picture called {filename}" if ready else None,
        "provider": "offline" if ready else None,
        "model": "measured-1" if ready else None,
    }


class Handler(BaseHTTPRequestHandler):
    """Answers as `docs/` says the API, S3's presigned POST and Cognito do."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes, of which the second would wait 40 ms for the first to be acknowledged.
    disable_nagle_algorithm = True
    magpie: Magpie

    def log_message(self, *_: Any) -> None:
        """Say nothing on stderr, which tests read."""

    def do_GET(self) -> None:  # noqa: N802 - the name that the base class calls
        self._answer()

    do_POST = do_GET  # noqa: N815
    do_PATCH = do_GET  # noqa: N815

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query).items()},
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        magpie = self.magpie
        with magpie.lock:
            magpie.requests.append(request)
            for trouble in magpie.trouble:
                method, path, status, headers = trouble
                if request.method == method and request.path.startswith(path):
                    magpie.trouble.remove(trouble)
                    self._json(status, {"title": "Trouble", "detail": "as the test wanted"}, headers)
                    return
            if request.path == "/bucket" and magpie.storage_error:
                body = f"<?xml version='1.0'?><Error><Code>{magpie.storage_error}</Code></Error>"
                self._send(400, body.encode(), "application/xml")
            elif request.path == "/young-bucket":
                self._send(307, b"", "text/plain", {"Location": f"{magpie.url}/bucket"})
            elif request.path == "/bucket":
                self._store(request)
            elif request.path.startswith("/media/"):
                self._send(200, PICTURE, "image/webp")
            elif "x-amz-target" in request.headers:
                self._cognito(request)
            elif request.path == "/version":
                self._json(200, {"version": "1", "sign_in": magpie.sign_in})
            elif request.path == "/health":
                self._json(200, {"status": "ok", "checks": {"database": "ok"}})
            elif request.token not in magpie.access:
                self._json(401, {"message": "Unauthorized"})
            else:
                self._api(request)

    def _api(self, request: Request) -> None:
        magpie = self.magpie
        if magpie.problem is not None:
            self._json(422, magpie.problem)
        elif (request.method, request.path) in magpie.answers:
            self._json(*magpie.answers[request.method, request.path](request))
        elif request.method == "POST" and request.path == "/items":
            key = request.headers["idempotency-key"]
            if key not in magpie.by_key:
                asked = json.loads(request.body)
                item = magpie.add(asked["filename"], "pending")
                upload = {"url": f"{magpie.url}/bucket", "fields": {"key": item["item_id"]}}
                magpie.by_key[key] = {"item_id": item["item_id"], "status": "pending", "upload": upload}
            self._json(201, magpie.by_key[key])
        elif request.path == "/items":
            self._step()
            wanted = request.query.get("status")
            chosen = [item for item in magpie.items if wanted in (None, item["status"])]
            start = int(request.query.get("cursor", 0))
            end = start + min(int(request.query.get("limit", 20)), magpie.page)
            cursor = str(end) if end < len(chosen) else None
            self._json(200, {"items": chosen[start:end], "next_cursor": cursor})
        elif request.path.startswith("/items/"):
            self._step()
            for item in magpie.items:
                if item["item_id"] == request.path.removeprefix("/items/"):
                    self._json(200, self._whole(item))
                    return
            self._json(404, {"title": "Not Found", "detail": "There is no such item."})
        elif request.path == "/search":
            words = request.query["q"].lower().split()
            found = [item for item in magpie.items if any(word in item["filename"] for word in words)]
            hits = [
                {**{name: item[name] for name in ("item_id", "filename", "category", "headline")},
                 "summary": "", "thumbnail_url": None, "score": 0.5, "text_score": 0.5, "vector_score": None,
                 "similarity": None, "highlights": [], "explanation": None}
                for item in found[: int(request.query["limit"])]
            ]  # fmt: skip
            self._json(200, {"query": request.query["q"], "mode": "hybrid", "hits": hits, "notes": []})
        else:
            self._json(404, {"title": "Not Found"})

    def _whole(self, item: dict[str, Any]) -> dict[str, Any]:
        ready = item["status"] == "ready"
        raw = {"category": "photograph", "headline": item["headline"], "summary": "It is small.",
               "image_details": {"objects": ["a dot"], "themes": []}}  # fmt: skip
        return {
            **item,
            "analysis": {**raw, "version": 1, "provider": "offline", "model": "measured-1",
                         "created_at": item["updated_at"]} if ready else None,
            "timeline": [
                {"stage": "api", "event": "created", "occurred_at": "2026-11-20T10:00:00+00:00",
                 "duration_ms": None, "detail": {}},
                {"stage": "image_processor", "event": "processed",
                 "occurred_at": "2026-11-20T10:00:01.500000+00:00", "duration_ms": 312.4, "detail": {}},
            ],
            "views": {"image": f"{self.magpie.url}/media/image?secret=1",
                      "thumbnail": f"{self.magpie.url}/media/t", "original": None},
        }  # fmt: skip

    def _step(self) -> None:
        """What was uploaded has come to its end by the next look."""
        for item in self.magpie.items:
            body = self.magpie.originals.get(item["item_id"])
            if body is None or item["status"] != "pending" or item["filename"] in self.magpie.stuck:
                continue
            status = "ready" if body.startswith(b"\x89PNG") else "rejected"
            known = {name: item[name] for name in ("item_id", "filename", "created_at")}
            item.update(_item(item["filename"], status), **known)

    def _store(self, request: Request) -> None:
        message = BytesParser(policy=HTTP).parsebytes(
            b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.body
        )
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        assert list(parts)[-1] == "file", "S3 ignores every field after the file"
        body = parts["file"].get_payload(decode=True)
        assert isinstance(body, bytes)
        self.magpie.originals[parts["key"].get_content().strip()] = body
        self._send(204, b"", "text/plain")

    def _cognito(self, request: Request) -> None:
        magpie = self.magpie
        operation = request.headers["x-amz-target"].split(".")[1]
        asked = json.loads(request.body)
        given = asked.get("AuthParameters", {})
        if operation == "RevokeToken":
            magpie.refresh.discard(asked["Token"])
            self._json(200, {})
        elif magpie.refusal:
            text = f"PreAuthentication failed with error {magpie.refusal}."
            self._json(400, {"__type": "UserLambdaValidationException", "message": text})
        elif operation == "RespondToAuthChallenge":
            responses = asked["ChallengeResponses"]
            if asked["ChallengeName"] == "NEW_PASSWORD_REQUIRED":
                magpie.temporary, magpie.password = False, responses["NEW_PASSWORD"]
                self._second_factor()
            elif responses["SOFTWARE_TOKEN_MFA_CODE"] == magpie.code:
                self._tokens()
            else:
                self._json(400, {"__type": "CodeMismatchException", "message": "Invalid code"})
        elif asked["AuthFlow"] == "REFRESH_TOKEN_AUTH" and given["REFRESH_TOKEN"] in magpie.refresh:
            if magpie.rotates:
                magpie.refresh.remove(given["REFRESH_TOKEN"])
            self._tokens(refresh=magpie.rotates)
        elif asked["AuthFlow"] == "USER_PASSWORD_AUTH" and given["PASSWORD"] == magpie.password:
            if magpie.temporary:
                self._challenge("NEW_PASSWORD_REQUIRED")
            else:
                self._second_factor()
        else:
            body = {"__type": "NotAuthorizedException", "message": "Incorrect username or password."}
            self._json(400, body, {"x-amzn-errortype": "NotAuthorizedException"})

    def _second_factor(self) -> None:
        if self.magpie.code:
            self._challenge("SOFTWARE_TOKEN_MFA")
        else:
            self._tokens()

    def _challenge(self, name: str) -> None:
        self._json(200, {"ChallengeName": name, "Session": "s" * 20, "ChallengeParameters": {}})

    def _tokens(self, *, refresh: bool = True) -> None:
        result = {
            "AccessToken": self.magpie.token(),
            "ExpiresIn": self.magpie.lifetime,
            "TokenType": "Bearer",
        }
        if refresh:
            result["RefreshToken"] = str(uuid.uuid4())
            self.magpie.refresh.add(result["RefreshToken"])
        self._json(200, {"AuthenticationResult": result, "ChallengeParameters": {}})

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def magpie() -> Iterator[Magpie]:
    """A Magpie that answers as a real one would, at `magpie.url`."""
    state = Magpie()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"magpie": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, without any setting of whoever runs the tests."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return folder


@pytest.fixture
def here(magpie: Magpie, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a Magpie that runs on this machine; commands find it by themselves."""
    data = tmp_path / "data"
    data.mkdir()
    stack = {
        "pid": os.getpid(),
        "api_url": magpie.url,
        "aws_url": magpie.url,
        "uploads_bucket": "uploads",
        "media_bucket": "media",
        "user": {"email": EMAIL, "password": PASSWORD, "sub": "user-1"},
        "sign_in": magpie.sign_in,
        "database_url": "postgresql:///",
    }
    (data / "stack.json").write_text(json.dumps(stack))
    monkeypatch.setenv("MAGPIE_DATA", str(data))
    return data


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process: `run("list", "--json")`."""

    def run_command(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main(list(arguments))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run_command


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Make a file: `picture("a.png")`, or one that is no picture with `picture("b.jpg", b"...")`."""

    def make(name: str, body: bytes = PICTURE) -> Path:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    return make


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process of its own, with pipes for stdout and stderr."""
    started: list[subprocess.Popen[str]] = []

    def start_command(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_command
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Wait for something that another thread or process does: `wait_until(lambda: ...)`."""

    def wait(happened: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.02)

    return wait
