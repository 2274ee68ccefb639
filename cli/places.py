"""Where an operator works: the stack on this machine, or a deployment in an account of AWS.

A deployment is reached with the operator's own credentials, and never through its API.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError, UsageError
from cli.target import ROOT, choose, data_folder, not_running

HERE = "Magpie on this machine"
SAMCONFIG = ROOT / "samconfig.toml"
FUNCTION_SECONDS = 310
"""The longest that a function may take, and a little."""

SIGNED_OUT = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidSignatureException",
}

StackName = Annotated[
    str | None,
    typer.Option(
        "--stack-name",
        metavar="NAME",
        help="Of a deployment, on AWS with your own credentials. Default: the stack in samconfig.toml whose "
        "API MAGPIE_API_URL is, else the Magpie on this machine.",
        show_default=False,
    ),
]
"""An option of every command that an operator needs credentials for."""


@dataclass(frozen=True)
class Place:
    """A Magpie, as its operator sees it.

    Attributes:
        name: what a person calls it, such as `The stack magpie-dev`.
        stack_name: of CloudFormation; None on this machine.
        stack: what the stack on this machine says about itself; None of a deployment.
        logs: the folder of the functions' logs, where it is on this machine.
    """

    name: str
    stack_name: str | None = None
    stack: Mapping[str, Any] | None = None
    logs: Path | None = None

    def client(self, service: str) -> Any:
        """Return a client of an AWS service."""
        import boto3
        from botocore.config import Config

        if self.stack is None:
            patient = Config(read_timeout=FUNCTION_SECONDS)
            return boto3.Session(region_name=_region()).client(service, config=patient)  # type: ignore[call-overload]
        session = boto3.Session(
            # Any will do here, and those of the person's own account stay out of it.
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - no secret
            region_name=self.stack["sign_in"]["region"],
        )
        near = Config(proxies={}, retries={"total_max_attempts": 2}, read_timeout=FUNCTION_SECONDS)
        return session.client(service, endpoint_url=self.stack["aws_url"], config=near)  # type: ignore[call-overload]

    def resources(self, kind: str) -> dict[str, str]:
        """Return what a deployment's resources of a type are called, by their names in the template."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for page in pages.paginate(StackName=self.stack_name)
            for each in page["StackResourceSummaries"]
            if each["ResourceType"] == kind and each.get("PhysicalResourceId")
        }

    def invoke(self, function: str, payload: Mapping[str, Any]) -> Any:
        """Run a function of the template, and return what it answers.

        Raises:
            CommandError: AWS refuses, or the function fails: with its own sentence.
        """
        with aws_troubles(self.name):
            physical = f"magpie-{function}"
            if self.stack_name is not None:
                physical = self.resources("AWS::Lambda::Function").get(function, "")
                if not physical:
                    raise CommandError(
                        "unknown_function", f"{self.name} has no {function}: deploy it as it is here first."
                    )
            answer = self.client("lambda").invoke(FunctionName=physical, Payload=json.dumps(payload).encode())
            told = json.loads(answer["Payload"].read() or b"null")
        if answer.get("FunctionError"):
            said = told.get("errorMessage") if isinstance(told, dict) else None
            raise CommandError("function_failed", f"{function} failed: {said or 'see its log'}.")
        return told


def find(data: Path | None, api_url: str | None, stack_name: str | None) -> Place:
    """Return the Magpie that options and environment name.

    Args:
        stack_name: of a deployment, on AWS with the caller's own credentials.

    Raises:
        UsageError: the options contradict each other.
        CommandError: nothing runs here, AWS refuses, or no such stack is there.
    """
    if stack_name is None:
        target = choose(data, api_url)
        if target.stack is not None:
            return Place(HERE, stack=target.stack, logs=data_folder(data) / "logs")
        return _deployed_at(target.api_url)
    if data is not None or api_url is not None:
        raise UsageError("--stack-name says which Magpie: leave out --data and --api-url.")
    return Place(f"The stack {stack_name}", stack_name)


def _deployed_at(api_url: str) -> Place:
    """The deployment with this API: one of the stacks that samconfig.toml names.

    Told by what the stack says of its own address, so that nobody empties the queues of another one.
    """
    import boto3
    from botocore.exceptions import ClientError

    names = _stack_names()
    with aws_troubles(f"The stack behind {api_url}"):
        cloudformation = boto3.Session(region_name=_region()).client("cloudformation")
        for name in names:
            try:
                (found,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
            except ClientError as error:
                if error_code(error) == "ValidationError":  # it is not there
                    continue
                raise
            outputs = {
                each.get("OutputKey"): each.get("OutputValue", "") for each in found.get("Outputs", [])
            }
            if outputs.get("ApiUrl", "").rstrip("/") == api_url:
                return Place(f"The stack {name}", name)
    raise CommandError(
        "unknown_stack",
        f"None of the stacks that samconfig.toml names ({', '.join(names) or 'none'}) says that {api_url} "
        "is its API, in this account and region: name it with --stack-name.",
    )


def _samconfig() -> dict[str, Any]:
    try:
        return tomllib.loads(SAMCONFIG.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _stack_names() -> list[str]:
    """Names of the stacks in samconfig.toml, the default one first."""
    names = [
        section["global"]["parameters"]["stack_name"]
        for section in _samconfig().values()
        if isinstance(section, dict) and "stack_name" in section.get("global", {}).get("parameters", {})
    ]
    return list(dict.fromkeys(map(str, names)))


def _region() -> str | None:
    """The region that `sam deploy --guided` has written down, where the environment names none."""
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    for command in ("global", "deploy"):
        region = _samconfig().get("default", {}).get(command, {}).get("parameters", {}).get("region")
        if region:
            return str(region)
    return None


def error_code(error: Any) -> str:
    """Return what AWS calls an error of botocore's."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def aws_troubles(place: str) -> Iterator[None]:
    """Turn what boto3 raises into a command's one sentence."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise CommandError(
            "no_credentials",
            "There are no AWS credentials: set AWS_PROFILE, or sign in with aws sso login or aws configure.",
        ) from None
    except exceptions.ProfileNotFound as error:
        raise CommandError("no_credentials", f"{error}: AWS_PROFILE names none that is configured.") from None
    except (exceptions.SSOError, exceptions.UnauthorizedSSOTokenError, exceptions.TokenRetrievalError):
        raise CommandError(
            "signed_out_of_aws", "You are not signed in to AWS any more: run aws sso login."
        ) from None
    except exceptions.NoRegionError:
        raise CommandError("no_region", "Say in which region it is deployed: set AWS_REGION.") from None
    except exceptions.ClientError as error:
        code = error_code(error)
        said = str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")
        if code in SIGNED_OUT:
            raise CommandError(
                "signed_out_of_aws", f"AWS does not accept these credentials ({code}): sign in anew."
            ) from None
        if code == "ValidationError" and "does not exist" in said:
            known = ", ".join(_stack_names())
            raise CommandError(
                "unknown_stack",
                f"{place} is not there, in this account and region. samconfig.toml names: {known or 'none'}.",
            ) from None
        raise CommandError("aws_refused", f"AWS refused: {said or code} ({code}).") from None
    except exceptions.EndpointConnectionError as error:
        if place == HERE:
            raise not_running() from None
        raise CommandError("unreachable", f"AWS cannot be reached: {error}.") from None
    except exceptions.BotoCoreError as error:
        raise CommandError("aws_failed", f"AWS did not answer as it should: {error}.") from None
