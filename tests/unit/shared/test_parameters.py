"""Secrets from Parameter Store."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from shared import clients, parameters
from shared.errors import TransientError

NAME = "/magpie/test/secret"


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    clients.ssm.cache_clear()
    parameters.forget()
    with mock_aws():
        yield
    clients.ssm.cache_clear()
    parameters.forget()


def put(value: str) -> None:
    boto3.client("ssm").put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)


def test_a_secret_is_read_decrypted() -> None:
    put("s3cret")
    assert parameters.get(NAME) == "s3cret"


def test_a_secret_is_read_once_and_kept() -> None:
    put("first")
    assert parameters.get(NAME) == "first"
    put("second")
    assert parameters.get(NAME) == "first"
    parameters.forget()
    assert parameters.get(NAME) == "second"


def test_a_missing_secret_says_which_command_makes_it() -> None:
    with pytest.raises(parameters.MissingParameterError, match=f"put-parameter .* --name {NAME}"):
        parameters.get(NAME)


def test_an_absence_is_remembered_too() -> None:
    assert parameters.find(NAME) is None
    put("late")
    assert parameters.find(NAME) is None
    parameters.forget()
    assert parameters.find(NAME) == "late"


def test_a_store_that_does_not_answer_is_not_taken_for_an_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    clients.ssm.cache_clear()
    parameters.forget()
    with pytest.raises(TransientError, match=NAME):
        parameters.find(NAME)
