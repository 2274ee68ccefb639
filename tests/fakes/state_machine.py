"""The template's state machine, run by moto's interpreter against the real handlers, in this process."""

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from local import machines
from local.patches import Patches
from local.runtime import Result
from shared import launching, runs
from shared.runs import RunInput
from tests.conftest import Aws, LambdaContext, client
from tests.contract.conftest import folder

FUNCTIONS = (
    "ImageProcessor",
    "Analyzer",
    "Embedder",
    "ScanPlanner",
    "ScanRecorder",
    "ScanChecker",
    "ScanReporter",
)
SECONDS = 60.0

Before = Callable[[str, dict[str, Any]], None]


class Machine:
    """Starts executions and waits for them.

    Attributes:
        before: called with a function's logical id and its payload before each call; what it raises, the
            function raises.
        calls: what was asked of which function.
        pauses: seconds that retries would have waited.
    """

    def __init__(self, aws: Aws, arn: str) -> None:
        self.arn = arn
        self.before: Before = lambda name, payload: None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.pauses: list[float] = []
        self._names = {function.arn: name for name, function in aws.resources.functions.items()}
        self._lock = threading.Lock()
        self._sfn = client("stepfunctions")
        self._queue = aws.resources.ref("ScanReporterQueue")

    def invoke(self, arn: str, payload: bytes) -> Result:
        """Run a handler as Lambda does; one at a time, for they share this process's one connection."""
        name = self._names[arn]
        asked = json.loads(payload)
        handler = importlib.import_module(f"functions.{folder(name)}.handler").lambda_handler
        try:
            with self._lock:
                self.calls.append((name, asked))
                self.before(name, asked)
                answer = handler(asked, LambdaContext(remaining_ms=300_000))
            return Result(json.dumps(answer).encode(), None, str(uuid4()))
        except Exception as error:  # noqa: BLE001 - told as Lambda tells it
            told = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": ["…"]}
            return Result(json.dumps(told).encode(), "Unhandled", str(uuid4()))

    def start(self, asked: dict[str, Any], name: str | None = None) -> str:
        """Start an execution with an input of its own and return its ARN."""
        return self._sfn.start_execution(
            stateMachineArn=self.arn, name=name or str(uuid4()), input=json.dumps(asked)
        )["executionArn"]

    def wait(self, arn: str) -> dict[str, Any]:
        """Return how an execution ended."""
        deadline = time.monotonic() + SECONDS
        while (found := self._sfn.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, "the execution does not end"
            time.sleep(0.005)
        return found

    def run(self, asked: dict[str, Any], name: str | None = None) -> dict[str, Any]:
        """Start an execution and return how it ended."""
        return self.wait(self.start(asked, name))

    def go(self, **asked: Any) -> tuple[str, dict[str, Any]]:
        """Make a run as the API does, wait for its end, and return its id and how its execution ended."""
        run = RunInput.model_validate({"run_id": uuid4(), "kind": "reprocess", **asked})
        launching.start(run)
        return str(run.run_id), self.wait(runs.execution_arn(self.arn, str(run.run_id)))

    def invoke_by_name(self, name: str, payload: dict[str, Any]) -> Any:
        """Run a handler and return its answer, or Lambda's description of its error."""
        arn = next(arn for arn, known in self._names.items() if known == name)
        return self.invoke(arn, json.dumps(payload).encode()).json()

    def release(self, act: Callable[[], None]) -> None:
        """Do something that needs this process's connection while a function is held up before its work."""
        act()

    def ended_events(self) -> list[dict[str, Any]]:
        """Take the events about ends of executions from the queue of the reporter."""
        sqs, url = client("sqs"), self._queue
        taken = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                taken.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return taken

    def report(self, event: dict[str, Any]) -> Any:
        """Give the reporter an event as its queue does."""
        return self.invoke_by_name("ScanReporter", event)

    def asked(self, name: str) -> list[dict[str, Any]]:
        """What a function was called with."""
        return [payload for called, payload in self.calls if called == name]


@contextmanager
def running(aws: Aws, function_env: Callable[..., dict[str, str]], **settings: str) -> Iterator[Machine]:
    """Have moto run the template's machine; retries wait for nothing."""
    from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl

    for name in FUNCTIONS:
        function_env(name, **settings)
    function_env("Api", **settings)
    patches = Patches()
    machine = Machine(aws, aws.resources.ref("Reprocess"))

    class Clock:
        @staticmethod
        def sleep(seconds: float) -> None:
            machine.pauses.append(seconds)

    try:
        machines.install(patches, machine.invoke, client)
        patches.replace(retrier_decl, "time", Clock)
        resource = aws.template.resources["Reprocess"]
        own = aws.template.resolve(
            {k: v for k, v in resource.properties.items() if k != "Role"}, aws.resources.names, "Reprocess"
        )
        made = client("stepfunctions").create_state_machine(
            name=own["Name"],
            definition=json.dumps(machines.for_moto(machines.definition(aws.template, "Reprocess", own))),
            roleArn="arn:aws:iam::123456789012:role/test",
        )
        assert made["stateMachineArn"] == machine.arn
        yield machine
    finally:
        machines.abandon("123456789012", "us-east-1")
        patches.undo()
