"""`magpie dlq`: found, looked at without being consumed, sent round again, deleted.

The queues are the local stack's own SQS, behind the endpoint that it has; as a deployment, the same endpoint
stands for AWS.
"""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core.base_backend import BackendDict

from cli import letters
from local.aws import Endpoint
from local.mail import MailStore
from local.messages import MessageStore
from local.patches import Patches
from local.users import UserStore

ACCOUNT, REGION = "123456789012", "us-east-1"
ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
STAGES = ("Analyzer", "Embedder", "ImageProcessor")
EVENT = {
    "id": "11111111-0000-4000-8000-000000000001",
    "detail-type": "ImageProcessed",
    "detail": {
        "metadata": {"version": "1", "correlation_id": "JKJaXmPLvHcESHA="},
        "data": {"user_id": "user-1", "item_id": "01939c2f-71b0-7000-8000-000000000001", "n": {"key": "a/b"}},
    },
}
UNDELIVERED = {
    "ERROR_CODE": {"DataType": "String", "StringValue": "NO_PERMISSIONS"},
    "ERROR_MESSAGE": {"DataType": "String", "StringValue": "It may not send there."},
}
DEPLOYED = {
    "Resources": {
        **{
            f"{stage}DeadLetters": {
                "Type": "AWS::SQS::Queue",
                "Properties": {"QueueName": f"dev-{stage}-DLQ"},
            }
            for stage in STAGES
        },
        **{
            f"{stage}Queue": {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "QueueName": f"dev-{stage}",
                    "RedrivePolicy": {
                        "deadLetterTargetArn": {"Fn::GetAtt": [f"{stage}DeadLetters", "Arn"]},
                        "maxReceiveCount": 3,
                    },
                },
            }
            for stage in STAGES
        },
        "Alone": {"Type": "AWS::SQS::Queue"},
    },
    "Outputs": {"ApiUrl": {"Value": "https://abc.execute-api.us-east-1.amazonaws.com"}},
}


class Sqs:
    """The endpoint's queues: `AnalyzerQueue` with dead letters `AnalyzerDeadLetters`, and so on."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._sqs = self.client("sqs")

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def make(self, name: str, dead: str | None = None) -> None:
        policy = {"deadLetterTargetArn": f"{ARN}{dead}", "maxReceiveCount": 3}
        attributes = {"RedrivePolicy": json.dumps(policy)} if dead else {}
        self._sqs.create_queue(QueueName=name, Attributes=attributes)

    def put(self, name: str, body: Any = EVENT, count: int = 1, **attributes: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        for _ in range(count):
            self._sqs.send_message(QueueUrl=self._url(name), MessageBody=text, MessageAttributes=attributes)

    def take(self, name: str) -> list[str]:
        """Receive a message, which nobody else sees then."""
        received = self._sqs.receive_message(QueueUrl=self._url(name), VisibilityTimeout=60)
        return [message["Body"] for message in received.get("Messages", [])]

    def count(self, name: str) -> int:
        known = self._sqs.get_queue_attributes(QueueUrl=self._url(name), AttributeNames=["All"])["Attributes"]
        return int(known["ApproximateNumberOfMessages"])

    def _url(self, name: str) -> str:
        return self._sqs.get_queue_url(QueueName=name)["QueueUrl"]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Sqs]:
    """The AWS endpoint of a stack, as far as queues and CloudFormation go."""

    def nothing(*_: Any) -> Any:
        raise AssertionError("nobody asks for this here")

    BackendDict.reset()
    patches = Patches()
    store = MessageStore(tmp_path / "queues", ACCOUNT, REGION)
    store.install(patches)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = Endpoint(
            listener,
            invoke=nothing,
            messages=store,
            users=UserStore(tmp_path / "users.json", ACCOUNT, REGION),
            mails=MailStore(tmp_path / "mail", ACCOUNT, REGION),
            sign_in=nothing,
        )
        served.start()
        try:
            yield Sqs(served.url)
        finally:
            served.stop()
            patches.undo()
            BackendDict.reset()


@pytest.fixture
def sqs(endpoint: Sqs, here: Path, monkeypatch: pytest.MonkeyPatch) -> Sqs:
    """The queues of the Magpie that runs on this machine."""
    monkeypatch.setattr(letters, "FIRST_LOOK", 0.01)
    monkeypatch.setattr(letters, "SETTLE_SECONDS", 0.05)
    stack = json.loads((here / "stack.json").read_text()) | {"aws_url": endpoint.url}
    (here / "stack.json").write_text(json.dumps(stack))
    for stage in STAGES:
        endpoint.make(f"magpie-{stage}DeadLetters")
        endpoint.make(f"magpie-{stage}Queue", f"magpie-{stage}DeadLetters")
    endpoint.make("magpie-Alone")
    return endpoint


@pytest.fixture
def deployed(endpoint: Sqs, home: Path, monkeypatch: pytest.MonkeyPatch) -> Sqs:
    """The queues of a deployment, the stack `magpie-dev`, whose operator has credentials."""
    monkeypatch.setattr(letters, "FIRST_LOOK", 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "operator")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    endpoint.client("cloudformation").create_stack(StackName="magpie-dev", TemplateBody=json.dumps(DEPLOYED))
    return endpoint


def test_every_queue_that_another_names_is_listed_with_its_age(run, sqs):
    sqs.put("magpie-AnalyzerDeadLetters", count=12)

    ran = run("dlq", "list", "--json")

    assert ran.code == 0, ran.err
    queues = ran.json["queues"]
    assert [queue["queue"] for queue in queues] == [f"{stage}DeadLetters" for stage in STAGES]
    assert [queue["messages"] for queue in queues] == [12, 0, 0]
    assert queues[0]["sources"] == [f"{ARN}magpie-AnalyzerQueue"]
    assert queues[0]["oldest_sent_at"]
    assert "12 dead letters" in run("dlq", "list").err


def test_of_a_long_queue_only_some_are_looked_at_for_their_age(run, sqs, monkeypatch):
    monkeypatch.setattr(letters, "LOOKED_AT", 3)
    sqs.put("magpie-AnalyzerDeadLetters", count=5)

    ran = run("dlq", "list", "--json").json["queues"][0]

    assert (ran["messages"], ran["oldest_of_some"]) == (5, True)
    assert "over now" in run("dlq", "list").out


def test_a_letter_is_shown_and_stays_where_it_is(run, sqs):
    sqs.put("magpie-AnalyzerDeadLetters")
    sqs.put("magpie-EmbedderDeadLetters", "no event, and \x1b[31mred")
    sqs.put("magpie-ImageProcessorDeadLetters", **UNDELIVERED)

    for _ in range(3):
        ran = run("dlq", "show")
        assert ran.code == 0
    for part in ("ImageProcessed", "item_id 01939c2f", "key a/b", "JKJaXmPLvHcESHA=", "no event, and",
                 "Analyzer.log", "NO_PERMISSIONS: It may not send there."):  # fmt: skip
        assert part in ran.out
    assert "\x1b" not in ran.out

    (queue,) = run("dlq", "show", "analyzer", "--json").json["queues"]
    (letter,) = queue["letters"]
    assert letter["body"] == EVENT
    assert letter["correlation_id"] == "JKJaXmPLvHcESHA="
    # Looking counts as receiving, and nothing else comes of it.
    assert letter["receives"] == 4
    assert sqs.count("magpie-AnalyzerDeadLetters") == 1


def test_more_letters_than_one_answer_holds_are_shown_each_once(run, sqs):
    for number in range(14):
        sqs.put("magpie-AnalyzerDeadLetters", str(number))

    (queue,) = run("dlq", "show", "analyzer", "--limit", "13", "--json").json["queues"]

    assert len({letter["body"] for letter in queue["letters"]}) == len(queue["letters"]) == 13
    assert "4 more" in run("dlq", "show", "analyzer", "--limit", "10").err


@pytest.mark.parametrize(
    "name",
    ["AnalyzerDeadLetters", "analyzer", "Analyzer", "magpie-AnalyzerDeadLetters", "ANALYZER-dead_letters"],
)
def test_a_queue_goes_by_several_names(run, sqs, name):
    assert [each["queue"] for each in run("dlq", "show", name, "--json").json["queues"]] == [
        "AnalyzerDeadLetters"
    ]


def test_an_unknown_queue_is_told_with_those_that_are_known(run, sqs):
    for command in ("show", "redrive"):
        ran = run("dlq", command, "alone")
        assert (ran.code, ran.out) == (1, "")
        assert "There are: Analyzer, Embedder, ImageProcessor." in ran.err


def test_letters_are_sent_round_again_until_their_queue_is_empty(run, sqs):
    sqs.put("magpie-AnalyzerDeadLetters", count=3)
    sqs.put("magpie-EmbedderDeadLetters")

    ran = run("dlq", "redrive", "analyzer", "--json")

    assert ran.code == 0, ran.err
    # They never came from that queue: it is named, or they could not go back.
    assert ran.json["queues"] == [
        {"queue": "AnalyzerDeadLetters", "moved": 3, "left": 0, "to": [f"{ARN}magpie-AnalyzerQueue"]}
    ]
    assert sqs.count("magpie-AnalyzerQueue") == 3
    assert sqs.count("magpie-EmbedderDeadLetters") == 1

    ran = run("dlq", "redrive")
    assert (ran.code, ran.out) == (0, "EmbedderDeadLetters: 1 message moved to magpie-EmbedderQueue.\n")
    assert run("dlq", "redrive", "--json").json == {"queues": []}

    # A later move is told of itself, and not of the one before.
    sqs.put("magpie-AnalyzerDeadLetters", count=2)
    assert run("dlq", "redrive", "analyzer", "--json").json["queues"][0]["moved"] == 2


def test_a_move_that_is_going_on_is_followed_instead_of_a_second_one(run, sqs, monkeypatch):
    sqs.put("magpie-AnalyzerDeadLetters", count=4)
    count = letters.Letters.count

    def count_and_be_overtaken(self: letters.Letters, queue: letters.Queue) -> int:
        found = count(self, queue)
        self.sqs.start_message_move_task(
            SourceArn=queue.arn, DestinationArn=queue.sources[0], MaxNumberOfMessagesPerSecond=4
        )
        return found

    monkeypatch.setattr(letters.Letters, "count", count_and_be_overtaken)
    ran = run("dlq", "redrive", "analyzer", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["queues"][0]["moved"] == 4
    assert sqs.count("magpie-AnalyzerQueue") == 4


def test_letters_that_somebody_is_looking_at_are_left_and_told(run, sqs):
    sqs.put("magpie-AnalyzerDeadLetters", count=2)
    assert sqs.take("magpie-AnalyzerDeadLetters")

    ran = run("dlq", "redrive", "analyzer")

    assert ran.code == 1
    assert "1 message moved" in ran.out
    assert "1 left" in ran.out


def test_letters_are_deleted_only_after_asking(run, sqs, monkeypatch):
    sqs.put("magpie-AnalyzerDeadLetters", count=2)

    assert run("dlq", "purge", "analyzer").code == 2  # nobody is there to be asked
    assert sqs.count("magpie-AnalyzerDeadLetters") == 2

    ran = run("dlq", "purge", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["queues"] == [{"queue": "AnalyzerDeadLetters", "purged": 2}]
    assert sqs.count("magpie-AnalyzerDeadLetters") == 0
    assert run("dlq", "purge", "--yes", "--json").json == {"queues": []}


def test_the_queues_of_a_deployment_are_those_of_its_stack(run, deployed):
    deployed.make("somebody-elses-dead")
    deployed.make("somebody-elses", "somebody-elses-dead")
    deployed.put("dev-Embedder-DLQ", count=2)

    ran = run("dlq", "list", "--stack-name", "magpie-dev", "--json")

    assert ran.code == 0, ran.err
    assert {each["queue"]: each["messages"] for each in ran.json["queues"]} == {
        "AnalyzerDeadLetters": 0,
        "EmbedderDeadLetters": 2,
        "ImageProcessorDeadLetters": 0,
    }
    ran = run("dlq", "redrive", "embedder", "--stack-name", "magpie-dev")
    assert (ran.code, ran.out) == (0, "EmbedderDeadLetters: 2 messages moved to dev-Embedder.\n")
    assert deployed.count("dev-Embedder") == 2


def test_a_deployment_is_found_by_the_address_of_its_api(run, deployed, monkeypatch):
    monkeypatch.setenv("MAGPIE_API_URL", DEPLOYED["Outputs"]["ApiUrl"]["Value"] + "/")
    assert len(run("dlq", "list", "--json").json["queues"]) == 3

    # Never the queues of another one.
    monkeypatch.setenv("MAGPIE_API_URL", "https://other.execute-api.us-east-1.amazonaws.com")
    ran = run("dlq", "purge", "--yes", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "unknown_stack")
    assert "magpie-dev, magpie-prod" in ran.json["error"]["message"]


def test_a_stack_that_is_not_there_is_told(run, deployed):
    ran = run("dlq", "list", "--stack-name", "magpie-tset", "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "unknown_stack")
    assert "magpie-prod" in ran.json["error"]["message"]


def test_without_credentials_or_region_it_is_told_what_to_do(run, deployed, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    ran = run("dlq", "list", "--stack-name", "magpie-dev", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "no_credentials")
    assert "AWS_PROFILE" in ran.json["error"]["message"]

    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert (
        run("dlq", "list", "--stack-name", "magpie-dev", "--json").json["error"]["code"] == "no_credentials"
    )

    monkeypatch.delenv("AWS_PROFILE")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert run("dlq", "list", "--stack-name", "magpie-dev", "--json").json["error"]["code"] == "no_region"


def test_a_stack_and_an_address_contradict_each_other(run, here):
    assert run("dlq", "list", "--stack-name", "x", "--data", "y").code == 2


def test_a_stack_whose_queues_do_not_answer_does_not_run(run, sqs, here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        stack = json.loads((here / "stack.json").read_text()) | {"aws_url": url}
        (here / "stack.json").write_text(json.dumps(stack))

        started = time.monotonic()
        ran = run("dlq", "list", "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "not_running")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("columns", ["60", "80", "140"])
def test_lines_fit_the_terminal(run, sqs, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    sqs.put("magpie-ImageProcessorDeadLetters", count=2)

    for command in ("list", "show"):
        ran = run("dlq", command)
        assert max(map(len, ran.out.splitlines())) <= int(columns), command
