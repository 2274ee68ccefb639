"""Whether Stripe signed a body, and when: the edges, by a clock that is passed in."""

from datetime import UTC, datetime, timedelta

import pytest
from stripe import WebhookSignature

from functions.stripe_webhook import signature
from shared.incoming import RefusedError

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BODY = '{"name": "Grüße"}'
SECRETS = ("whsec_one_of_two", "whsec_two_of_two")


def sent(at: datetime, secret: str = SECRETS[0]) -> str:
    return WebhookSignature.generate_signature_header(BODY, secret, int(at.timestamp()))


def verify(header: str, secrets: tuple[str, ...] = SECRETS, now: datetime = NOW) -> None:
    signature.verify(BODY, header, secrets, now)


@pytest.mark.parametrize("seconds", [0, 1, 299, 300])
def test_within_five_minutes_both_ways_it_is_of_this_time(seconds: int) -> None:
    for at in (NOW - timedelta(seconds=seconds), NOW + timedelta(seconds=seconds)):
        for secret in SECRETS:
            verify(sent(at, secret))


@pytest.mark.parametrize("seconds", [301, 302, 3600])
def test_a_second_more_and_it_is_not(seconds: int) -> None:
    for at in (NOW - timedelta(seconds=seconds), NOW + timedelta(seconds=seconds)):
        with pytest.raises(RefusedError, match="not of this time"):
            verify(sent(at))


def test_whose_signature_is_wrong_does_not_hear_that_its_time_is_too() -> None:
    with pytest.raises(RefusedError, match="not signed by them"):
        verify(sent(NOW - timedelta(days=1), "whsec_of_somebody_else"))


def test_of_a_refusal_nothing_of_the_delivery_is_left() -> None:
    """The SDK's exception holds header and body; whoever logs ours must not log them too."""
    with pytest.raises(RefusedError) as raised:
        verify(sent(NOW, "whsec_of_somebody_else"))
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert raised.value.args == ("not signed by them",)


def test_without_secrets_nobody_gets_in() -> None:
    with pytest.raises(RefusedError):
        verify(sent(NOW), secrets=())
