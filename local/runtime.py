"""Run functions as Lambda does: each environment a process of its own under AWS's runtime client.

An environment is `python -m awslambdaric functions.x.handler.lambda_handler`, given the variables of
the template and little else, and served by a Lambda Runtime API on a loopback port of its own. A pool
starts environments when they are needed, keeps them warm, and replaces those that crash or run into
the function's time-out.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from local.functions import Function
from local.guardian import Guardian, kill_group
from local.signatures import LOCAL

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Of a synchronous request or response: a Lambda quota. Responses may be 100 KB larger on the wire."""
MAX_RESPONSE_BYTES = 6_291_556
INIT_SECONDS = 60.0
"""Until a fresh process must ask for its first event. Lambda gives 10 s, on a machine that is not
starting four others at the same time."""
PASSED_ON = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "TMPDIR",
)
"""What a function needs to know of this machine: the way out, and where to put temporary files."""
LOOPBACK = "127.0.0.1,localhost"
PREFIX = "/2018-06-01/runtime"


class FunctionMissingError(Exception):
    """No function of this name or ARN."""


class PoolClosedError(Exception):
    """The stack is stopping."""


class PayloadTooLargeError(Exception):
    """A request over Lambda's limit for synchronous invocations."""


@dataclass(frozen=True)
class Result:
    """What an invocation came to.

    Attributes:
        payload: JSON, the function's answer or Lambda's description of an error.
        error: None, or `Unhandled` as in the header X-Amz-Function-Error.
    """

    payload: bytes
    error: str | None
    request_id: str

    def json(self) -> Any:
        return json.loads(self.payload)


@dataclass
class _Invocation:
    request_id: str
    payload: bytes
    deadline: float  # seconds since the epoch
    answer: "Future[Result]" = field(default_factory=Future)

    def fail(self, error_type: str, message: str) -> bool:
        return self.finish(_error(error_type, message, self.request_id))

    def finish(self, result: Result) -> bool:
        """Settle what the invocation came to; False when that was settled before."""
        try:
            self.answer.set_result(result)
        except InvalidStateError:
            return False
        return True


def _error(error_type: str, message: str, request_id: str) -> Result:
    body = {"errorType": error_type, "errorMessage": f"RequestId: {request_id} Error: {message}"}
    return Result(json.dumps(body).encode(), "Unhandled", request_id)


class _GoneError(Exception):
    """The environment ended before it took the invocation."""


class Environment:
    """One process, and the Runtime API that it talks to."""

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.function = pool.function
        self._state = threading.Condition()
        self._invocation: _Invocation | None = None  # given to the process, not yet answered
        self._waiting: _Invocation | None = None  # to be given with the next GET .../next
        self._ready = False
        self._dead = False
        self._init_error: bytes | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        variables = pool.variables(f"127.0.0.1:{self._port}")
        try:
            with pool.log_file.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                    [sys.executable, "-m", "awslambdaric", self.function.handler],
                    env=variables,
                    cwd=pool.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except BaseException:
            self._close_server()
            raise
        self.pid = self._process.pid
        pool.guardian.watch(self.pid)
        threading.Thread(target=self._watch, daemon=True).start()
        self._init_timer = threading.Timer(INIT_SECONDS, self._give_up_init)
        self._init_timer.daemon = True
        self._init_timer.start()

    def run(self, payload: bytes) -> Result:
        """Give the process one event and wait for its answer, no longer than the time-out.

        Raises:
            _GoneError: the process ended before it took the event.
        """
        request_id = str(uuid.uuid4())
        invocation = _Invocation(request_id, payload, time.time() + self.function.timeout)
        with self._state:
            if self._dead:
                raise _GoneError
            self._waiting = invocation
            self._state.notify_all()
        try:
            result = invocation.answer.result(timeout=self.function.timeout)
        except TimeoutError:
            message = f"Task timed out after {self.function.timeout:.2f} seconds"
            if invocation.fail("Sandbox.Timedout", message):
                self.pool.log(f"{request_id} {message}")
                self.kill()
            result = invocation.answer.result()
        if result is _GONE:
            raise _GoneError
        return result

    def kill(self) -> None:
        """End the process and whatever it has started."""
        kill_group(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Return once the process is gone and forgotten."""
        with self._state:
            self._state.wait_for(lambda: self._dead)

    # The Runtime API, called on the server's threads

    def next(self) -> _Invocation | None:
        """Wait for an event; None when the environment is ending."""
        with self._state:
            first, self._ready = not self._ready, True
            self._invocation = None
        if first:
            self._init_timer.cancel()
        self.pool.ready(self, first)
        with self._state:
            self._state.wait_for(lambda: self._waiting is not None or self._dead)
            self._invocation, self._waiting = self._waiting, None
            return self._invocation

    def answered(self, request_id: str, body: bytes, error: str | None) -> bool:
        """Take the process's answer; False when it answers something else than it was asked."""
        invocation = self._invocation
        if invocation is None or invocation.request_id != request_id:
            return False
        if len(body) > MAX_RESPONSE_BYTES and error is None:
            invocation.fail(
                "Function.ResponseSizeTooLarge",
                f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).",
            )
        else:
            invocation.finish(Result(body, error, request_id))
        return True

    def init_failed(self, body: bytes) -> None:
        self._init_error = body

    # What becomes of the process

    def _watch(self) -> None:
        code = self._process.wait()
        kill_group(self.pid, signal.SIGKILL)  # what it has started and left behind
        self.pool.guardian.forget(self.pid)
        self._init_timer.cancel()
        self._close_server()
        reason = f"signal: {str(signal.strsignal(-code)).lower()}" if code < 0 else f"exit status {code}"
        with self._state:
            self._dead = True
            taken, waiting = self._invocation, self._waiting
            self._state.notify_all()
        if waiting is not None:
            waiting.finish(_GONE)
        if taken is not None and taken.fail("Runtime.ExitError", f"Runtime exited with error: {reason}"):
            self.pool.log(f"{taken.request_id} Runtime exited with error: {reason}")
        failure = None
        if not self._ready:
            request_id = str(uuid.uuid4())
            if self._init_error is not None:
                failure = Result(self._init_error, "Unhandled", request_id)
            else:
                failure = _error("Runtime.ExitError", f"Runtime exited with error: {reason}", request_id)
        self.pool.ended(self, failure)

    def _give_up_init(self) -> None:
        message = f"Init did not end within {INIT_SECONDS:.0f} seconds"
        self._init_error = json.dumps({"errorType": "Sandbox.Timedout", "errorMessage": message}).encode()
        self.kill()

    def _serve(self) -> None:
        """Answer the process's connections, each on a thread; it rarely has more than one."""
        with self._listener:
            while True:
                connection, address = self._listener.accept()
                if self._closing:
                    connection.close()
                    return
                threading.Thread(target=self._converse, args=(connection, address), daemon=True).start()

    def _converse(self, connection: socket.socket, address: Any) -> None:
        with connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            _Handler(connection, address, self)  # type: ignore[arg-type]

    def _close_server(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()  # wakes `accept`


_GONE = Result(b"", None, "")


class _Handler(BaseHTTPRequestHandler):
    """The Runtime API of one environment."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def environment(self) -> Environment:
        return self.server  # type: ignore[return-value]

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}/invocation/next":
            return self._reply(404, b'{"errorType": "NotFound"}')
        invocation = self.environment.next()
        if invocation is None:
            self.close_connection = True
            return None
        return self._reply(
            200,
            invocation.payload,
            {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": self.environment.function.arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
            },
        )

    def do_POST(self) -> None:
        body = self._body()
        parts = self.path.removeprefix(PREFIX).split("/")
        match parts:
            case ["", "invocation", request_id, "response"]:
                known = self.environment.answered(request_id, body, None)
            case ["", "invocation", request_id, "error"]:
                known = self.environment.answered(request_id, body, "Unhandled")
            case ["", "init", "error"]:
                self.environment.init_failed(body)
                known = True
            case _:
                return self._reply(404, b'{"errorType": "NotFound"}')
        if not known:
            return self._reply(
                400, b'{"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}'
            )
        return self._reply(202, b'{"status": "OK"}')

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        try:
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the process was killed meanwhile; its watcher says so

    def log_message(self, format: str, *args: object) -> None:
        pass


class Pool:
    """The environments of one function. Thread-safe.

    Args:
        limit: the most environments at once.
        endpoint: URL that the AWS SDK talks to.
        extra: variables beyond the template's.
        root: folder of `functions/` and `shared/`.
        logs: folder of the log files.
    """

    def __init__(
        self,
        function: Function,
        *,
        limit: int,
        endpoint: str,
        extra: Mapping[str, str],
        root: Path,
        logs: Path,
        guardian: Guardian,
        region: str = "us-east-1",
    ) -> None:
        self.function = function
        self.limit = limit
        self.root = root
        self.guardian = guardian
        self.log_file = logs / f"{function.logical_id}.log"
        self._endpoint = endpoint
        self._extra = dict(extra)
        self._region = region
        self._lock = threading.Lock()
        self._idle: list[Environment] = []  # the last one is the warmest
        self._all: set[Environment] = set()
        self._starting = 0
        self._waiters: deque[Future[Environment | Result]] = deque()
        self._closed = False

    def invoke(self, payload: bytes) -> Result:
        """Run the function on one event and wait for its answer.

        Raises:
            PayloadTooLargeError: the event is over 6 MB.
            PoolClosedError: the stack is stopping.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"{len(payload)} bytes are more than Lambda takes: {MAX_PAYLOAD_BYTES}"
            )
        while True:
            environment = self._acquire()
            if isinstance(environment, Result):
                return environment
            try:
                return environment.run(payload)
            except _GoneError:
                continue  # killed while it was idle: nothing was begun

    def warm(self) -> None:
        """Start one environment if there is none, without waiting for it."""
        with self._lock:
            if not self._all and not self._closed:
                self._start()

    def environments(self) -> list[int]:
        """Process ids of the environments."""
        with self._lock:
            return [environment.pid for environment in self._all]

    def close(self) -> None:
        """End every environment, whatever it is doing."""
        with self._lock:
            self._closed = True
            environments = list(self._all)
            waiters, self._waiters = list(self._waiters), deque()
        for waiter in waiters:
            waiter.set_exception(PoolClosedError())
        for environment in environments:
            environment.kill()
        for environment in environments:
            environment.wait()

    def variables(self, runtime_api: str) -> dict[str, str]:
        """The environment of a process: Lambda's own variables and the template's."""
        function = self.function
        own = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(self.root),
            "PYTHONUNBUFFERED": "1",
            "LAMBDA_TASK_ROOT": str(self.root),
            "_HANDLER": function.handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": function.log_format,
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}",
            "AWS_REGION": self._region,
            "AWS_DEFAULT_REGION": self._region,
            "AWS_ACCESS_KEY_ID": LOCAL.access_key,
            "AWS_SECRET_ACCESS_KEY": LOCAL.secret_key,
            "AWS_SESSION_TOKEN": LOCAL.token or "",
            "AWS_ENDPOINT_URL": self._endpoint,
            # There is no X-Ray daemon to send to.
            "POWERTOOLS_TRACE_DISABLED": "true",
        }
        if function.log_level is not None:
            own["AWS_LAMBDA_LOG_LEVEL"] = function.log_level
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        for name in ("NO_PROXY", "no_proxy"):
            passed_on[name] = f"{passed_on[name]},{LOOPBACK}" if passed_on.get(name) else LOOPBACK
        return {**passed_on, **own, **function.environment, **self._extra}

    def log(self, line: str) -> None:
        """Say something in the function's log that the function cannot say itself."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {line}\n")

    # Called by environments

    def ready(self, environment: Environment, first: bool) -> None:
        """An environment asks for work."""
        with self._lock:
            if first:
                self._starting -= 1
            if self._waiters:
                self._waiters.popleft().set_result(environment)
            else:
                self._idle.append(environment)

    def ended(self, environment: Environment, failure: Result | None) -> None:
        """An environment's process is gone; `failure` when it never asked for work."""
        with self._lock:
            self._all.discard(environment)
            if environment in self._idle:
                self._idle.remove(environment)
            if failure is not None:
                self._starting -= 1
                if self._waiters:
                    self._waiters.popleft().set_result(failure)
            self._scale()

    def _acquire(self) -> Environment | Result:
        with self._lock:
            if self._closed:
                raise PoolClosedError
            if self._idle:
                return self._idle.pop()
            waiter: Future[Environment | Result] = Future()
            self._waiters.append(waiter)
            self._scale()
        # Whichever comes first: a new environment, or a busy one that has finished.
        return waiter.result()

    def _scale(self) -> None:
        """Start what those who wait need, up to the limit. Called with the lock held."""
        while not self._closed and len(self._waiters) > self._starting and len(self._all) < self.limit:
            try:
                self._start()
            except OSError as error:
                waiter = self._waiters.popleft()
                waiter.set_result(
                    _error("Runtime.Unknown", f"no process: {error.strerror}", str(uuid.uuid4()))
                )

    def _start(self) -> None:
        self._all.add(Environment(self))
        self._starting += 1
