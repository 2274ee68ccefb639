"""`magpie webhooks`: what came is listed, shown and replayed; a recorded event is signed and sent."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from stripe import WebhookSignature

from cli.target import NOT_RUNNING
from tests.fakes.stripe_webhooks import BODIES, SECRET

STACKS = """<ListStackResourcesResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">
<ListStackResourcesResult><StackResourceSummaries><member>
<LogicalResourceId>{name}</LogicalResourceId><PhysicalResourceId>magpie-dev-{name}-1x2y</PhysicalResourceId>
<ResourceType>AWS::Lambda::Function</ResourceType><ResourceStatus>CREATE_COMPLETE</ResourceStatus>
<LastUpdatedTimestamp>2026-11-20T10:00:00Z</LastUpdatedTimestamp>
</member></StackResourceSummaries></ListStackResourcesResult></ListStackResourcesResponse>"""


def came(number: int, outcome: str | None, **more: Any) -> dict[str, Any]:
    at = (datetime.now(UTC) - timedelta(hours=number)).isoformat()
    return {
        "provider": "stripe",
        "event_id": f"evt_1SVexample{number:014d}",
        "event_type": "customer.subscription.updated",
        "subject": "cus_ExampleLocal1",
        "user_id": None,
        "occurred_at": at,
        "received_at": at,
        "published_at": at,
        "handled_at": None,
        "outcome": outcome,
        "reason": None,
        **more,
    }


EVENTS = [
    came(1, "applied"),
    came(2, "waiting", reason="No event has said yet whose customer cus_ExampleLocal1 is."),
    came(3, "failed", reason="Two users claim this customer\x1b[31m."),
    came(4, None),
    came(5, None, published_at=None),
]


@dataclass
class There:
    """The AWS endpoint and the API of a Magpie.

    Attributes:
        asked: payloads that the function was invoked with; `invoked` has its names.
        answer: of the function; `failed` where it fails.
        delivered: signature and body of each delivery, which is answered with `status`.
    """

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    invoked: list[str] = field(default_factory=list)
    answer: Any = None
    failed: bool = False
    delivered: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    function: str = "Webhooks"


@pytest.fixture
def there(here: Path) -> Iterator[There]:
    state = There()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/webhooks/stripe":
                state.delivered.append((self.headers["Stripe-Signature"], body.decode()))
                problem = {"detail": "The parameter is not there."}
                self.say(state.status, json.dumps({"received": True} if state.status == 200 else problem))
            elif self.path.startswith("/2015-03-31/functions/"):
                state.invoked.append(self.path.split("/")[3])
                state.asked.append(json.loads(body))
                error = {"X-Amz-Function-Error": "Unhandled"} if state.failed else {}
                self.say(200, json.dumps(state.answer), **error)
            else:
                assert parse_qs(body.decode())["Action"] == ["ListStackResources"]
                self.say(200, STACKS.format(name=state.function))

        def say(self, status: int, text: str, **headers: str) -> None:
            content = text.encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    stack = json.loads((here / "stack.json").read_text())
    stack |= {"aws_url": state.url, "api_url": state.url, "stripe_webhook_secret": SECRET}
    (here / "stack.json").write_text(json.dumps(stack))
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


Run = Callable[..., Any]


def test_what_came_is_listed_with_what_became_of_it(
    run: Run, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.answer = {"events": EVENTS, "next": {"event_id": "evt"}}
    monkeypatch.setenv("COLUMNS", "140")

    ran = run(
        "webhooks", "list", "--provider", "stripe", "--outcome", "none", "--since", "2h", "--limit", "5"
    )

    assert ran.code == 0, ran.err
    (asked,) = there.asked
    assert there.invoked == ["magpie-Webhooks"]
    since = datetime.fromisoformat(asked.pop("since"))
    assert timedelta(hours=2) <= datetime.now(UTC) - since < timedelta(hours=2, minutes=1)
    assert asked == {"action": "list", "provider": "stripe", "outcome": "none", "limit": 5}
    for word in ("applied", "waiting", "unhandled", "unpublished", "evt_1SVexample00000000000001", "1 h",
                 "No event has said yet whose customer"):  # fmt: skip
        assert word in ran.out
    assert "\x1b" not in ran.out
    assert "There are more" in ran.err


@pytest.mark.parametrize("columns", ["80", "140"])
def test_lines_fit_the_terminal_and_ids_stay_whole(
    run: Run, there: There, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    there.answer = {"events": EVENTS, "next": None}
    monkeypatch.setenv("COLUMNS", columns)
    ran = run("webhooks", "list")
    assert max(map(len, ran.out.splitlines())) <= int(columns)
    for event in EVENTS:
        assert event["event_id"] in ran.out


def test_json_is_one_document(run: Run, there: There) -> None:
    there.answer = {"events": EVENTS, "next": None}
    assert run("webhooks", "list", "--json").json == {"events": EVENTS, "more": False}
    there.answer = {"events": [], "next": None}
    assert run("webhooks", "list", "--json").json == {"events": [], "more": False}
    assert run("webhooks", "list").err == "Nothing came yet.\n"
    assert run("webhooks", "list", "--type", "x").err == "Nothing that came fits this.\n"


def test_one_is_shown_masked_unless_its_body_is_asked_for(run: Run, there: There) -> None:
    there.answer = {"events": [{**EVENTS[2], "user_id": "user-1", "body": {"id": "evt_1", "name": "…"}}]}
    ran = run("webhooks", "show", "evt_1")
    for word in ("failed", "Two users claim this customer", "user-1", '"name": "…"', "cus_ExampleLocal1"):
        assert word in ran.out
    assert "--body" in ran.err
    assert "\x1b" not in ran.out
    there.answer = {"events": [{**EVENTS[0], "body": '{"name": "Ada"}'}]}
    ran = run("webhooks", "show", "evt_1", "--body", "--provider", "stripe")
    assert '{"name": "Ada"}' in ran.out
    assert there.asked == [
        {"action": "show", "event_id": "evt_1", "whole": False},
        {"action": "show", "event_id": "evt_1", "whole": True, "provider": "stripe"},
    ]
    assert run("webhooks", "show", "evt_1", "--json").json == there.answer
    there.answer = {"events": []}
    ran = run("webhooks", "show", "evt_9")
    assert (ran.code, ran.err) == (1, "Nothing came with the id evt_9: ./magpie webhooks list.\n")


def test_events_are_sent_round_again_by_name_or_by_what_fits(run: Run, there: There) -> None:
    there.answer = {"events": EVENTS[:2], "replayed": 2, "more": True}
    ran = run("webhooks", "replay", "--outcome", "failed", "--limit", "2")
    assert ran.code == 0
    assert "2 events sent round again" in ran.out
    assert "There are more that fit" in ran.err
    first, second = (event["event_id"] for event in EVENTS[:2])
    there.answer |= {"more": False}
    assert run("webhooks", "replay", first, second, first).code == 0
    ran = run("webhooks", "replay", first, "evt_9", "--dry-run", "--json")
    assert (ran.code, ran.json["missing"]) == (1, ["evt_9"])
    assert "evt_9" in run("webhooks", "replay", "evt_9").err
    assert there.asked[:3] == [
        {"action": "replay", "limit": 2, "dry_run": False, "outcome": "failed"},
        {"action": "replay", "limit": 100, "dry_run": False, "event_ids": [first, second]},
        {"action": "replay", "limit": 100, "dry_run": True, "event_ids": [first, "evt_9"]},
    ]


def test_nothing_is_replayed_without_saying_which(run: Run, there: There) -> None:
    ran = run("webhooks", "replay")
    assert ran.code == 2
    assert "Say which" in ran.err
    assert run("webhooks", "list", "--since", "yesterday").code == 2
    assert there.asked == []


def test_a_function_that_fails_says_why(run: Run, there: There) -> None:
    there.failed, there.answer = True, {"errorType": "TransientError", "errorMessage": "the database is away"}
    ran = run("webhooks", "list")
    assert (ran.code, ran.err) == (1, "Webhooks failed: the database is away.\n")


def test_a_deployment_is_asked_with_the_operator_s_credentials(
    run: Run, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": there.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "operator",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    there.answer = {"events": EVENTS, "next": None}
    assert run("webhooks", "list", "--stack-name", "magpie-dev").code == 0
    assert there.invoked == ["magpie-dev-Webhooks-1x2y"]
    there.function = "Another"
    ran = run("webhooks", "list", "--stack-name", "magpie-dev")
    assert ran.code == 1
    assert "has no Webhooks" in ran.err


def test_a_recorded_event_is_signed_and_sent_as_the_first_user_s(run: Run, there: There) -> None:
    file = str(BODIES / "checkout.session.completed.json")
    ran = run("webhooks", "send", "stripe", file)
    assert ran.code == 0, ran.err
    assert "evt_1SVexampleCheckout was taken" in ran.out
    assert run("webhooks", "send", "stripe", file, "--new", "--json").json["status"] == 200
    for signature, text in there.delivered:
        assert WebhookSignature.verify_header(text, signature, SECRET, tolerance=60)
    first, second = (json.loads(text) for _, text in there.delivered)
    assert first["data"]["object"]["client_reference_id"] == "user-1"
    assert first["id"] != second["id"]
    assert first["data"] == second["data"]


def test_what_cannot_be_sent_is_told(run: Run, there: There, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    for text in ("", "[]", "{}", "null", "1"):
        file.write_text(text)
        for more in ((), ("--new",)):
            assert run("webhooks", "send", "stripe", str(file), *more).code == 2 or text == "{}"
    file.write_text('{"id": "evt_1"}')
    assert run("webhooks", "send", "sns", str(file)).code == 2
    there.status = 503
    ran = run("webhooks", "send", "stripe", str(file))
    assert (ran.code, ran.err) == (1, "It was answered with 503: The parameter is not there.\n")
    assert run("webhooks", "send", "stripe", str(tmp_path / "none.json")).code == 1
    ran = run("webhooks", "send", "stripe", str(file), "--data", str(tmp_path))
    assert ran.err == NOT_RUNNING + "\n"
