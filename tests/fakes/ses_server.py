"""An SES on loopback, of every region: takes mail as the real one does, and refuses it as one tells it to.

boto3 itself talks to it: `AWS_ENDPOINT_URL_SESV2` leads here. Which region is meant says the signature.
Shapes as of November 2026, https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Request = dict[str, Any]


@dataclass
class Answer:
    """An HTTP answer.

    Attributes:
        code: of the error, None where it went well.
        hangs: whether nothing is answered until the test is over.
    """

    status: int
    body: dict[str, Any]
    code: str | None = None
    hangs: bool = False


def failure(status: int, code: str, message: str = "as the test wants it") -> Answer:
    return Answer(status, {"message": message}, code)


THROTTLED = failure(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
PAUSED = failure(400, "SendingPausedException", "Sending is paused for this account.")
SUSPENDED = failure(400, "AccountSuspendedException", "The account is suspended.")
QUOTA = failure(400, "LimitExceededException", "Daily message quota exceeded.")
BROKEN = failure(500, "InternalFailure")
UNAVAILABLE = failure(503, "ServiceUnavailable")
REJECTED = failure(400, "MessageRejected", "Email address is not verified: magpie@example.com")
UNVERIFIED = failure(400, "MailFromDomainNotVerifiedException")
NO_SUCH_SET = failure(404, "NotFoundException", "Configuration set <magpie-dev> does not exist.")
MALFORMED = failure(400, "BadRequestException")
FORBIDDEN = failure(403, "AccessDeniedException", "User is not authorized to perform ses:SendEmail")
HANGING = Answer(200, {}, hangs=True)


@dataclass
class SesServer:
    """What was asked, and what is answered.

    Attributes:
        mails: the requests that were taken, each with its `region`.
        asked: the region of every request, in order.
        trouble: by region, what is answered there instead.
        before: called with each request before it is answered.
    """

    url: str = ""
    mails: list[Request] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    trouble: dict[str, Answer] = field(default_factory=dict)
    before: Callable[[Request], None] = lambda request: None
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: Request, region: str) -> Answer:
        self.asked.append(region)
        self.before(request)
        if region in self.trouble:
            answer = self.trouble[region]
            if answer.hangs:
                self.over.wait(60)
            return answer
        self.mails.append(request | {"region": region})
        return Answer(200, {"MessageId": f"message-{len(self.mails)}"})


@contextmanager
def running() -> Iterator[SesServer]:
    """Run the server on a free port of loopback."""
    ses = SesServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/ses/", self.headers["Authorization"])
            assert scope, "not signed for SES"
            assert self.path == "/v2/email/outbound-emails"
            answer = ses.answer(body, scope[1])
            raw = json.dumps(answer.body).encode()
            try:
                self.send_response(answer.status)
                if answer.code:
                    self.send_header("x-amzn-ErrorType", answer.code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except ConnectionError:
                self.close_connection = True  # the client has given up, as some tests want it to

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ses.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield ses
    finally:
        ses.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
