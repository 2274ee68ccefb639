"""A stack in a process of its own, and what tests need of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import psutil
import urllib3
from botocore.config import Config

from local.signatures import LOCAL

ROOT = Path(__file__).resolve().parents[2]
SMALL = Path(__file__).parent / "template.yaml"


class Refused(Exception):
    """The stack did not start; the message is what it said."""


class Running:
    """Started by the constructor, which returns when the stack is ready."""

    def __init__(self, data: Path, *arguments: str, template: Path = SMALL, **environment: str) -> None:
        self.data = data
        others = ("AWS_", "ANTHROPIC_", "VOYAGE_", "STRIPE_")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        self.errors = data.with_name(f"{data.name}.stderr")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.local.run_stack",
                    str(data),
                    "--template",
                    str(template),
                    *arguments,
                ],
                cwd=ROOT,
                env={**clean, **environment},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.process.stdout.close()
            raise Refused(self.errors.read_text())
        self.seconds: float = json.loads(line)["seconds"]
        self.info: dict[str, Any] = json.loads((data / "stack.json").read_text())
        self.api_url, self.aws_url = self.info["api_url"], self.info["aws_url"]
        self.http = urllib3.PoolManager(retries=False)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.aws_url,
            region_name="us-east-1",
            # The stack's own, so that it can check what they sign for others.
            aws_access_key_id=LOCAL.access_key,
            aws_secret_access_key=LOCAL.secret_key,
            config=Config(
                proxies={},
                retries={"mode": "standard", "max_attempts": 1},
                signature_version="s3v4" if service == "s3" else None,
            ),
        )

    def token(self, email: str | None = None, password: str | None = None, kind: str = "AccessToken") -> str:
        user = self.info["user"]
        answer = self.client("cognito-idp").initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=self.info["sign_in"]["client_id"],
            AuthParameters={"USERNAME": email or user["email"], "PASSWORD": password or user["password"]},
        )
        return answer["AuthenticationResult"][kind]

    def new_user(self, email: str, password: str) -> str:
        """Make a user and return their sub."""
        pool = self.info["sign_in"]["user_pool_id"]
        cognito = self.client("cognito-idp")
        made = cognito.admin_create_user(UserPoolId=pool, Username=email, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=password, Permanent=True)
        return next(a["Value"] for a in made["User"]["Attributes"] if a["Name"] == "sub")

    def request(self, method: str, path: str, **arguments: Any) -> urllib3.BaseHTTPResponse:
        return self.http.request(method, self.api_url + path, **arguments)

    def queue_url(self, name: str) -> str:
        return self.client("sqs").get_queue_url(QueueName=f"magpie-{name}")["QueueUrl"]

    def family(self) -> list[psutil.Process]:
        """Every process of the stack but its first: functions, guardian, database."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stdout
        self.process.stdout.close()
        self.http.clear()
        return self.process.wait(60)


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
