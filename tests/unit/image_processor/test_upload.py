"""An event or a payload names one item, and what is known of it decides what is to be done."""

from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from pydantic import ValidationError

from functions.image_processor.upload import Upload, to_do

ITEM = UUID("0197f3a4-5b6c-7d8e-9f01-23456789abcd")


def event(key: str, **stored: Any) -> dict[str, Any]:
    """The detail of AWS's `Object Created`."""
    return {
        "version": "0",
        "bucket": {"name": "uploads"},
        "object": {
            "key": key,
            "size": 5,
            "etag": "b1946ac92492d2347c6235b4d2611184",
            "version-id": "v1",
            "sequencer": "0062E99A88DC407460",
            **stored,
        },
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": "123456789012",
        "source-ip-address": "1.2.3.4",
        "reason": "PostObject",
    }


def upload(key: str = f"anna/{ITEM}/original", **stored: Any) -> Upload:
    return Upload.model_validate(event(key, **stored))


def row(**changed: Any) -> dict[str, Any]:
    known = {
        "status": "processed",
        "held_status": None,
        "object_version": "v1",
        "object_sequencer": "0062E99A88DC407460".rjust(32, "0"),
        "rendered_by_run": False,
    }
    return known | changed


def test_a_key_of_the_api_names_its_item() -> None:
    found = upload()
    assert (found.user_id, found.item_id, found.version, found.size) == ("anna", ITEM, "v1", 5)
    assert found.sequencer == "000000000000000062E99A88DC407460"[-32:].rjust(32, "0")


@pytest.mark.parametrize(
    ("key", "filename"),
    [
        ("anna/holiday.jpg", "holiday.jpg"),
        ("anna/2024/summer/holiday 1+2%20.jpg", "holiday 1+2%20.jpg"),
        ("anna/original", "original"),
        ("anna/some-folder/original", "original"),
        (f"anna/{str(ITEM).upper()}/original", "original"),
        (f"anna/{{{ITEM}}}/original", "original"),
        (f"anna/{ITEM.hex}/original", "original"),
        (f"anna/{ITEM}/other", "other"),
        (f"anna/x/{ITEM}/original", "original"),
        ("anna//", "anna//"),
        ("anna/émoji 🐦.png", "émoji 🐦.png"),
    ],
)
def test_an_operators_object_is_named_after_its_key(key: str, filename: str) -> None:
    found = upload(key)
    assert found.item_id == uuid5(NAMESPACE_URL, f"s3://uploads/{key}") != ITEM
    assert (found.user_id, found.filename) == ("anna", filename)


@pytest.mark.parametrize(
    "key",
    [
        "picture.jpg",
        "/picture.jpg",
        "",
        "a" * 129 + "/x.jpg",
        "anna\x00/x.jpg",
        "anna/\x00.jpg",
        "an\ud800na/x",
        "*/x.jpg",
    ],
)
def test_an_object_that_belongs_to_nobody_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        upload(key)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"user_id": "anna"},
        {"user_id": "anna", "item_id": "1"},
        {"user_id": "", "item_id": str(ITEM)},
        {"user_id": "anna/../ben", "item_id": str(ITEM)},
        {"user_id": "anna", "item_id": str(ITEM), "run_id": "x" * 129},
        {"user_id": "anna", "item_id": str(ITEM), "run_id": "a\x00"},
        {"bucket": "uploads", "object": {"key": "anna/x"}},
        {"bucket": {"name": "uploads"}},
    ],
)
def test_a_payload_that_says_something_else_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Upload.model_validate(payload)


def test_a_named_item_cannot_be_given_another_ones_object() -> None:
    found = Upload.model_validate(
        {
            "user_id": "anna",
            "item_id": str(ITEM),
            "run_id": "7",
            "key": "ben/secret",
            "version": "v9",
            "sequencer": "1",
        }
    )
    assert found == Upload(user_id="anna", item_id=ITEM, run_id="7")


@pytest.mark.parametrize(
    ("key", "size", "folder"), [("anna/a/", 0, True), ("anna/a/", 5, False), ("anna/a", 0, False)]
)
def test_the_mark_of_a_folder_is_no_upload(key: str, size: int, folder: bool) -> None:
    assert upload(key, size=size).is_folder is folder


def test_a_first_object_is_rendered() -> None:
    assert to_do(upload(), None) == "render"
    assert to_do(upload(), row(status="pending", object_version=None, object_sequencer="")) == "render"


@pytest.mark.parametrize("status", ["processed", "analyzed", "ready", "rejected", "failed"])
def test_the_same_object_again_is_only_announced(status: str) -> None:
    assert to_do(upload(), row(status=status)) == "announce"


def test_sequencers_of_different_length_are_ordered_as_numbers() -> None:
    known = row(object_version="v1", object_sequencer="FF".rjust(32, "0"))
    assert to_do(upload(sequencer="0100", **{"version-id": "v2"}), known) == "render"
    assert to_do(upload(sequencer="FE", **{"version-id": "v0"}), known) == "nothing"


def test_an_object_without_a_version_is_told_by_its_sequencer() -> None:
    known = row(object_version=None)
    assert to_do(upload(**{"version-id": None}), known) == "announce"
    assert to_do(upload(sequencer="0062E99A88DC407461", **{"version-id": None}), known) == "render"


def test_an_object_that_was_learnt_of_before_s3_spoke_is_the_same() -> None:
    assert to_do(upload(), row(object_sequencer="")) == "announce"
    assert to_do(upload(**{"version-id": "v2"}), row(object_sequencer="")) == "render"


def test_a_named_item_is_rendered_when_it_waits_or_once_for_each_run() -> None:
    named, rerun = Upload(user_id="anna", item_id=ITEM), Upload(user_id="anna", item_id=ITEM, run_id="7")
    assert to_do(named, None) == to_do(rerun, None) == "nothing"
    assert to_do(named, row(status="pending")) == "render"
    assert to_do(named, row(status="over_quota", held_status="pending")) == "render"
    assert to_do(named, row(status="over_quota", held_status="processed")) == "announce"
    assert to_do(named, row()) == "announce"
    assert to_do(rerun, row()) == "render"
    assert to_do(rerun, row(rendered_by_run=True)) == "announce"
