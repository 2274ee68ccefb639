"""Queues that survive the stack, and pollers with Lambda's rules."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from moto.core.base_backend import BackendDict

from local.functions import QueueSource
from local.messages import TRUNCATE_LINES, MessageStore, MoveTaskError
from local.patches import Patches
from local.queues import Poller, failures, record
from local.runtime import Result
from tests.local.running import wait_until

ACCOUNT, REGION = "123456789012", "us-east-1"
ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"


class Queues:
    """Two queues, `jobs` with dead letters `dead`, kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.patches = Patches()
        self.open()

    def open(self) -> None:
        BackendDict.reset()
        self.store = MessageStore(self.folder, ACCOUNT, REGION)
        self.store.install(self.patches)
        self.backend = self.store.backend
        self.dead = self.backend.create_queue("dead")
        policy = json.dumps({"deadLetterTargetArn": f"{ARN}dead", "maxReceiveCount": 2})
        self.jobs = self.backend.create_queue("jobs", RedrivePolicy=policy, VisibilityTimeout="30")
        self.store.load()

    def close(self) -> None:
        self.patches.undo()
        BackendDict.reset()

    def restart(self) -> None:
        """As after `kill -9`: nothing is written on the way out."""
        self.close()
        self.open()

    def send(self, *bodies: str, to: str = "jobs", **arguments: Any) -> None:
        for body in bodies:
            self.backend.send_message(to, body, **arguments)

    def receive(self, count: int = 10, of: str = "jobs", visibility: int = 30, wait: int = 0) -> list[Any]:
        return self.backend.receive_message(of, count, wait, visibility, ["All"])

    def bodies(self, of: str = "jobs") -> list[str]:
        return [message.body for message in self.backend.get_queue(of)._messages]


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[Queues]:
    queues = Queues(tmp_path / "queues")
    yield queues
    queues.close()


def test_messages_survive_a_kill_and_deleted_ones_do_not(queues):
    queues.send("one", "two", "three")
    (first, *_) = queues.receive(1)
    queues.jobs.delete_message(first.receipt_handle)
    queues.restart()
    assert queues.bodies() == ["two", "three"]


def test_a_message_in_flight_is_delivered_again_after_a_restart(queues):
    queues.send("one")
    assert queues.receive()
    assert queues.receive() == []
    queues.restart()
    assert [message.body for message in queues.receive()] == ["one"]


def test_message_attributes_survive(queues):
    attributes = {
        "text": {"DataType": "String", "StringValue": "ä"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    queues.send("one", message_attributes=attributes)
    queues.restart()
    assert queues.receive()[0].message_attributes == attributes


def test_dead_letters_survive_and_know_where_they_came_from(queues):
    queues.send("bad")
    for _ in range(3):
        queues.receive(visibility=0)
    assert (queues.bodies("jobs"), queues.bodies("dead")) == ([], ["bad"])
    queues.restart()
    assert (queues.bodies("jobs"), queues.bodies("dead")) == ([], ["bad"])
    assert queues.receive(of="dead")[0].dead_letter_source == f"{ARN}jobs"


def test_a_torn_last_line_costs_nothing_else(queues):
    queues.send("one", "two")
    with (queues.folder / "jobs.jsonl").open("ab") as journal:
        journal.write(b'{"op":"add","id":"3","bo')
    queues.restart()
    assert queues.bodies() == ["one", "two"]


def test_the_journal_of_an_empty_queue_does_not_grow_for_ever(queues):
    for _ in range(TRUNCATE_LINES // 2 + 1):
        queues.send("x")
        queues.jobs.delete_message(queues.receive()[0].receipt_handle)
    assert (queues.folder / "jobs.jsonl").stat().st_size == 0


def test_no_message_is_lost_or_delivered_twice_when_many_threads_share_a_queue(queues):
    seen: list[str] = []
    done = threading.Event()

    def consume() -> None:
        while not done.is_set() or queues.bodies():
            for message in queues.receive(3):
                seen.append(message.body)
                queues.jobs.delete_message(message.receipt_handle)

    with ThreadPoolExecutor(8) as threads:
        consumers = [threads.submit(consume) for _ in range(4)]
        producers = [threads.submit(queues.send, *[f"{n}-{i}" for i in range(100)]) for n in range(4)]
        for producer in producers:
            producer.result()
        done.set()
        for consumer in consumers:
            consumer.result()
    assert sorted(seen) == sorted(f"{n}-{i}" for n in range(4) for i in range(100))


@pytest.mark.quiet
def test_a_receiver_who_waits_is_woken_by_the_message(queues):
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(queues.receive, wait=20)
        started = time.monotonic()
        queues.send("one")
        assert [message.body for message in waiting.result(5)] == ["one"]
    assert time.monotonic() - started < 1


def test_deleting_twice_is_no_error_and_a_handle_that_never_was_is(queues):
    from moto.sqs.exceptions import ReceiptHandleIsInvalid

    queues.send("one")
    handle = queues.receive()[0].receipt_handle
    queues.jobs.delete_message(handle)
    queues.jobs.delete_message(handle)
    with pytest.raises(ReceiptHandleIsInvalid):
        queues.jobs.delete_message("never")


def test_a_message_that_has_become_too_old_is_gone(queues):
    queues.send("old")
    queues.jobs.message_retention_period = 60
    queues.jobs._messages[0].sent_timestamp -= 61_000
    assert queues.receive() == []
    queues.restart()
    assert queues.bodies() == []


def bury(queues: Queues, *bodies: str) -> None:
    queues.send(*bodies)
    for _ in range(3):
        queues.receive(visibility=0)
    assert queues.bodies("dead") == list(bodies)


def test_dead_letters_are_moved_back_to_where_they_came_from(queues):
    bury(queues, "a", "b")
    before = queues.dead._messages[0].id
    queues.store.start_move(f"{ARN}dead", None, None)
    wait_until(lambda: queues.bodies("jobs") == ["a", "b"])
    (task,) = wait_until(
        lambda: [t for t in queues.store.list_moves(f"{ARN}dead", 10) if t["Status"] == "COMPLETED"]
    )
    assert task["ApproximateNumberOfMessagesMoved"] == task["ApproximateNumberOfMessagesToMove"] == 2
    assert "TaskHandle" not in task
    message = queues.receive(1)[0]
    assert message.approximate_receive_count == 1
    assert message.id != before
    queues.restart()
    assert (queues.bodies("jobs"), queues.bodies("dead")) == (["a", "b"], [])


def test_dead_letters_can_be_moved_to_another_queue(queues):
    bury(queues, "a")
    queues.backend.create_queue("other")
    queues.store.start_move(f"{ARN}dead", f"{ARN}other", None)
    wait_until(lambda: queues.bodies("other") == ["a"])


def test_a_slow_move_can_be_cancelled(queues):
    bury(queues, *"abcdefgh")
    handle = queues.store.start_move(f"{ARN}dead", None, 4)
    with pytest.raises(MoveTaskError, match="already a task running"):
        queues.store.start_move(f"{ARN}dead", None, None)
    wait_until(lambda: queues.bodies("jobs"))
    moved = queues.store.cancel_move(handle)
    assert 1 <= moved < 8
    wait_until(lambda: queues.store.list_moves(f"{ARN}dead", 1)[0]["Status"] == "CANCELLED")
    assert len(queues.bodies("jobs")) + len(queues.bodies("dead")) == 8
    with pytest.raises(MoveTaskError) as raised:
        queues.store.cancel_move(handle)
    assert raised.value.code == "ResourceNotFoundException"


def test_a_letter_that_nobody_sent_there_fails_the_move(queues):
    queues.send("strange", to="dead")
    queues.store.start_move(f"{ARN}dead", None, None)
    task = wait_until(
        lambda: next((t for t in queues.store.list_moves(f"{ARN}dead", 1) if t["Status"] == "FAILED"), None)
    )
    assert task["FailureReason"] == "CouldNotDetermineMessageSource"
    assert queues.bodies("dead") == ["strange"]


@pytest.mark.parametrize(
    ("source", "destination", "code"),
    [
        ("jobs", None, "InvalidParameterValue"),
        ("nowhere", None, "ResourceNotFoundException"),
        ("dead", "nowhere", "ResourceNotFoundException"),
    ],
)
def test_moves_that_sqs_would_refuse_are_refused(queues, source, destination, code):
    with pytest.raises(MoveTaskError) as raised:
        queues.store.start_move(f"{ARN}{source}", destination and f"{ARN}{destination}", None)
    assert raised.value.code == code


# Pollers


class Lambda:
    """Stands for a function: remembers its events and answers what it is told."""

    def __init__(self, *answers: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.times: list[float] = []
        self._answers = list(answers)
        self._lock = threading.Lock()

    def __call__(self, payload: bytes) -> Result:
        with self._lock:
            self.events.append(json.loads(payload))
            self.times.append(time.monotonic())
            answer = self._answers.pop(0) if self._answers else {"batchItemFailures": []}
        if isinstance(answer, Result):
            return answer
        return Result(json.dumps(answer).encode(), None, "id")

    @property
    def bodies(self) -> list[str]:
        return [record["body"] for event in self.events for record in event["Records"]]


@pytest.fixture
def poll(queues: Queues) -> Iterator[Callable[..., Poller]]:
    pollers: list[Poller] = []

    def poll(
        function: Callable[[bytes], Result],
        concurrency: int = 1,
        *,
        more_to_come: Callable[[], bool] = lambda: True,
        **settings: Any,
    ) -> Poller:
        source = QueueSource("Test", "Test", f"{ARN}jobs", **{"partial": True, **settings})
        poller = Poller(source, queues.store, function, concurrency, more_to_come=more_to_come)
        pollers.append(poller)
        poller.start()
        return poller

    yield poll
    for poller in pollers:
        poller.stop()
    for poller in pollers:
        poller.join()


def test_a_batch_that_succeeds_is_deleted(queues, poll):
    function = Lambda()
    queues.send("one", "two")
    poll(function)
    wait_until(lambda: not queues.bodies())
    assert function.bodies == ["one", "two"]


@pytest.mark.quiet
def test_a_message_reaches_an_idle_function_within_milliseconds(queues, poll):
    function = Lambda()
    poll(function)
    latencies = []
    for number in range(20):
        sent = time.monotonic()
        queues.send(str(number))
        wait_until(lambda: not queues.bodies())
        latencies.append(function.times[-1] - sent)
    assert sorted(latencies)[10] < 0.05


@pytest.mark.quiet
def test_a_message_that_becomes_visible_again_is_taken_at_once(queues, poll):
    queues.send("one")
    (message,) = queues.receive()
    function = Lambda()
    poll(function)
    queues.backend.change_message_visibility("jobs", message.receipt_handle, 1)
    asked = time.monotonic()
    wait_until(lambda: function.times)
    assert 0.9 < function.times[0] - asked < 1.3


@pytest.mark.quiet
def test_a_poller_with_nothing_to_do_costs_almost_nothing(queues, poll):
    poll(Lambda())
    before = time.process_time()
    time.sleep(1)  # what is measured is doing nothing
    assert time.process_time() - before < 0.05


def test_only_what_failed_is_kept_for_another_try(queues, poll):
    queues.send("good", "bad")
    bad = queues.jobs._messages[1].id
    poll(Lambda({"batchItemFailures": [{"itemIdentifier": bad}]}))
    wait_until(lambda: queues.bodies() == ["bad"])
    assert queues.jobs.approximate_number_of_messages_not_visible == 1


def test_an_error_keeps_the_whole_batch_hidden_until_its_time_is_over(queues, poll):
    queues.jobs.visibility_timeout = 1
    function = Lambda(Result(b'{"errorType": "ValueError"}', "Unhandled", "id"))
    queues.send("one", "two")
    poll(function)
    wait_until(lambda: not queues.bodies())
    first, second = function.times
    assert 0.9 < second - first < 1.5
    assert [r["attributes"]["ApproximateReceiveCount"] for r in function.events[1]["Records"]] == ["2", "2"]


def test_what_always_fails_ends_as_a_dead_letter(queues, poll):
    queues.jobs.visibility_timeout = 1
    error = Result(b"{}", "Unhandled", "id")
    function = Lambda(error, error, error)
    queues.send("poison")
    poll(function)
    wait_until(lambda: queues.bodies("dead") == ["poison"])
    assert len(function.events) == 2


IDS = ["1", "2", "3"]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (b"null", set()),
        (b"{}", set()),
        (b'""', set()),
        (b'{"batchItemFailures": []}', set()),
        (b'{"batchItemFailures": null}', set()),
        (b'{"other": 1}', set()),
        (b'{"batchItemFailures": [{"itemIdentifier": "2"}]}', {"2"}),
        (b'{"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "2"}]}', {"2"}),
        (b'{"batchItemFailures": [{"itemIdentifier": "9"}]}', set(IDS)),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', set(IDS)),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', set(IDS)),
        (b'{"batchItemFailures": [{"identifier": "2"}]}', set(IDS)),
        (b'{"batchItemFailures": ["2"]}', set(IDS)),
        (b'{"batchItemFailures": "2"}', set(IDS)),
        (b'["2"]', set(IDS)),
        (b'"done"', set(IDS)),
        (b"not json", set(IDS)),
    ],
)
def test_an_answer_means_what_lambda_says_it_means(answer, failed):
    assert failures(Result(answer, None, "id"), IDS, partial=True) == failed


def test_without_partial_failures_any_answer_is_a_success_and_an_error_is_not():
    assert failures(Result(b"anything", None, "id"), IDS, partial=False) == set()
    assert failures(Result(b"{}", "Unhandled", "id"), IDS, partial=False) == set(IDS)
    assert failures(Result(b"{}", "Unhandled", "id"), IDS, partial=True) == set(IDS)


def test_batches_are_no_larger_than_they_may_be(queues, poll):
    queues.send(*"abcdefg")
    function = Lambda()
    poll(function, batch_size=3)
    wait_until(lambda: not queues.bodies())
    assert [len(event["Records"]) for event in function.events] == [3, 3, 1]


def test_a_window_gathers_what_comes_in_it(queues, poll):
    function = Lambda()
    poll(function, batch_size=100, window=1)
    for body in "abc":
        queues.send(body)
        time.sleep(0.1)  # they come one after the other, within the window
    wait_until(lambda: not queues.bodies())
    assert function.bodies == ["a", "b", "c"]
    assert len(function.events) == 1


def test_a_window_ends_when_nothing_more_is_on_its_way(queues, poll):
    function, at_work = Lambda(), threading.Event()
    at_work.set()
    poller = poll(function, batch_size=100, window=300, more_to_come=at_work.is_set)
    queues.send("a")
    wait_until(lambda: not queues.jobs._messages[0].visible)  # taken, and more may come
    queues.send("b")
    wait_until(lambda: not queues.jobs._messages[1].visible)
    assert function.events == []
    at_work.clear()
    poller.wake()
    wait_until(lambda: not queues.bodies())
    assert function.bodies == ["a", "b"]
    assert len(function.events) == 1


def test_a_message_that_waits_for_its_next_try_keeps_nobody_waiting(queues):
    at_rest, gate = threading.Event(), threading.Event()

    def function(payload: bytes) -> Result:
        gate.wait(10)
        return Result(b"{}", "Unhandled", "id")

    source = QueueSource("Test", "Test", f"{ARN}jobs", partial=True)
    poller = Poller(source, queues.store, function, 1, idle=at_rest.set)
    assert not poller.at_work()
    queues.send("one")
    assert poller.at_work()
    poller.start()
    try:
        wait_until(lambda: not queues.jobs._messages[0].visible)
        assert poller.at_work()
        assert not at_rest.is_set()
        gate.set()
        assert at_rest.wait(5)
        assert queues.bodies() == ["one"]
        assert not poller.at_work()
    finally:
        gate.set()
        poller.stop()
        poller.join()


def test_a_full_batch_does_not_wait_for_its_window(queues, poll):
    queues.send(*"abc")
    function = Lambda()
    started = time.monotonic()
    poll(function, batch_size=3, window=300)
    wait_until(lambda: not queues.bodies())
    assert time.monotonic() - started < 5


def test_a_batch_too_large_for_one_event_is_split(queues, poll):
    queues.jobs.maximum_message_size = 4_000_000
    queues.send('"' * 1_000_000, '"' * 1_000_000, '"' * 1_000_000, '"' * 1_000_000)
    function = Lambda()
    poll(function, batch_size=100, window=1)
    wait_until(lambda: not queues.bodies())
    assert len(function.bodies) == 4
    assert all(len(json.dumps(event)) <= 6 * 1024 * 1024 for event in function.events)


def test_as_many_batches_at_once_as_allowed_and_no_more(queues, poll):
    together, most, lock = 0, 0, threading.Lock()
    three = threading.Barrier(3)

    def function(payload: bytes) -> Result:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        three.wait(10)
        with lock:
            together -= 1
        return Result(b"null", None, "id")

    queues.send(*"abcdefghi")
    poll(function, concurrency=3, batch_size=1)
    wait_until(lambda: not queues.bodies())
    assert most == 3


def test_a_record_has_exactly_lambdas_shape(queues):
    queues.send("ä", message_attributes={"n": {"DataType": "Number", "StringValue": "1"}})
    (message,) = queues.receive()
    shown = record(message, f"{ARN}jobs")
    assert shown == {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": "ä",
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(message.sent_timestamp),
            "SenderId": message.sender_id,
            "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
        },
        "messageAttributes": {
            "n": {
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": "Number",
                "stringValue": "1",
            }
        },
        "md5OfBody": "8419b71c87a225a2c70b50486fbee545",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"{ARN}jobs",
        "awsRegion": "us-east-1",
    }
