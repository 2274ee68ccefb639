"""That the check of permissions finds what it is for."""

from typing import Any

from tests.runtime import permissions
from tests.runtime.conftest import Aws
from tests.runtime.permissions import Call


def test_a_role_allows_what_its_function_does_and_nothing_near_it(aws: Aws) -> None:
    may = permissions.statements(aws.template, aws.resources, "ImageProcessor")
    original, image = "user/item/original", "user/images/item.jpg"
    for action, bucket, key, expected in (
        ("s3:GetObject", aws.uploads, original, True),
        ("s3:GetObjectVersion", aws.uploads, original, True),
        ("s3:PutObject", aws.media, image, True),
        ("s3:PutObject", aws.uploads, original, False),
        ("s3:DeleteObject", aws.uploads, original, False),
        ("s3:DeleteObjectVersion", aws.uploads, original, True),
        ("s3:DeleteObjectVersion", aws.media, image, True),
        ("s3:DeleteObjectVersion", aws.media, "user/exports/everything.zip", False),
        ("s3:PutObject", aws.media, "user/exports/everything.zip", False),
        ("s3:GetObject", "another-bucket", original, False),
    ):
        assert permissions.allowed(Call(action, f"arn:aws:s3:::{bucket}/{key}"), may) == expected


def test_a_function_may_read_no_other_functions_secret(aws: Aws) -> None:
    here = "arn:aws:ssm:us-east-1:123456789012:parameter/magpie"
    may = permissions.statements(aws.template, aws.resources, "ImageProcessor")
    assert permissions.allowed(Call("ssm:GetParameter", f"{here}/dev/database-url"), may)
    assert not permissions.allowed(Call("ssm:GetParameter", f"{here}/dev/anthropic-api-key"), may)
    assert not permissions.allowed(Call("ssm:GetParameter", f"{here}/prod/database-url"), may)


def test_a_function_publishes_on_our_bus_and_on_no_other(aws: Aws) -> None:
    may = permissions.statements(aws.template, aws.resources, "Embedder")
    buses = "arn:aws:events:us-east-1:123456789012:event-bus"
    assert permissions.allowed(Call("events:PutEvents", f"{buses}/{aws.resources.ref('EventBus')}"), may)
    assert not permissions.allowed(Call("events:PutEvents", f"{buses}/default"), may)


def test_many_objects_deleted_at_once_count_one_by_one() -> None:
    first = "<Object><Key>u/a&amp;b</Key><VersionId>1</VersionId></Object>"
    body = f"<Delete>{first}<Object><Key>u/c</Key></Object></Delete>".encode()
    asked: dict[str, Any] = {"PATH_INFO": "/bucket", "QUERY_STRING": "delete", "REQUEST_METHOD": "POST"}
    assert list(permissions._calls("s3", asked, body)) == [
        Call("s3:DeleteObjectVersion", "arn:aws:s3:::bucket/u/a&b"),
        Call("s3:DeleteObject", "arn:aws:s3:::bucket/u/c"),
    ]
    listed = {**asked, "QUERY_STRING": "versions&prefix=u%2F", "REQUEST_METHOD": "GET"}
    assert list(permissions._calls("s3", listed, b"")) == [
        Call("s3:ListBucketVersions", "arn:aws:s3:::bucket")
    ]
