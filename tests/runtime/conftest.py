"""The artifact under AWS's runtime emulator, with moto and PostgreSQL behind it."""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
import samcli
import urllib3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from local import resources, template
from tests.fakes import moto_state
from tests.parallel import say_at_the_end
from tests.runtime import artifact as building
from tests.runtime.artifact import ROOT, Artifact
from tests.runtime.permissions import FUNCTION_KEY, Recorder

REGION = "us-east-1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.runtime)
            # The first one waits for `sam build`.
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def artifact(request: pytest.FixtureRequest) -> Artifact:
    try:
        built = building.build()
    except building.NoPythonError as error:
        pytest.skip(str(error))
    sizes = [f"{function:<16} {built.megabytes(function):6.1f} MB" for function in built.functions()]
    say_at_the_end(request.config, "unzipped size on Lambda, layers included", sizes)
    return built


@dataclass(frozen=True)
class Endpoint:
    """AWS on the loopback interface, and what was asked of it."""

    url: str
    recorder: Recorder


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    recorder = Recorder(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, recorder, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Endpoint(f"http://127.0.0.1:{server.server_port}", recorder)
    server.shutdown()
    thread.join()
    server.server_close()


class Aws:
    """The template's resources on that endpoint, and what tests ask of them."""

    def __init__(self, endpoint: str, recorder: Recorder) -> None:
        self.endpoint = endpoint
        self.recorder = recorder
        self.template = template.load(ROOT / "template.yaml")
        self.resources = resources.create(self.template, self.client)
        self.s3 = self.client("s3")
        self.uploads, self.media = self.resources.ref("UploadsBucket"), self.resources.ref("MediaBucket")
        self._heard = self._listen()

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def _listen(self) -> str:
        """Give the bus a queue of our own that hears everything we publish."""
        sqs, events, bus = self.client("sqs"), self.client("events"), self.resources.ref("EventBus")
        url = sqs.create_queue(QueueName="heard-by-the-test")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name="heard", EventBusName=bus, EventPattern='{"source": ["magpie"]}')
        events.put_targets(Rule="heard", EventBusName=bus, Targets=[{"Id": "test", "Arn": arn}])
        return url

    def published(self) -> list[dict[str, Any]]:
        """EventBridge envelopes published since the last call."""
        sqs, envelopes = self.client("sqs"), []
        while messages := sqs.receive_message(QueueUrl=self._heard, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                envelopes.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self._heard, ReceiptHandle=message["ReceiptHandle"])
        return envelopes

    def put_parameter(self, name: str, value: str) -> None:
        self.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


@pytest.fixture(scope="session")
def made(endpoint: Endpoint) -> moto_state.State:
    assert urllib3.request("POST", f"{endpoint.url}/moto-api/reset", timeout=10).status == 200
    aws = Aws(endpoint.url, endpoint.recorder)
    return moto_state.take(aws, aws.template, aws.recorder, aws.s3)


@pytest.fixture
def aws(endpoint: Endpoint, made: moto_state.State) -> Aws:
    assert urllib3.request("POST", f"{endpoint.url}/moto-api/reset", timeout=10).status == 200
    endpoint.recorder.forget()
    aws: Aws = moto_state.put_back(made)
    return aws


@dataclass
class Answer:
    """What an invocation gave back.

    Attributes:
        failed: the function raised, was killed or ran out of time.
        log: everything that the function wrote.
    """

    payload: Any
    failed: bool
    log: str


@dataclass
class Emulator:
    """One execution environment: the artifact under AWS's emulator and its runtime client."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    folder: Path = field(repr=False)

    def invoke(self, event: Any, seconds: float) -> Answer:
        reply = urllib3.request(
            "POST",
            f"http://127.0.0.1:{self.port}/2015-03-31/functions/function/invocations",
            body=json.dumps(event),
            timeout=seconds,
            retries=False,
        )
        payload = reply.json()
        failed = isinstance(payload, dict) and "errorType" in payload
        return Answer(payload, failed, self.log.read_text())


def access_key(logical_id: str) -> str:
    return FUNCTION_KEY + logical_id.upper()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    logical_id: str, built: Artifact, python: Path, environment: dict[str, str], folder: Path
) -> Emulator:
    """Start a function as Lambda would, and return once it listens."""
    machine = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[
        platform.machine().lower()
    ]
    emulator = Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"
    handler = template.load(ROOT / "template.yaml").resources[logical_id].properties["Handler"]
    task = built.function(logical_id)
    port, api_port = free_port(), free_port()
    command = [
        emulator,
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{port}",
        "--runtime-api-address",
        f"127.0.0.1:{api_port}",
        python,
        "-m",
        "awslambdaric",
        handler,
    ]
    log = folder / f"{logical_id}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=task,
            # Nothing of this machine's own environment but where programs are.
            env={
                "PATH": f"{python.parent}:{os.defpath}",
                "LANG": "C.UTF-8",
                "LAMBDA_TASK_ROOT": str(task),
                "PYTHONPATH": ":".join(
                    [str(task), *(str(layer / "python") for layer in built.layers(logical_id))]
                ),
                "PYTHONDONTWRITEBYTECODE": "1",
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                # Tells a function's requests from the test's, and one function's from another's.
                "AWS_ACCESS_KEY_ID": access_key(logical_id),
                "AWS_SECRET_ACCESS_KEY": "testing",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Emulator(process, port, log, folder)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return running
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    pytest.fail(f"the emulator did not start: {log.read_text()}")


@pytest.fixture
def lambda_function(
    artifact: Artifact, aws: Aws, database_url: str, tmp_path: Path
) -> Iterator[Callable[..., Emulator]]:
    """Start a function by its logical id, with the environment that the template gives it."""
    running: list[Emulator] = []
    python = building.lambda_python()

    def run(logical_id: str, *, database: str = database_url, **changed: str) -> Emulator:
        function = aws.resources.functions[logical_id]
        environment = {
            **resources.environment(aws.template, aws.resources, logical_id),
            "AWS_ENDPOINT_URL": aws.endpoint,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            # Cognito gives its triggers five seconds; how fast this machine starts one is not asked here.
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(max(function.timeout, 30)),
            **changed,
        }
        aws.put_parameter(environment["DATABASE_URL_PARAMETER"], database)
        running.append(start(logical_id, artifact, python, environment, tmp_path))
        return running[-1]

    yield run
    for each in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait(timeout=10)


@pytest.fixture
def empty_database_url(database_server: str) -> Iterator[str]:
    """A database that no migration has seen."""
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE never_migrated")
    yield database_server.replace("/postgres?", "/never_migrated?")
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute("DROP DATABASE never_migrated WITH (FORCE)")
