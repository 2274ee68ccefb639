"""What S3 is asked for, where moto answers otherwise than S3 does."""

from collections.abc import Iterator

import pytest
from botocore.stub import Stubber

from shared import clients, objects
from shared.errors import TransientError


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    clients.s3.cache_clear()
    with Stubber(clients.s3()) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()
    clients.s3.cache_clear()


def will_list(s3: Stubber, *keys: str, more: bool = False) -> None:
    versions = [{"Key": key, "VersionId": "v", "Size": 2} for key in keys]
    asked = {"Bucket": "media", "Prefix": "ann/", "MaxKeys": 1000}
    s3.add_response("list_object_versions", {"Versions": versions, "IsTruncated": more}, asked)


def will_delete(s3: Stubber, *keys: str, refused: bool = False) -> None:
    named = {"Objects": [{"Key": key, "VersionId": "v"} for key in keys], "Quiet": True}
    answer = {"Errors": [{"Key": keys[0], "Code": "InternalError"}]} if refused else {}
    s3.add_response("delete_objects", answer, {"Bucket": "media", "Delete": named})


def test_a_key_that_no_document_can_name_is_deleted_by_its_url(s3: Stubber) -> None:
    will_list(s3, "ann/1", "ann/\x01")
    s3.add_response("delete_object", {}, {"Bucket": "media", "Key": "ann/\x01", "VersionId": "v"})
    will_delete(s3, "ann/1")
    assert objects.remove_versions("media", "ann/") == objects.Removed(2, 4)


def test_what_s3_refuses_to_delete_is_worth_another_try(s3: Stubber) -> None:
    will_list(s3, "ann/1")
    will_delete(s3, "ann/1", refused=True)
    with pytest.raises(TransientError, match="refused to delete 1"):
        objects.remove_versions("media", "ann/")


def test_what_does_not_go_away_is_not_deleted_for_ever(s3: Stubber) -> None:
    will_list(s3, "ann/1", more=True)
    will_delete(s3, "ann/1")
    will_list(s3, "ann/1", more=True)
    with pytest.raises(TransientError, match="does not delete"):
        objects.remove_versions("media", "ann/")
