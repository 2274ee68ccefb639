"""SES on one machine: what it takes, what it keeps, and what it says of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from local.mail import MailStore
from tests.fakes.local_endpoint import ACCOUNT, REGION, Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as endpoint:
        yield endpoint


def test_a_mail_is_kept_whole_and_found_by_the_next_stack(served: Served, tmp_path: Path) -> None:
    message_id = served.send("Ada <ada@example.com>", "Größe", region="eu-west-1")
    mail = MailStore(tmp_path / "mail", ACCOUNT, REGION).find(message_id)
    assert mail is not None
    assert mail.pop("sent_at")
    assert mail == {
        "from": "Magpie <magpie@magpie.test>",
        "to": ["Ada <ada@example.com>"],
        "subject": "Größe",
        "text": "one\ntwo",
        "html": "<p>one</p>",
        "headers": {"List-Unsubscribe": "<https://m.test/#/account>"},
        "tags": {"user_id": "ada"},
        "configuration_set": "magpie-dev",
        "message_id": message_id,
        "region": "eu-west-1",
        "outcomes": [{"event": "Delivery", "address": "ada@example.com"}],
    }
    (file,) = (tmp_path / "mail").iterdir()
    assert file.stat().st_mode & 0o077 == 0, "nobody else reads it"


def test_the_endpoint_lists_the_newest_first_and_shows_one(served: Served) -> None:
    first, second = served.send(subject="first"), served.send(subject="second")
    listed = requests.get(f"{served.url}/_local/mail", timeout=5).json()["mails"]
    assert [mail["message_id"] for mail in listed] == [second, first]
    assert not {"text", "html"} & set(listed[0])
    shown = requests.get(f"{served.url}/_local/mail/{first}", timeout=5).json()
    assert (shown["subject"], shown["html"]) == ("first", "<p>one</p>")
    for nothing in ("unknown", "..%2Fusers", "../users"):
        assert requests.get(f"{served.url}/_local/mail/{nothing}", timeout=5).status_code == 404
    assert requests.delete(f"{served.url}/_local/mail/{first}", timeout=5).status_code == 405
    page = {"Origin": "https://elsewhere.example"}
    assert requests.get(f"{served.url}/_local/mail", headers=page, timeout=5).status_code == 403


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("ada@example.com", [("Email Delivered", "Delivery", None)]),
        ("success@simulator.amazonses.com", [("Email Delivered", "Delivery", None)]),
        ("bounce@simulator.amazonses.com", [("Email Bounced", "Bounce", "Permanent General")]),
        ("Bounce+label@simulator.amazonses.com", [("Email Bounced", "Bounce", "Permanent General")]),
        ("suppressionlist@simulator.amazonses.com", [("Email Bounced", "Bounce", "Permanent Suppressed")]),
        (
            "ooto@simulator.amazonses.com",
            [("Email Delivered", "Delivery", None), ("Email Bounced", "Bounce", "Transient General")],
        ),
        (
            "complaint@simulator.amazonses.com",
            [("Email Delivered", "Delivery", None), ("Email Complaint Received", "Complaint", None)],
        ),
    ],
)
def test_what_becomes_of_a_mail_is_told_as_aws_tells_it(
    to: str, told: list[tuple[str, str, str | None]], served: Served
) -> None:
    heard = served.listen()
    message_id = served.send(to, region="eu-west-1")
    events = heard()
    assert len(events) == len(told)
    for event, (detail_type, kind, bounce) in zip(events, told, strict=True):
        detail = event["detail"]
        assert (event["detail-type"], event["source"], event["region"]) == (
            detail_type,
            "aws.ses",
            "eu-west-1",
        )
        assert detail["eventType"] == kind
        assert detail["mail"]["messageId"] == message_id
        assert detail["mail"]["destination"] == [to]
        assert detail["mail"]["tags"]["user_id"] == ["ada"]
        assert detail["mail"]["tags"]["ses:configuration-set"] == ["magpie-dev"]
        own = detail[kind.lower()]
        assert to in json.dumps(own)
        if bounce:
            assert f"{own['bounceType']} {own['bounceSubType']}" == bounce


def test_without_a_configuration_set_nothing_is_told(served: Served) -> None:
    heard = served.listen()
    served.client("sesv2").send_email(
        FromEmailAddress="magpie@magpie.test",
        Destination={"ToAddresses": ["bounce@simulator.amazonses.com"]},
        Content={"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "x"}}}},
    )
    assert heard() == []
    assert len(served.mails.list()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"Destination": {"ToAddresses": []}},
        {"Destination": {"CcAddresses": ["ada@example.com"]}},
        {"Destination": {"ToAddresses": ["ada@example.com"] * 51}},
        {"Destination": {"ToAddresses": ["ada"]}},
        {"Destination": {"ToAddresses": ["ada@bücher.example"]}},
        {"Destination": {"ToAddresses": ["ada@example.com\r\nBcc: eve@example.com"]}},
        {"FromEmailAddress": "nobody"},
        {"Content": {"Raw": {"Data": b"x"}}},
        {"Content": {"Simple": {"Subject": {"Data": "a\nBcc: b"}, "Body": {"Text": {"Data": "x"}}}}},
    ],
    ids=str,
)
def test_what_ses_would_not_take_is_refused(changed: dict[str, Any], served: Served) -> None:
    with pytest.raises(ClientError) as refused:
        served.send(**{"to": "ada@example.com", **changed})
    assert refused.value.response["Error"]["Code"] == "BadRequestException"
    assert served.mails.list() == []
