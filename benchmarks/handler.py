"""The API's own handler in this process, with the environment that the template gives it."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"

Call = Callable[..., dict[str, Any]]


@dataclass
class Context:
    """What the handler reads of Lambda's context object."""

    function_name: str = "magpie-bench"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:magpie-bench"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 15_000


@contextmanager
def running(database_url: str) -> Iterator[Call]:
    """Yield what calls the handler as somebody: `call(user_id, path, **query)` returns the parsed body.

    Once in a process, which keeps the environment that it read first.
    """
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "LAMBDA_TASK_ROOT": str(ROOT),
        "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    }
    import boto3
    from moto import mock_aws

    from local import resources, template

    with mock_aws():
        described = template.load(ROOT / "template.yaml")
        made = resources.create(described, lambda service: boto3.client(service, region_name=REGION))
        os.environ |= resources.environment(described, made, "Api") | {"EMBEDDER": "offline"}
        boto3.client("ssm", region_name=REGION).put_parameter(
            Name=os.environ["DATABASE_URL_PARAMETER"], Value=database_url, Type="SecureString"
        )
        from functions.api.handler import lambda_handler
        from shared import database

        sample = json.loads((ROOT / "events" / "samples" / "api" / "list_items.json").read_text())

        def call(user_id: str, path: str, **query: Any) -> dict[str, Any]:
            event = copy.deepcopy(sample)
            event |= {"rawPath": path, "rawQueryString": urlencode(query)}
            event["queryStringParameters"] = {name: str(value) for name, value in query.items()}
            context = event["requestContext"]
            context["http"] |= {"method": "GET", "path": path}
            context["authorizer"]["jwt"]["claims"] |= {
                "sub": user_id,
                "client_id": os.environ["USER_POOL_CLIENT_ID"],
            }
            answer = lambda_handler(event, Context())
            if answer["statusCode"] != 200:
                raise RuntimeError(f"{path} answered {answer['statusCode']}: {answer['body']}")
            body: dict[str, Any] = json.loads(answer["body"])
            return body

        try:
            yield call
        finally:
            database.close()
