"""What of a message is signed, in which order, and when a message is too old."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from functions.email_webhook import message
from shared.incoming import RefusedError
from tests.fakes import sns

# The fields of the documentation's examples.
# https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html
SAMPLE = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
    "Subject": "My First Message",
    "Message": "Hello world!\nAgain",
    "Timestamp": "2012-05-02T00:54:06.655Z",
    "SignatureVersion": "2",
    "Signature": "RVhBTVBMRQ==",
    "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb72.pem",
    "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
}


def test_a_notification_is_signed_name_by_name_in_this_order() -> None:
    assert message.read(SAMPLE).signed() == (
        b"Message\nHello world!\nAgain\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\n"
        b"Subject\nMy First Message\nTimestamp\n2012-05-02T00:54:06.655Z\n"
        b"TopicArn\narn:aws:sns:us-west-2:123456789012:MyTopic\nType\nNotification\n"
    )


@pytest.mark.parametrize("subject", [{}, {"Subject": None}])
def test_a_subject_that_is_not_there_is_not_signed(subject: dict[str, None]) -> None:
    said = {name: value for name, value in SAMPLE.items() if name != "Subject"} | subject
    assert b"\nSubject\n" not in message.read(said).signed()
    assert "Subject" not in message.read(said).fields


def test_a_confirmation_is_signed_with_its_token_and_its_address() -> None:
    asked = SAMPLE | {
        "Type": "SubscriptionConfirmation",
        "Token": "2336",
        "SubscribeURL": "https://x.example",
    }
    assert message.read(asked).signed() == (
        b"Message\nHello world!\nAgain\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\n"
        b"SubscribeURL\nhttps://x.example\nTimestamp\n2012-05-02T00:54:06.655Z\nToken\n2336\n"
        b"TopicArn\narn:aws:sns:us-west-2:123456789012:MyTopic\nType\nSubscriptionConfirmation\n"
    )


def test_what_is_kept_is_what_was_signed() -> None:
    told = message.read(SAMPLE)
    assert json.loads(told.kept()) == {name: SAMPLE[name] for name in sns.SIGNED["Notification"]}
    assert message.read(SAMPLE | {"Message": "Grüße\x00"}).kept().isascii()


@pytest.mark.parametrize(
    ("off", "taken"),
    [
        (timedelta(minutes=-65), True),
        (timedelta(minutes=-65, milliseconds=-1), False),
        (timedelta(), True),
        (timedelta(minutes=5), True),
        (timedelta(minutes=5, milliseconds=1), False),
    ],
)
def test_a_message_is_good_for_as_long_as_sns_may_try(off: timedelta, taken: bool) -> None:
    now = datetime(2026, 11, 20, 9, 20, 4, 217_000, tzinfo=UTC)
    told = message.read(SAMPLE | {"Timestamp": sns.stamp(now + off)})
    if taken:
        message.check_time(told, now)
    else:
        with pytest.raises(RefusedError):
            message.check_time(told, now)
