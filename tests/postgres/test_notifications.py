"""What people are written to about: nothing, until they say so."""

import pytest

from tests.fakes.http_api import Answer, Caller


def told(answer: Answer) -> dict[str, bool]:
    assert answer.status == 200, answer.body
    notifications: dict[str, bool] = answer.body["notifications"]
    return notifications


def test_nobody_is_written_to_who_has_not_asked_for_it(alice: Caller) -> None:
    assert told(alice.get("/me")) == {"scan_complete": False, "quota": False}


def test_what_is_left_out_stays_and_is_only_ones_own(alice: Caller, bob: Caller) -> None:
    changed = alice("PATCH", "/me", body={"notifications": {"scan_complete": True}})
    assert told(changed) == {"scan_complete": True, "quota": False}
    assert told(alice("PATCH", "/me", body={"notifications": {"quota": True}})) == {
        "scan_complete": True,
        "quota": True,
    }
    assert told(alice("PATCH", "/me", body={"notifications": {"scan_complete": False}})) == {
        "scan_complete": False,
        "quota": True,
    }
    assert told(alice.get("/me")) == {"scan_complete": False, "quota": True}
    assert told(bob.get("/me")) == {"scan_complete": False, "quota": False}


def test_the_account_says_whether_mail_is_sent_at_all(function_env, alice: Caller) -> None:
    assert alice.get("/me").body["sends_mail"] is False
    function_env("Api", EMBEDDER="offline", MAIL_FROM="magpie@example.com")
    assert alice.get("/me").body["sends_mail"] is True


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"notifications": {}},
        {"notifications": None},
        {"notifications": {"scan_complete": None}},
        {"notifications": {"scan_complete": "true"}},
        {"notifications": {"scan_complete": 1}},
        {"notifications": {"scans": True}},
        {"notifications": {"quota": True}, "tier": "team"},
        {"tier": "team"},
    ],
    ids=str,
)
def test_whatever_else_is_said_is_refused(body: object, alice: Caller) -> None:
    answer = alice("PATCH", "/me", body=body)
    assert answer.status == 422, answer.body
    assert told(alice.get("/me")) == {"scan_complete": False, "quota": False}


def test_whoever_is_erased_is_written_to_no_more(alice: Caller) -> None:
    assert alice("DELETE", "/me", {"wait": 0}).status == 202
    refused = alice("PATCH", "/me", body={"notifications": {"quota": True}})
    assert (refused.status, refused.body["type"]) == (403, "urn:problem-type:magpie:account-deleted")
