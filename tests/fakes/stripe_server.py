"""A Stripe on loopback: sells, remembers idempotency keys, and fails as badly as one tells it to.

Shapes as of November 2026: https://docs.stripe.com/api/prices/list, /api/checkout/sessions/create,
/api/customer_portal/sessions/create, /api/errors and /api/idempotent_requests.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "sk_test_51SVexampleKeyOfTheTests0123456789abcdef"
SLOW_SECONDS = 30
"""How long an answer is held back, unless whoever asks gives up before."""

PRICES = {
    "magpie_plus_monthly": "price_1SVdoGKqPlusMonthly",
    "magpie_team_monthly": "price_1SVdoGKqTeamMonthly",
}


@dataclass(frozen=True)
class Request:
    """What was asked; `params` as the form or the query says them, such as `line_items[0][price]`."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `body` is sent as JSON unless it is bytes. One that is slow comes too late."""

    status: int
    body: Any
    slow: bool = False


def failure(status: int, kind: str, message: str, **more: str) -> Answer:
    return Answer(status, {"error": {"message": message, "type": kind, **more}})


UNAUTHORIZED = failure(401, "invalid_request_error", f"Invalid API Key provided: sk_test_****{KEY[-4:]}")
FORBIDDEN = failure(403, "invalid_request_error", f"The provided key '{KEY[:8]}****' does not have access.")
DECLINED = failure(402, "card_error", "Your card was declined.", code="card_declined")
THROTTLED = failure(429, "invalid_request_error", "Request rate limit exceeded.", code="rate_limit")
BUSY = failure(409, "idempotency_error", "There is another in-progress request using this key.")
BROKEN = failure(500, "api_error", "Sorry! There was an error while talking to one of our backends.")
DOWN = Answer(503, b"<html><body>503 Service Unavailable</body></html>")
NOT_JSON = Answer(200, b"<html>a proxy says hello</html>")
SLOW = Answer(200, {}, slow=True)


def no_such_customer(customer: str) -> Answer:
    return failure(
        400,
        "invalid_request_error",
        f"No such customer: '{customer}'",
        code="resource_missing",
        param="customer",
    )


@dataclass
class StripeServer:
    """What was asked, and what is answered.

    Attributes:
        prices: ids by lookup key.
        customers: that it does not know any more.
        instead: is asked first, and may answer in place of what is right.
        released: ends what is held back.
    """

    base_url: str = ""
    requests: list[Request] = field(default_factory=list)
    prices: dict[str, str] = field(default_factory=lambda: dict(PRICES))
    unknown_customers: set[str] = field(default_factory=set)
    instead: Callable[[Request], Answer | None] = lambda _: None
    released: threading.Event = field(default_factory=threading.Event)
    _answers: dict[str, tuple[Mapping[str, str], Answer]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def will_answer(self, *answers: Answer) -> None:
        """Give these answers one after the other, and then the proper ones."""
        waiting = iter(answers)
        self.instead = lambda _: next(waiting, None)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def answer(self, request: Request) -> Answer:
        if wrong := self.instead(request):
            return wrong
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return UNAUTHORIZED
        if request.method == "GET" and request.path == "/v1/prices":
            return self._prices(request.params)
        if request.method != "POST":
            return failure(404, "invalid_request_error", f"Unrecognized request URL ({request.path}).")
        return self._once(request)

    def _prices(self, params: Mapping[str, str]) -> Answer:
        keys = [value for name, value in params.items() if name.startswith("lookup_keys[")]
        found = [
            {"id": self.prices[key], "object": "price", "active": True, "lookup_key": key, "unit_amount": 900}
            for key in keys
            if key in self.prices
        ]
        return Answer(200, {"object": "list", "url": "/v1/prices", "has_more": False, "data": found})

    def _once(self, request: Request) -> Answer:
        """Do what a POST asks, once for each of its keys."""
        key = request.headers["idempotency-key"]
        if key in self._answers:
            params, answer = self._answers[key]
            if params == request.params:
                return answer
            return failure(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters.",
            )
        answer = self._make(request)
        if answer.status < 400:
            self._answers[key] = (request.params, answer)
        return answer

    def _make(self, request: Request) -> Answer:
        params, number = request.params, next(self._numbers)
        if params.get("customer") in self.unknown_customers:
            return no_such_customer(params["customer"])
        if request.path == "/v1/checkout/sessions":
            if params["line_items[0][price]"] not in self.prices.values():
                return failure(400, "invalid_request_error", "No such price", code="resource_missing")
            session = {
                "id": f"cs_test_{number}",
                "object": "checkout.session",
                "client_reference_id": params.get("client_reference_id"),
                "customer": params.get("customer"),
                "mode": params["mode"],
                "status": "open",
                "url": f"https://checkout.stripe.com/c/pay/cs_test_{number}",
            }
            return Answer(200, session)
        if request.path == "/v1/billing_portal/sessions":
            session = {
                "id": f"bps_{number}",
                "object": "billing_portal.session",
                "configuration": "bpc_1SVexample",
                "created": 1795169999,
                "customer": params["customer"],
                "livemode": False,
                "return_url": params.get("return_url"),
                "url": f"https://billing.stripe.com/p/session/test_{number}",
            }
            return Answer(200, session)
        return failure(404, "invalid_request_error", f"Unrecognized request URL (POST: {request.path}).")


@contextmanager
def running() -> Iterator[StripeServer]:
    """Run the server on a free port of loopback."""
    stripe = StripeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode() or parts.query
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, dict(parse_qsl(sent)), headers)
            stripe.requests.append(request)
            answer = stripe.answer(request)
            if answer.slow:
                stripe.released.wait(SLOW_SECONDS)
            raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            try:
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.send_header("Request-Id", f"req_{len(stripe.requests)}")
                self.end_headers()
                self.wfile.write(raw)
            except ConnectionError:
                self.close_connection = True  # the client has given up, as some tests want it to

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stripe.base_url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stripe
    finally:
        stripe.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
