"""Secrets from Parameter Store: read at first use, kept for five minutes, never logged."""

import time
from functools import cache
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared import clients
from shared.errors import MagpieError, TransientError

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SSMProvider

KEEP_SECONDS = 300
"""A rotated or a new secret is picked up within this time."""

_absent_since: dict[str, float] = {}


def forget() -> None:
    """Read every parameter anew at its next use."""
    _absent_since.clear()
    _provider.cache_clear()


class MissingParameterError(MagpieError):
    """A parameter that this function cannot work without does not exist."""


@cache
def _provider() -> "SSMProvider":
    from aws_lambda_powertools.utilities.parameters import SSMProvider

    return SSMProvider(boto3_client=clients.ssm())


def find(name: str) -> str | None:
    """Return the decrypted parameter, or None where there is none.

    Raises:
        TransientError: Parameter Store throttled or did not answer.
    """
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

    if time.monotonic() - _absent_since.get(name, -KEEP_SECONDS) < KEEP_SECONDS:
        return None
    try:
        value = _provider().get(name, max_age=KEEP_SECONDS, decrypt=True)
    except GetParameterError as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ClientError) and cause.response["Error"]["Code"] == "ParameterNotFound":
            _absent_since[name] = time.monotonic()
            return None
        raise TransientError(f"parameter {name} could not be read") from error
    return str(value)


def get(name: str) -> str:
    """Return the decrypted parameter.

    Raises:
        MissingParameterError: there is none; says which command makes it.
        TransientError: Parameter Store throttled or did not answer.
    """
    value = find(name)
    if value is None:
        raise MissingParameterError(
            f"there is no parameter {name}; make it with: "
            f"aws ssm put-parameter --type SecureString --name {name} --value ..."
        )
    return value
