"""Which region is asked, and what a refusal means: by the real boto3 and an SES on loopback."""

import pytest
from botocore.exceptions import ClientError

from functions.mailer.sending import Mail, RefusedError, Sent, send
from shared import clients
from shared.errors import TransientError
from tests.fakes import ses_server
from tests.fakes.ses_server import Answer, SesServer

HERE, THERE = "us-east-1", "eu-west-1"

MAIL = Mail(
    sender="magpie@example.com",
    recipient="ada@example.com",
    subject="Your scan “Größe” is done",
    text="text",
    html="<p>html</p>",
    unsubscribe="https://magpie.example.com/#/account",
    configuration_set="magpie-dev",
    tags={"user_id": "b4c8f4d8", "kind": "scan_complete"},
)


def test_a_mail_goes_out_whole(ses: SesServer) -> None:
    assert send(MAIL, [HERE, THERE]) == Sent("message-1", HERE)
    (mail,) = ses.mails
    assert mail == {
        "FromEmailAddress": "Magpie <magpie@example.com>",
        "Destination": {"ToAddresses": ["ada@example.com"]},
        "ConfigurationSetName": "magpie-dev",
        "Content": {
            "Simple": {
                "Subject": {"Data": "Your scan “Größe” is done", "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": "text", "Charset": "UTF-8"},
                    "Html": {"Data": "<p>html</p>", "Charset": "UTF-8"},
                },
                "Headers": [
                    {"Name": "List-Unsubscribe", "Value": "<https://magpie.example.com/#/account>"},
                    {"Name": "Auto-Submitted", "Value": "auto-generated"},
                ],
            }
        },
        "EmailTags": [
            {"Name": "user_id", "Value": "b4c8f4d8"},
            {"Name": "kind", "Value": "scan_complete"},
        ],
        "region": HERE,
    }


def test_a_user_id_that_ses_takes_for_no_tag_is_left_out(ses: SesServer) -> None:
    odd = Mail(**{**vars(MAIL), "tags": {"user_id": "photos of ada", "kind": "quota"}})
    send(odd, [HERE])
    assert ses.mails[0]["EmailTags"] == [{"Name": "kind", "Value": "quota"}]


@pytest.mark.parametrize(
    "trouble",
    [
        ses_server.THROTTLED,
        ses_server.PAUSED,
        ses_server.SUSPENDED,
        ses_server.QUOTA,
        ses_server.BROKEN,
        ses_server.UNAVAILABLE,
    ],
    ids=lambda answer: answer.code,
)
class TestARegionThatIsAway:
    def test_the_next_is_asked_once_each(self, trouble: Answer, ses: SesServer) -> None:
        ses.trouble[HERE] = trouble
        assert send(MAIL, [HERE, THERE]) == Sent("message-1", THERE)
        assert ses.asked == [HERE, THERE]

    def test_without_another_the_mail_waits(self, trouble: Answer, ses: SesServer) -> None:
        ses.trouble[HERE] = trouble
        with pytest.raises(TransientError, match="no mail is sent now from us-east-1"):
            send(MAIL, [HERE])
        assert ses.asked == [HERE]

    def test_with_both_away_the_mail_waits(self, trouble: Answer, ses: SesServer) -> None:
        ses.trouble = {HERE: trouble, THERE: ses_server.THROTTLED}
        with pytest.raises(TransientError):
            send(MAIL, [HERE, THERE])


def test_a_region_that_does_not_answer_is_away(ses: SesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ses.trouble[HERE] = ses_server.HANGING
    monkeypatch.setattr(clients, "MAIL_SECONDS", 0.2)
    assert send(MAIL, [HERE, THERE]) == Sent("message-1", THERE)
    assert ses.asked == [HERE, THERE], "a mail that may have gone out is not sent again to the same region"


def test_a_region_that_cannot_be_reached_is_away(monkeypatch: pytest.MonkeyPatch, ses: SesServer) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SESV2", "http://127.0.0.1:9")
    clients.ses.cache_clear()
    with pytest.raises(TransientError):
        send(MAIL, [HERE, THERE])


@pytest.mark.parametrize(
    "refusal",
    [ses_server.REJECTED, ses_server.UNVERIFIED, ses_server.NO_SUCH_SET, ses_server.MALFORMED],
    ids=lambda answer: answer.code,
)
class TestARefusal:
    def test_is_final_and_nobody_else_is_asked(self, refusal: Answer, ses: SesServer) -> None:
        ses.trouble[HERE] = refusal
        with pytest.raises(RefusedError, match=f"^{refusal.code}$"):
            send(MAIL, [HERE, THERE])
        assert ses.asked == [HERE]

    def test_of_the_second_region_loses_no_mail(self, refusal: Answer, ses: SesServer) -> None:
        """There the identity may not be set up, while the first is away for a minute."""
        ses.trouble = {HERE: ses_server.UNAVAILABLE, THERE: refusal}
        with pytest.raises(TransientError):
            send(MAIL, [HERE, THERE])


def test_what_is_wrong_with_us_is_hidden_from_nobody(ses: SesServer) -> None:
    """A missing permission becomes a dead letter, which wakes somebody."""
    ses.trouble[HERE] = ses_server.FORBIDDEN
    with pytest.raises(ClientError, match="not authorized"):
        send(MAIL, [HERE, THERE])
    assert ses.asked == [HERE]
