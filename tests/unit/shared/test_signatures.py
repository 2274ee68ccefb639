"""Our signatures are botocore's, to the last letter."""

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import clients, objects, signatures

MOMENT = datetime(2026, 11, 20, 9, 15, 0, tzinfo=UTC)
TOKEN = "IQoJb3JpZ2luX2VjEA/+=" * 20


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """One region, one kind of credentials and one endpoint."""
    region, token, endpoint = request.param
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.delenv("AWS_REGION", raising=False)
    for name, value in (("AWS_SESSION_TOKEN", token), ("AWS_ENDPOINT_URL", endpoint)):
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    clients.s3.cache_clear()
    yield
    clients.s3.cache_clear()


def parts(url: str) -> tuple[str, str, str, list[tuple[str, str]]]:
    """A URL, whatever the order of what it says."""
    split = urlsplit(url)
    return split.scheme, split.netloc, split.path, sorted(parse_qsl(split.query, strict_parsing=True))


@pytest.mark.parametrize(
    "place",
    [
        ("eu-west-1", TOKEN, None),
        ("us-east-1", None, None),
        ("cn-north-1", None, None),
        ("us-east-1", "local", "http://127.0.0.1:4566"),
    ],
    indirect=True,
)
@pytest.mark.usefixtures("place")
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"], min_codepoint=1), min_size=1, max_size=60),
    st.integers(1, 604800),
)
def test_of_any_key_and_time(key: str, seconds: int) -> None:
    for bucket in ("magpie-media", "magpie-uploads"):
        asked = {"Bucket": bucket, "Key": key}
        theirs = clients.s3().generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)
        signed = datetime.strptime(dict(parts(theirs)[3])["X-Amz-Date"], "%Y%m%dT%H%M%SZ")  # noqa: DTZ007 - UTC
        assert parts(signatures.get_url(bucket, key, seconds, signed)) == parts(theirs)


@pytest.mark.parametrize("place", [("eu-west-1", TOKEN, None)], indirect=True)
@pytest.mark.usefixtures("place")
def test_what_is_forced_on_the_answer_is_signed_too() -> None:
    plain = objects.view_url("magpie-media", "a/b.jpg", 60)
    forced = objects.view_url("magpie-media", "a/b.jpg", 60, {"ResponseContentDisposition": "attachment"})
    assert ("response-content-disposition", "attachment") in parts(forced)[3]
    assert dict(parts(plain)[3])["X-Amz-Signature"] != dict(parts(forced)[3])["X-Amz-Signature"]


@pytest.mark.parametrize("place", [("eu-west-1", None, None)], indirect=True)
@pytest.mark.usefixtures("place")
def test_new_credentials_sign_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signatures.get_url("magpie-media", "key", 60, MOMENT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    clients.s3.cache_clear()
    assert signatures.get_url("magpie-media", "key", 60, MOMENT) != before
