"""The AWS endpoint of one machine: moto, and what moto lacks, on one loopback port.

Answered here: Lambda's Invoke (by the pools of processes), SQS's message move tasks, SES's SendEmail, the
certificates of SNS, the sign-in page, and the URL that a custom resource sends its answer to. Everything
else is moto's.

The endpoint checks what presigns S3's URLs and forms, and no other credentials, so it only listens to
this machine, and not to every page in this machine's browser: a request that names another host, or comes
from a page that neither the stack nor a CORS rule of the bucket knows, is refused.
"""

import json
import logging
import re
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from local import mail
from local.messages import MessageStore, MoveTaskError
from local.runtime import FunctionMissingError, PayloadTooLargeError, PoolClosedError, Result
from local.schedules import Clock, UnknownScheduleError
from local.serving import Server
from local.sign_in import PREFIX as SIGN_IN_PREFIX
from local.sign_in import SignInPage
from local.template import REGION
from local.users import UserStore, changes

logger = logging.getLogger(__name__)

LOCAL_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
INVOKE_PREFIX = "/2015-03-31/functions/"
ANSWERS_PREFIX = "/_local/answers/"
SCHEDULES_PREFIX = "/_local/schedules"
"""`GET` names the schedules, `POST …/name` fires one now and answers what its function answered."""
CERTIFICATE_PREFIX = "/SimpleNotificationService-"
HOSTS = 256
"""Of how many AWS hosts it is remembered which part of moto they are; a request may name any."""
ASYNC_RETRIES = (60.0, 120.0)
"""Seconds before Lambda tries an asynchronous invocation again."""

StartResponse = Callable[..., Any]
Environ = dict[str, Any]


class Endpoint:
    """The server and its WSGI application.

    Args:
        listener: a bound socket, which the server takes over.
        invoke: runs a function, by name or ARN, on a payload.
        origins: of pages that may talk to it, beyond what buckets' CORS rules say.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        invoke: Callable[[str, bytes], Result],
        messages: MessageStore,
        users: UserStore,
        mails: mail.MailStore,
        sign_in: SignInPage,
        origins: Collection[str] = (),
    ) -> None:
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )

        self._moto = DomainDispatcherApplication(create_backend_app)
        # moto looks through all its folders, and hundreds of patterns, for each request: 0.6 ms of CPU.
        self._moto.get_backend_for_host = lru_cache(HOSTS)(self._moto.get_backend_for_host)  # type: ignore[method-assign]
        self._invoke = invoke
        self._messages = messages
        self._users = users
        self._mails = mails
        self._sign_in = sign_in
        self._origins = set(origins)
        self._answers: dict[str, list[Any]] = {}
        self._answered = threading.Condition()
        self._stopping = threading.Event()
        self.clock: Clock | None = None
        """Fires the template's schedules, once the stack runs."""
        self._server = Server(self, listener, "aws", MotoRequestHandler)
        self.url = self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.stop()

    def answer_url(self) -> tuple[str, str]:
        """A URL for one answer of a custom resource, and the token to wait for it with."""
        token = secrets.token_urlsafe(16)
        self._answers[token] = []
        return f"{self.url}{ANSWERS_PREFIX}{token}", token

    def wait_for_answer(self, token: str, seconds: float) -> dict[str, Any] | None:
        """Return what was put to the URL, or None when nothing came in time."""
        with self._answered:
            self._answered.wait_for(lambda: self._answers[token], timeout=seconds)
            received = self._answers.pop(token)
        return received[0] if received else None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        origin = environ.get("HTTP_ORIGIN")
        if not _local(environ.get("HTTP_HOST", "")):
            return _answer(
                start_response, 403, {"message": "this endpoint is only there for its own machine"}
            )
        if path.startswith(f"{SIGN_IN_PREFIX}/"):
            return self._sign_in(environ, start_response)  # knows itself whose forms it takes
        if origin and not self._knows(origin, path):
            return _answer(start_response, 403, {"message": f"pages of {origin} may not use this endpoint"})
        service, _, action = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        if path.startswith(INVOKE_PREFIX) and path.endswith("/invocations"):
            return self._lambda(environ, start_response)
        if path.startswith(ANSWERS_PREFIX) and environ["REQUEST_METHOD"] == "PUT":
            return self._take_answer(path.removeprefix(ANSWERS_PREFIX), environ, start_response)
        if path.startswith(SCHEDULES_PREFIX):
            return self._schedule(path.removeprefix(SCHEDULES_PREFIX).strip("/"), environ, start_response)
        if path == mail.PATH or path.startswith(mail.PREFIX):
            return self._mail(path, environ, start_response)
        if path.startswith(CERTIFICATE_PREFIX):
            return self._certificate(path.removeprefix("/"), start_response)
        if service == "AmazonSQS" and action.endswith(("MessageMoveTask", "MessageMoveTasks")):
            return self._move(action, environ, start_response)
        if path.startswith("/moto-api"):
            return _answer(start_response, 404, {"message": "not here"})
        if origin and environ["REQUEST_METHOD"] != "OPTIONS":
            # moto answers a bucket's preflights, and forgets the header on the upload that follows.
            start_response = _with_headers(start_response, _cors(origin))
        elif origin and not self._bucket_knows(origin, path):
            return _answer(start_response, 200, None, _cors(origin))
        answer = self._moto(environ, start_response)
        if service == "AWSCognitoIdentityProviderService" and changes(action):
            self._users.save()
        return answer  # type: ignore[no-any-return]

    # Who may ask

    def _knows(self, origin: str, path: str) -> bool:
        return origin in self._origins or self._bucket_knows(origin, path)

    def _bucket_knows(self, origin: str, path: str) -> bool:
        """Whether a CORS rule of the bucket that a path names allows this origin."""
        from moto.s3.models import s3_backends
        from moto.s3.utils import cors_matches_origin

        name = path.lstrip("/").split("/")[0]
        bucket = s3_backends[self._messages.account]["aws"].buckets.get(name)
        return bucket is not None and any(
            rule.allowed_origins is not None and cors_matches_origin(origin, rule.allowed_origins)
            for rule in bucket.cors
        )

    # Lambda

    def _lambda(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        name = unquote(environ["PATH_INFO"].removeprefix(INVOKE_PREFIX).removesuffix("/invocations"))
        payload = _body(environ) or b"{}"
        kind = environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse")
        try:
            json.loads(payload)
        except ValueError as error:
            return _lambda_error(
                start_response,
                400,
                "InvalidRequestContentException",
                f"Could not parse request body: {error}",
            )
        try:
            if kind == "DryRun":
                return _answer(start_response, 204, None)
            if kind == "Event":
                threading.Thread(target=self._invoke_later, args=(name, payload), daemon=True).start()
                return _answer(start_response, 202, None)
            result = self._invoke(name, payload)
        except FunctionMissingError as error:
            return _lambda_error(
                start_response, 404, "ResourceNotFoundException", f"Function not found: {error}"
            )
        except PayloadTooLargeError as error:
            return _lambda_error(start_response, 413, "RequestTooLargeException", str(error))
        except PoolClosedError:
            return _lambda_error(start_response, 503, "ServiceException", "the stack is stopping")
        headers = {"X-Amz-Executed-Version": "$LATEST", "x-amzn-RequestId": result.request_id}
        if result.error is not None:
            headers["X-Amz-Function-Error"] = result.error
        return _answer(start_response, 200, result.payload, headers)

    def _invoke_later(self, name: str, payload: bytes) -> None:
        try:
            for seconds in (*ASYNC_RETRIES, None):
                result = self._invoke(name, payload)
                if result.error is None:
                    return
                logger.error("asynchronous invocation of %s failed: %s", name, result.payload.decode())
                if seconds is None or self._stopping.wait(seconds):
                    return
        except (FunctionMissingError, PayloadTooLargeError, PoolClosedError):
            logger.exception("asynchronous invocation of %s was not made", name)

    # Custom resources

    def _take_answer(self, token: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = json.loads(_body(environ))
        except ValueError:
            return _answer(start_response, 400, {"message": "not JSON"})
        with self._answered:
            if token not in self._answers:
                return _answer(start_response, 404, {"message": "nobody waits for this answer"})
            self._answers[token].append(answer)
            self._answered.notify_all()
        return _answer(start_response, 200, None)

    # Schedules

    def _schedule(self, name: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if self.clock is None:
            return _answer(start_response, 503, {"message": "the stack is starting"})
        if environ["REQUEST_METHOD"] == "GET" and not name:
            return _answer(start_response, 200, {"schedules": self.clock.names()})
        if environ["REQUEST_METHOD"] != "POST" or not name:
            return _answer(start_response, 405, {"message": "POST fires a schedule"})
        try:
            result = self.clock.fire(unquote(name))
        except UnknownScheduleError:
            known = ", ".join(self.clock.names()) or "none"
            return _answer(start_response, 404, {"message": f"no schedule is named so; there are: {known}"})
        except PoolClosedError:
            return _answer(start_response, 503, {"message": "the stack is stopping"})
        return _answer(start_response, 200, {"error": result.error, "answer": result.json()})

    # SES

    def _mail(self, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, region = environ["REQUEST_METHOD"], _region(environ)
        status, answer = mail.respond(self._mails, method, path, lambda: _body(environ), region)
        code = answer.get("__type")
        return _answer(start_response, status, answer, {"X-Amzn-ErrorType": code} if code else None)

    # SNS

    def _certificate(self, name: str, start_response: StartResponse) -> Iterable[bytes]:
        """What messages of a topic are signed with. moto knows it only by the host that it is on at AWS."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.sns.models import sns_backends

        kept = [topics._message_public_keys for _, topics in sns_backends[DEFAULT_ACCOUNT_ID].items()]
        found = next((keys[name] for keys in kept if name in keys), None)
        if found is None:
            return _answer(start_response, 404, {"message": "no such certificate"})
        return _answer(start_response, 200, found, {"Content-Type": "application/x-pem-file"})

    # SQS

    def _move(self, action: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            request = json.loads(_body(environ))
            match action:
                case "StartMessageMoveTask":
                    handle = self._messages.start_move(
                        request["SourceArn"],
                        request.get("DestinationArn"),
                        request.get("MaxNumberOfMessagesPerSecond"),
                    )
                    answer: dict[str, Any] = {"TaskHandle": handle}
                case "ListMessageMoveTasks":
                    limit = int(request.get("MaxResults", 1))
                    answer = {"Results": self._messages.list_moves(request["SourceArn"], limit)}
                case _:
                    moved = self._messages.cancel_move(request["TaskHandle"])
                    answer = {"ApproximateNumberOfMessagesMoved": moved}
        except MoveTaskError as error:
            return _sqs_error(start_response, error.code, str(error))
        except (ValueError, KeyError) as error:
            return _sqs_error(start_response, "InvalidParameterValue", f"not understood: {error}")
        return _answer(start_response, 200, answer, {"Content-Type": "application/x-amz-json-1.0"})


def _local(host: str) -> bool:
    """Whether a Host header names this machine, by address, as localhost or as a bucket below it."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in LOCAL_HOSTS or name.endswith(".localhost")


def _region(environ: Environ) -> str:
    """The region whose service is meant: the one that the request is signed for."""
    scope = re.search(r"Credential=[^/]+/\d{8}/([a-z0-9-]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return scope[1] if scope else REGION


def _body(environ: Environ) -> bytes:
    if environ.get("wsgi.input_terminated"):
        return environ["wsgi.input"].read()  # type: ignore[no-any-return]
    return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # type: ignore[no-any-return]


def _answer(
    start_response: StartResponse, status: int, body: Any, headers: Mapping[str, str] | None = None
) -> Iterable[bytes]:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    start_response(f"{status} {HTTPStatus(status).phrase}", list(sent.items()))
    return [content]


def _lambda_error(start_response: StartResponse, status: int, code: str, message: str) -> Iterable[bytes]:
    return _answer(start_response, status, {"Type": "User", "Message": message}, {"X-Amzn-ErrorType": code})


def _sqs_error(start_response: StartResponse, code: str, message: str) -> Iterable[bytes]:
    body = {"__type": f"com.amazonaws.sqs#{code}", "message": message}
    return _answer(start_response, 400, body, {"x-amzn-query-error": f"AWS.SimpleQueueService.{code};Sender"})


def _cors(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Headers": "*",
        "Access-Control-Allow-Methods": "*",
        "Vary": "Origin",
    }


def _with_headers(start_response: StartResponse, headers: Mapping[str, str]) -> StartResponse:
    replaced = {name.lower() for name in headers}

    def start(status: str, sent: list[tuple[str, str]], exc_info: Any = None) -> Any:
        others = [(name, value) for name, value in sent if name.lower() not in replaced]
        return start_response(status, [*others, *headers.items()], exc_info)

    return start
