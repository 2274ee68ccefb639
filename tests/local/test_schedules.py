"""The template's schedules: read, fired at their time, fired at once."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import functions
from local.functions import Schedule
from local.runtime import Result
from local.schedules import Clock, UnknownScheduleError
from local.template import Names, TemplateError, _Loader, load
from tests.local.running import Running
from tests.local.test_resources import SMALL

WHERE = {"account": "123456789012", "region": "us-east-1"}


class Heard:
    """Stands where functions are run, and remembers what they were given."""

    def __init__(self, error: str | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.sent: list[tuple[str, Any]] = []
        self.called = threading.Event()
        self._error = error

    def send(self, queue: str, text: str) -> None:
        """Stands where messages are sent."""
        self.sent.append((queue, json.loads(text)))
        self.called.set()

    def __call__(self, function: str, payload: bytes) -> Result:
        self.calls.append((function, json.loads(payload)))
        self.called.set()
        return Result(b'{"done": true}', self._error, "id")


def schedule(expression: str = "rate(1 minute)", **more: Any) -> Schedule:
    return Schedule("Sweeper.Events.Regularly", "sweeper", "Sweeper", expression, **more)


def test_a_schedule_gives_the_event_of_eventbridge_or_an_input_of_its_own() -> None:
    heard = Heard()
    Clock([schedule()], heard, heard.send, **WHERE).fire("sweeper")
    ((function, event),) = heard.calls
    assert function == "Sweeper"
    assert (event["detail-type"], event["source"], event["detail"]) == ("Scheduled Event", "aws.events", {})
    assert list(event) == [
        "version",
        "id",
        "detail-type",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail",
    ]
    Clock([schedule(input='{"only": "this"}')], heard, heard.send, **WHERE).fire("sweeper")
    assert heard.calls[1] == ("Sweeper", {"only": "this"})


def test_a_schedule_that_is_due_fires_by_itself_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    clock = Clock([schedule()], heard, heard.send, **WHERE)
    soon = iter([0.05, 0.05])

    def next_one(source: Schedule, now: Any) -> Any:
        from datetime import timedelta

        seconds = next(soon, None)
        return None if seconds is None else now + timedelta(seconds=seconds)

    monkeypatch.setattr(Clock, "_next", staticmethod(next_one))
    clock.start()
    assert heard.called.wait(5)
    heard.called.clear()
    assert heard.called.wait(5)
    clock.stop()
    assert len(heard.calls) == 2


def test_a_schedule_with_a_queue_fills_it_and_is_run_directly_when_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = Heard()
    clock = Clock([schedule(queue="arn:aws:sqs:::jobs")], heard, heard.send, **WHERE)
    soon = iter([0.01])
    monkeypatch.setattr(Clock, "_next", staticmethod(lambda source, now: next((now for _ in soon), None)))
    clock.start()
    assert heard.called.wait(5)
    clock.stop()
    ((queue, event),) = heard.sent
    assert (queue, event["source"], heard.calls) == ("arn:aws:sqs:::jobs", "aws.events", [])
    assert clock.fire("sweeper").json() == {"done": True}
    assert len(heard.calls) == 1


def test_a_disabled_schedule_fires_only_when_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    clock = Clock([schedule(enabled=False)], heard, heard.send, **WHERE)
    asked: list[Schedule] = []
    monkeypatch.setattr(Clock, "_next", staticmethod(lambda source, now: asked.append(source)))
    clock.start()
    clock.stop()
    assert asked == []
    clock.fire("sweeper")
    assert len(heard.calls) == 1
    with pytest.raises(UnknownScheduleError):
        clock.fire("sweper")


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> list[Schedule]:
    document = yaml.load(SMALL.read_text(), Loader=_Loader)  # noqa: S506
    change(document["Resources"])
    path = tmp_path / "template.yaml"
    path.write_text(json.dumps(document))
    return functions.read_schedules(load(path), Names())


def test_schedules_are_named_like_their_function_in_the_code(tmp_path: Path) -> None:
    def two(made: dict[str, Any]) -> None:
        made["Echo"]["Properties"]["Events"] = {
            "EveryMorning": {"Type": "Schedule", "Properties": {"Schedule": "cron(0 6 * * ? *)"}},
            "Often": {
                "Type": "Schedule",
                "Properties": {"Schedule": "rate(5 minutes)", "Enabled": False, "Input": "{}"},
            },
        }

    assert [(each.name, each.enabled, each.input) for each in changed(tmp_path, two)] == [
        ("echo.every_morning", True, None),
        ("echo.often", False, "{}"),
    ]


@pytest.mark.parametrize(
    "event", [{"Schedule": "cron(0 6 * * * *)"}, {}, {"Schedule": "rate(1 day)", "Input": "no JSON"}]
)
def test_a_schedule_that_eventbridge_would_refuse_is_refused(event: dict[str, Any], tmp_path: Path) -> None:
    def wrong(made: dict[str, Any]) -> None:
        made["Echo"]["Properties"]["Events"] = {"Wrong": {"Type": "Schedule", "Properties": event}}

    with pytest.raises(TemplateError, match="Echo"):
        changed(tmp_path, wrong)


def test_the_stack_fires_a_schedule_when_it_is_asked_to(stack: Running) -> None:
    def ask(method: str, path: str, **headers: str) -> tuple[int, Any]:
        answer = stack.http.request(method, f"{stack.aws_url}/_local/schedules{path}", headers=headers)
        return answer.status, answer.json()

    assert ask("GET", "") == (200, {"schedules": ["echo"]})
    status, answer = ask("POST", "/echo")
    assert (status, answer["error"]) == (200, None)
    assert answer["answer"]["event"]["source"] == "aws.events"
    status, answer = ask("POST", "/eko")
    assert (status, "there are: echo" in answer["message"]) == (404, True)
    assert ask("GET", "/echo")[0] == 405
    assert ask("POST", "/echo", Origin="https://evil.example")[0] == 403
