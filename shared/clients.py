"""The AWS clients, made at first use and kept.

Never made at import: a boto3 client costs 100 ms and more, and one made before a test has replaced
the endpoint talks to the real AWS.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

MAIL_SECONDS = 10
"""How long a region is waited for that is given a mail."""


def _config() -> "Config":
    """Bounded waits everywhere: a function that hangs costs money and says nothing."""
    from botocore.config import Config

    return Config(
        connect_timeout=3,
        read_timeout=20,
        retries={"mode": "standard", "max_attempts": 3},
    )


@cache
def s3() -> "S3Client":
    import boto3
    from botocore.config import Config

    # What is signed for others to use must name the bucket's own region and the current signature:
    # without both, boto3 signs for a global address that answers a browser's upload with a redirect.
    signing = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    return boto3.client("s3", config=_config().merge(signing))


@cache
def events() -> "EventBridgeClient":
    import boto3

    return boto3.client("events", config=_config())


@cache
def sqs() -> "SQSClient":
    import boto3

    return boto3.client("sqs", config=_config())


@cache
def sns(region: str) -> Any:
    """Of the region of a topic, which need not be our own."""
    import boto3

    return boto3.client("sns", region_name=region, config=_config())


@cache
def ses(region: str) -> Any:
    """Of a region: where the first does not send, another is asked. So a call is one try, and no long one."""
    import boto3
    from botocore.config import Config

    quick = Config(read_timeout=MAIL_SECONDS, retries={"mode": "standard", "total_max_attempts": 1})
    return boto3.client("sesv2", region_name=region, config=_config().merge(quick))


@cache
def ssm() -> "SSMClient":
    import boto3

    return boto3.client("ssm", config=_config())


@cache
def cognito() -> "CognitoIdentityProviderClient":
    import boto3

    return boto3.client("cognito-idp", config=_config())


@cache
def stepfunctions() -> "SFNClient":
    import boto3

    return boto3.client("stepfunctions", config=_config())


@cache
def functions() -> "LambdaClient":
    import boto3
    from botocore.config import Config

    # A function may take its whole time-out to answer, and is not to be asked twice.
    patient = Config(read_timeout=310, retries={"mode": "standard", "max_attempts": 1})
    return boto3.client("lambda", config=_config().merge(patient))
