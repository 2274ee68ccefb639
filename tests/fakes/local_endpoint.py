"""The AWS endpoint of the local stack without a stack behind it, as far as mail goes."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.core.base_backend import BackendDict

from local.aws import Endpoint
from local.mail import MailStore
from local.messages import MessageStore
from local.patches import Patches
from local.runtime import Result
from local.users import UserStore

ACCOUNT, REGION = "123456789012", "us-east-1"


@dataclass
class Served:
    """Where it is, and what was sent there."""

    url: str
    mails: MailStore

    def client(self, service: str, region: str = REGION) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def send(
        self, to: str = "ada@example.com", subject: str = "Hello", region: str = REGION, **more: Any
    ) -> str:
        """Have SES send a mail; returns its message id."""
        answer = self.client("sesv2", region).send_email(
            **{
                "FromEmailAddress": "Magpie <magpie@magpie.test>",
                "Destination": {"ToAddresses": [to]},
                "ConfigurationSetName": "magpie-dev",
                "Content": {
                    "Simple": {
                        "Subject": {"Data": subject, "Charset": "UTF-8"},
                        "Body": {"Text": {"Data": "one\ntwo"}, "Html": {"Data": "<p>one</p>"}},
                        "Headers": [{"Name": "List-Unsubscribe", "Value": "<https://m.test/#/account>"}],
                    }
                },
                "EmailTags": [{"Name": "user_id", "Value": "ada"}],
            }
            | more
        )
        return str(answer["MessageId"])

    def listen(self) -> Callable[[], list[dict[str, Any]]]:
        """Hear what SES says on the default bus from now on."""
        sqs, events = self.client("sqs"), self.client("events")
        url = sqs.create_queue(QueueName="heard")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name="heard", EventPattern='{"source": ["aws.ses"]}')
        events.put_targets(Rule="heard", Targets=[{"Id": "test", "Arn": arn}])

        def heard() -> list[dict[str, Any]]:
            received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            return [json.loads(message["Body"]) for message in received.get("Messages", [])]

        return heard


@contextmanager
def serving(folder: Path, invoke: Callable[[str, bytes], Result] | None = None) -> Iterator[Served]:
    """Serve it, with its data in a folder."""

    def nothing(*_: Any) -> Any:
        raise AssertionError("nobody asks for this here")

    BackendDict.reset()
    patches = Patches()
    messages = MessageStore(folder / "queues", ACCOUNT, REGION)
    messages.install(patches)
    mails = MailStore(folder / "mail", ACCOUNT, REGION)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(
            listener,
            invoke=invoke or nothing,
            messages=messages,
            users=UserStore(folder / "users.json", ACCOUNT, REGION),
            mails=mails,
            sign_in=nothing,
        )
        endpoint.start()
        try:
            yield Served(endpoint.url, mails)
        finally:
            endpoint.stop()
            patches.undo()
            BackendDict.reset()
