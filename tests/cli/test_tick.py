"""`magpie tick`: a schedule of the stack, fired now."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cli.target import NOT_RUNNING


@pytest.fixture
def endpoint(here) -> Iterator[list[str]]:
    """The stack's AWS endpoint, as far as schedules go; yields what was asked of it."""
    asked: list[str] = []
    answers = {
        "/_local/schedules": (200, {"schedules": ["nightly", "sweeper"]}),
        "/_local/schedules/sweeper": (200, {"error": None, "answer": {"sent": 2, "failed": 0}}),
        "/_local/schedules/nightly": (
            200,
            {"error": "Unhandled", "answer": {"errorType": "TransientError", "errorMessage": "no database"}},
        ),
    }

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            status, body = answers.get(self.path, (404, {"message": "no schedule is named so"}))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stack = json.loads((here / "stack.json").read_text())
    (here / "stack.json").write_text(
        json.dumps(stack | {"aws_url": f"http://127.0.0.1:{server.server_port}"})
    )
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_schedule_is_fired_and_says_what_it_did(run, endpoint):
    ran = run("tick", "sweeper")
    assert (ran.code, ran.out) == (0, "sweeper: sent 2, failed 0\n")
    assert run("tick", "sweeper", "--json").json == {
        "schedule": "sweeper",
        "answer": {"sent": 2, "failed": 0},
    }
    assert endpoint == ["POST /_local/schedules/sweeper"] * 2


def test_without_a_name_all_are_named(run, endpoint):
    assert run("tick").out == "nightly\nsweeper\n"
    assert run("tick", "--json").json == {"schedules": ["nightly", "sweeper"]}


def test_a_schedule_that_fails_fails_the_command(run, endpoint):
    ran = run("tick", "nightly")
    assert ran.code == 1
    assert "TransientError: no database" in ran.err
    assert run("tick", "nightly", "--json").json["error"]["code"] == "failed"


def test_a_name_that_is_none_is_told(run, endpoint):
    assert run("tick", "sweper").code == 1
    ran = run("tick", "../../x")
    assert ran.code == 2
    assert "POST /_local/schedules/../../x" not in endpoint


def test_without_a_stack_there_is_one_line(run, tmp_path):
    assert run("tick", "--data", str(tmp_path)).err == NOT_RUNNING + "\n"
