"""What SNS says of our mail is verified, kept and passed on, once; all else is refused, in silence."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from functions.email_webhook import handler
from tests.conftest import Aws, LambdaContext
from tests.fakes import ses_events, sns
from tests.fakes.logs import everything_logged
from tests.fakes.sns import CERTIFICATE, HOST, TOKEN, TOPIC, Sns, confirmation, event, notification, signed

Database = psycopg.Connection[dict[str, Any]]

ELSEWHERE = "arn:aws:sns:eu-central-1:123456789012:magpie-mail"
"""Of the region that mail is sent from when the first is away."""
SHORT = "/SimpleNotificationService-0512.pem"
MARK = "Sentinel Ada 7b31"
"""In every message, where a person's name would be: in no log."""
CAP = 512 * 1024


@pytest.fixture(scope="module")
def amazon() -> Iterator[Sns]:
    with sns.serve() as server:
        yield server


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]], amazon: Sns) -> dict[str, str]:
    amazon.files = {CERTIFICATE: (200, sns.certificate())}
    amazon.asked, amazon.confirmed, amazon.answer = [], [], None
    handler.certificate._certificate.cache_clear()
    return function_env("EmailWebhook", AWS_ENDPOINT_URL_SNS=amazon.url, MAIL_TOPICS=f"{TOPIC},{ELSEWHERE}")


def send(delivery: dict[str, Any]) -> dict[str, Any]:
    return handler.lambda_handler(delivery, LambdaContext())


def deliver(said: dict[str, Any]) -> int:
    status: int = send(event(signed(said)))["statusCode"]
    return status


def kept(db: Database) -> list[dict[str, Any]]:
    return db.execute("SELECT * FROM webhook_events ORDER BY received_at").fetchall()


def heard(aws: Aws) -> list[dict[str, Any]]:
    published = aws.published()
    assert {each["detail-type"] for each in published} <= {"WebhookReceived"}
    return [each["detail"]["data"] for each in published]


class TestNotifications:
    def test_what_was_signed_is_kept_and_passed_on(
        self, environment: dict[str, str], db: Database, aws: Aws
    ) -> None:
        said = notification(ses_events.bounce())
        answer = send(event(signed(said)))
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"received": True})
        (row,) = kept(db)
        assert (row["provider"], row["event_id"]) == ("sns", said["MessageId"])
        assert (row["event_type"], row["subject"]) == ("Bounce", ses_events.MAIL)
        assert sns.stamp(row["occurred_at"]) == said["Timestamp"]
        assert row["published_at"] is not None
        # Neither the signature nor the link that ends the subscription is anybody's business.
        assert json.loads(row["body"]) == {name: said[name] for name in sns.SIGNED["Notification"]}
        assert heard(aws) == [{"provider": "sns", "event_id": said["MessageId"], "event_type": "Bounce"}]

    def test_a_duplicate_changes_nothing(self, environment: dict[str, str], db: Database, aws: Aws) -> None:
        said = notification(ses_events.bounce())
        assert deliver(said) == 200
        before, _ = kept(db), heard(aws)
        assert deliver(said) == 200
        assert deliver(said | {"Message": json.dumps(ses_events.delivery())}) == 200, "the first one stays"
        assert (kept(db), heard(aws)) == (before, [])

    def test_a_message_of_another_region_is_verified_there(
        self, environment: dict[str, str], db: Database
    ) -> None:
        there = "https://sns.eu-central-1.amazonaws.com"
        said = notification(ses_events.delivery(), TopicArn=ELSEWHERE)
        assert deliver(said) == 400, "the certificate is of the first region"
        assert deliver(said | {"SigningCertURL": f"{there}{CERTIFICATE}"}) == 200
        assert len(kept(db)) == 1

    def test_a_certificate_is_fetched_once(self, environment: dict[str, str], amazon: Sns) -> None:
        for _ in range(3):
            assert deliver(notification(ses_events.delivery())) == 200
        assert amazon.asked == [CERTIFICATE]

    def test_nothing_is_fetched_for_what_is_not_for_us(
        self, environment: dict[str, str], amazon: Sns
    ) -> None:
        assert deliver(notification("x", TopicArn=TOPIC.replace("magpie-", "other-"))) == 400
        assert deliver(notification("x", Timestamp="2020-01-01T00:00:00.000Z")) == 400
        assert deliver(notification("x", SigningCertURL=f"{amazon.url}{CERTIFICATE}")) == 400
        assert amazon.asked == []

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_when_no_certificate_can_be_had_sns_sends_again(
        self, environment: dict[str, str], amazon: Sns, db: Database, status: int
    ) -> None:
        said = signed(notification(ses_events.bounce()))
        amazon.files[CERTIFICATE] = (status, b"")
        answer = send(event(said))
        assert answer["statusCode"] == 503
        assert answer["headers"]["Retry-After"]
        amazon.files[CERTIFICATE] = (200, sns.certificate())
        assert send(event(said))["statusCode"] == 200
        assert len(kept(db)) == 1

    def test_when_sns_cannot_be_reached_it_sends_again(
        self, environment: dict[str, str], function_env: Callable[..., dict[str, str]]
    ) -> None:
        function_env("EmailWebhook", AWS_ENDPOINT_URL_SNS="http://127.0.0.1:1")
        assert deliver(notification(ses_events.bounce())) == 503

    def test_a_certificate_that_ends_is_not_believed_from_then_on(
        self, environment: dict[str, str], amazon: Sns
    ) -> None:
        """Also when it was fetched while it held."""
        amazon.files[CERTIFICATE] = (200, sns.certificate(ends=timedelta(seconds=2)))
        assert deliver(notification("x")) == 200
        from functions.email_webhook import certificate
        from shared.incoming import RefusedError

        with pytest.raises(RefusedError):
            certificate.key("us-east-1", CERTIFICATE, datetime.now(UTC) + timedelta(seconds=3))


class TestSubscriptions:
    def test_a_subscription_to_our_topic_is_confirmed_by_the_api(
        self, environment: dict[str, str], amazon: Sns, db: Database, aws: Aws
    ) -> None:
        said = confirmation()
        assert [deliver(said), deliver(said)] == [200, 200]
        assert [{k: v for k, v in call.items() if k != "Version"} for call in amazon.confirmed] == [
            {
                "Action": "ConfirmSubscription",
                "TopicArn": TOPIC,
                "Token": TOKEN,
                "AuthenticateOnUnsubscribe": "true",
            }
        ] * 2
        assert amazon.asked == [CERTIFICATE], "the address in it was not called"
        assert (kept(db), heard(aws)) == ([], [])

    def test_one_to_somebody_elses_topic_is_not(self, environment: dict[str, str], amazon: Sns) -> None:
        assert deliver(confirmation(TopicArn="arn:aws:sns:us-east-1:666666666666:magpie-MailTopic")) == 400
        assert deliver(confirmation(TopicArn=f"{TOPIC}2")) == 400
        assert (amazon.confirmed, amazon.asked) == ([], [])

    @pytest.mark.parametrize(
        ("code", "status"),
        [("InvalidParameter", 400), ("NotFound", 400), ("AuthorizationError", 503), ("InternalError", 503)],
    )
    def test_one_that_cannot_be_confirmed_is_asked_about_again_where_that_helps(
        self, environment: dict[str, str], amazon: Sns, code: str, status: int
    ) -> None:
        amazon.answer = code
        assert deliver(confirmation()) == status

    def test_one_that_has_ended_is_not_begun_again(
        self, environment: dict[str, str], amazon: Sns, db: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert deliver(confirmation("UnsubscribeConfirmation")) == 200
        assert (amazon.confirmed, kept(db)) == ([], [])
        assert [each.levelname for each in caplog.records if each.message == "subscription ended"] == [
            "WARNING"
        ]


# Hundreds of deliveries, by one table.


@dataclass(frozen=True)
class Case:
    """A delivery, and whether it is to be taken."""

    name: str
    delivery: dict[str, Any]
    taken: bool = False
    message_id: str | None = None


def fresh(**changed: Any) -> dict[str, Any]:
    """A message of its own, not signed yet, with an address and the mark in what was said."""
    said = ses_events.bounce()
    said["mail"]["headers"].append({"name": "X-Name", "value": MARK})
    return notification(said, Subject=f"For {MARK}") | changed


def refused(name: str, said: dict[str, Any], **more: Any) -> Case:
    """As it is."""
    return Case(name, event(said, **more))


def mis_made(name: str, **changed: Any) -> Case:
    """Well signed, with what was changed."""
    return Case(name, event(signed(fresh(**changed))))


def good(name: str, said: dict[str, Any] | None = None, **more: Any) -> Case:
    said = said or fresh()
    return Case(name, event(signed(said), **more), True, said["MessageId"])


def mis_signed() -> Iterator[Case]:
    for kind, made in (("Notification", fresh()), ("SubscriptionConfirmation", confirmation())):
        told = signed(made)
        for name in sns.SIGNED[kind]:
            if name == "Type":
                continue
            value = told[name]
            for what, other in {
                "a letter more": f"{value}a", "a letter less": value[:-1], "a space": f"{value} ",
                "a line": f"{value}\n",
                "another": value.swapcase(), "empty": "", "twice": value * 2,
                "in another's place": f"{value}\nType\nx",
            }.items():  # fmt: skip
                yield refused(f"{kind}: {name}: {what}", told | {name: other})
            yield refused(f"{kind}: no {name}", {k: v for k, v in told.items() if k != name})
        yield refused(f"{kind}: of another type", told | {"Type": "UnsubscribeConfirmation"})
    without_subject = {k: v for k, v in fresh().items() if k != "Subject"}
    yield refused("a subject that was not signed", signed(without_subject) | {"Subject": "hello"})
    told = signed(fresh())
    signature = base64.b64decode(told["Signature"])
    for place in range(0, len(signature), 16):
        changed = bytearray(signature)
        changed[place] ^= 1
        yield refused(f"a bit of byte {place}", told | {"Signature": base64.b64encode(changed).decode()})
    for what, bad in {
        "empty": "", "short": told["Signature"][:-4], "not base64": "!" * 344,
        "spaces": " " + told["Signature"],
        "of zeros": base64.b64encode(bytes(256)).decode(),
        "url-safe": base64.urlsafe_b64encode(b"\xff" * 256).decode(),
        "longer": base64.b64encode(signature + b"\x00").decode(), "a letter": "A", "huge": "A" * 100_000,
        "without its end": told["Signature"].rstrip("="), "another's": signed(fresh())["Signature"],
        "umlauts": "ü" * 344, "null": None, "a number": 1, "a list": [told["Signature"]],
    }.items():  # fmt: skip
        yield refused(f"a signature that is {what}", told | {"Signature": bad})
    yield refused("of a key that nobody knows", signed(fresh(), by=sns.key(2056)))
    text = "".join(f"{name}\n{told[name]}\n" for name in sns.SIGNED["Notification"])
    for what, made in {
        "SHA-1": sns.key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA1()),  # noqa: S303 - refused
        "SHA-512": sns.key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA512()),
        "PSS": sns.key().sign(text.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
        "no last line end": sns.key().sign(text[:-1].encode(), padding.PKCS1v15(), hashes.SHA256()),
    }.items():
        yield refused(f"signed by {what}", told | {"Signature": base64.b64encode(made).decode()})
    sha1 = sns.key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - refused
    version1 = told | {"SignatureVersion": "1", "Signature": base64.b64encode(sha1).decode()}
    yield refused("version 1, well signed", version1)
    for version in ("1", "3", "02", "2.0", " 2", "", 2, None, ["2"], "٢", True):
        yield mis_made(f"version {version!r}", SignatureVersion=version)


def from_elsewhere() -> Iterator[Case]:
    other = CERTIFICATE.replace("7ff5", "ffff")
    for url in (
        f"http://sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"HTTPS://sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com:443{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com:8443{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com:{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com.{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com.evil.example{CERTIFICATE}",
        f"https://evil.example{CERTIFICATE}",
        f"https://evil.example/sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://sns.us-west-2.amazonaws.com{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com.cn{CERTIFICATE}",
        f"https://sns-us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://snsxus-east-1.amazonaws.com{CERTIFICATE}",
        f"https://sns.us-east-1xamazonaws.com{CERTIFICATE}",
        f"https://x.sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://s3.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://SNS.us-east-1.amazonaws.com{CERTIFICATE}", f"https://amazonaws.com{CERTIFICATE}",
        f"https://user@sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com@evil.example{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com:x@evil.example{CERTIFICATE}",
        f"https://evil.example#@sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://sns.us\u2010east\u20101.amazonaws.com{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaw\u017f.com{CERTIFICATE}",
        f"https://ѕns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https://sns。us-east-1。amazonaws。com{CERTIFICATE}",
        f"https://sns.us-east-1.amazonaws.com\\@evil.example{CERTIFICATE}",
        f"https:sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https:///sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"https:\\\\sns.us-east-1.amazonaws.com{CERTIFICATE}",
        f"//sns.us-east-1.amazonaws.com{CERTIFICATE}", f" {HOST}{CERTIFICATE}", f"{HOST}{CERTIFICATE} ",
        f"{HOST}{CERTIFICATE}\n",
        f"{HOST}/{CERTIFICATE}", f"{HOST}{CERTIFICATE}?x=1", f"{HOST}{CERTIFICATE}#x",
        f"{HOST}{CERTIFICATE};x", f"{HOST}{CERTIFICATE}/",
        f"{HOST}/x/..{CERTIFICATE}", f"{HOST}/x{CERTIFICATE}", f"{HOST}/%2e%2e{CERTIFICATE}",
        f"{HOST}{CERTIFICATE}%00", f"{HOST}{CERTIFICATE}\x00",
        f"{HOST}/SimpleNotificationService-.pem", f"{HOST}/SimpleNotificationService-{'a' * 65}.pem",
        f"{HOST}/SimpleNotificationService-7FF5318490EC183FBADDAA2A969ABFDA.pem",
        f"{HOST}/SimpleNotificationService-xyz.pem",
        f"{HOST}/SimpleNotificationService-７ff5.pem", f"{HOST}/SimpleNotificationService-../../x.pem",
        f"{HOST}/simplenotificationservice-7ff5.pem", f"{HOST}/SimpleNotificationService-7ff5.PEM",
        f"{HOST}/SimpleNotificationService-7ff5xpem",
        f"{HOST}/SimpleNotificationService-7ff5.pem.exe", f"{HOST}/?Action=Publish{CERTIFICATE}", HOST,
        f"{HOST}/", CERTIFICATE,
        "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:4566/x.pem",
        "data:text/plain,x",
        "", "x", "https://", "https://[::1]/x.pem", "https://[", "javascript:alert(1)", None, 1, [], {},
    ):  # fmt: skip
        yield mis_made(f"a certificate at {str(url)[:90]!r}", SigningCertURL=url)
    # There, and not to be believed; what the server answers to each stands in `files`.
    for name in files():
        if name != CERTIFICATE:
            yield mis_made(f"the certificate {name}", SigningCertURL=f"{HOST}{name}")
    short = signed(fresh(SigningCertURL=f"{HOST}{SHORT}"), by=sns.key(1024))
    yield refused("a key that is too short, well signed", short)
    yield mis_made("a certificate that is not there", SigningCertURL=f"{HOST}{other}")


def files() -> dict[str, tuple[int, bytes]]:
    """Certificates of many kinds, of which one is good."""
    good = sns.certificate()
    private = ec.generate_private_key(ec.SECP256R1())
    bad = [
        (200, sns.certificate(begins=timedelta(days=-30), ends=timedelta(days=-1))),
        (200, sns.certificate(begins=timedelta(days=1), ends=timedelta(days=30))),
        (200, sns.certificate(private.public_key())),
        (200, sns.certificate(sns.key(2056).public_key())),
        (200, b""),
        (200, b"-----BEGIN CERTIFICATE-----\nnot base64\n-----END CERTIFICATE-----\n"),
        (200, b"\x00" * 1000),
        (200, b"<html>"),
        (200, good + b"\n" * 16 * 1024),
        (200, good[: len(good) // 2]),
        (301, good),
        (302, b""),
        (307, b""),
        (403, b"<Error>AccessDenied</Error>"),
        (404, good),
        (204, b""),
        (206, good),
    ]
    named = {f"/SimpleNotificationService-bad{number:x}.pem": each for number, each in enumerate(bad)}
    return {CERTIFICATE: (200, good), SHORT: (200, sns.certificate(sns.key(1024).public_key())), **named}


def of_other_times() -> Iterator[Case]:
    now = datetime.now(UTC)
    for minutes in (66, 67, 90, 120, 1440, 525_600):
        yield mis_made(f"{minutes} minutes late", Timestamp=sns.stamp(now - timedelta(minutes=minutes)))
    for minutes in (6, 7, 60, 1440, 525_600):
        yield mis_made(f"{minutes} minutes early", Timestamp=sns.stamp(now + timedelta(minutes=minutes)))
    for minutes in (-64, -59, -10, 0, 4):
        said = fresh(Timestamp=sns.stamp(now + timedelta(minutes=minutes)))
        yield good(f"{minutes} minutes off", said)
    stamped = sns.stamp(now)
    for odd in (
        stamped[:-1], f"{stamped[:-1]}+00:00", f"{stamped[:-1]}+14:00", stamped.replace("T", " "),
        stamped.lower(), f" {stamped}",
        f"{stamped}\n", str(int(now.timestamp())), "now", "0", "", stamped[:10], stamped.replace("-", ""),
        f"+{stamped}",
        f"{now.year}-13-01T00:00:00.000Z", f"{now.year}-02-30T00:00:00.000Z",
        f"{now.year}-01-01T25:00:00.000Z", "0000-01-01T00:00:00.000Z",
        f"{stamped[:-1]}0000000Z", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z",
        stamped.translate({48: 0xFF10}), "é" * 24,
    ):  # fmt: skip
        yield mis_made(f"of the time {odd[:30]!r}", Timestamp=odd)
    for odd in (None, 0, 1795170000, 1.5, True, [], {}):
        yield refused(f"of the time {odd!r}", signed(fresh()) | {"Timestamp": odd})


def not_for_us() -> Iterator[Case]:
    for topic in (
        TOPIC.upper(), f"{TOPIC} ", f" {TOPIC}", f"{TOPIC}\n", f"{TOPIC},", f"{TOPIC},{ELSEWHERE}",
        f"{TOPIC}x", TOPIC[:-1], TOPIC[1:],
        TOPIC.replace("123456789012", "210987654321"), TOPIC.replace("us-east-1", "us-west-2"),
        TOPIC.replace("aws:", "aws-cn:", 1),
        TOPIC.replace("magpie", "Magpie"), TOPIC.replace("sns", "sqs"),
        f"{TOPIC}:c7fe3a54-ab0e-4ec2-88e0-db410a0f2bee", "*", ",", "magpie",
        TOPIC.replace("m", "\u217f"), f"{TOPIC}\x00", "arn:aws:sns:us-east-1:123456789012:*",
    ):  # fmt: skip
        yield mis_made(f"of the topic {topic!r}", TopicArn=topic)
        yield Case(f"to confirm {topic!r}", event(signed(confirmation(TopicArn=topic))))
    for odd in (None, 1, [TOPIC], {"arn": TOPIC}, True, ""):
        yield refused(f"of the topic {odd!r}", signed(fresh()) | {"TopicArn": odd})


def ill_formed() -> Iterator[Case]:
    told = signed(fresh())
    asked = signed(confirmation())
    for name in (*told, "Type"):
        if name not in ("Subject", "UnsubscribeURL"):
            yield refused(f"without {name}", {k: v for k, v in told.items() if k != name})
            for odd in (None, 1, 1.5, True, [], {}, [told[name]], {"a": told[name]}):
                yield refused(f"{name} is {str(odd)[:20]!r}", told | {name: odd})
    for name in asked:
        if name != "UnsubscribeURL":
            yield refused(f"to confirm, without {name}", {k: v for k, v in asked.items() if k != name})
    for kind in (
        "notification",
        "",
        "Notification ",
        "Confirm",
        "SubscriptionConfirmation\x00",
        "__proto__",
        "ＮＯＴ",
    ):
        yield refused(f"of the type {kind!r}", told | {"Type": kind})
    for odd in (
        "",
        "1",
        "x" * 36,
        str(uuid4()).upper(),
        f"{uuid4()}\n",
        f" {uuid4()}",
        str(uuid4())[:-1],
        "٣" * 36,
        "a" * 300,
    ):
        yield mis_made(f"of the id {odd[:40]!r}", MessageId=odd)
    for text in (
        "", "null", "true", "1", '"text"', "[]", "[{}]", "{}", "{", "}", '{"Type"', "{'Type': 1}", "NaN",
        "\ufeff{}", "Type=Notification",
        "<x/>", "{} {}", "[" * 1000, "[" * 100_000, '{"a":' * 100_000, "\\", "0" * 5000, json.dumps([told]),
        json.dumps({"Records": [{"Sns": told}]}),
    ):  # fmt: skip
        yield Case(f"{text[:20]!r} of {len(text)}", event(text))
    whole = json.dumps(told)
    for name in ("Type", "MessageId", "TopicArn", "Message", "SigningCertURL", "Extra"):
        twice = whole[:-1] + f', "{name}": "a", "{name}": "b"}}'
        yield Case(f"{name} twice", event(twice))
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000):
        yield Case(f"the number {number[:9]}", event(whole[:-1] + f', "n": {number}}}'))
    for depth in (64, 500, 20_000):
        yield Case(f"{depth} levels", event(whole[:-1] + f', "n": {"[" * depth}{"]" * depth}}}'))
    for broken in (b"\xff\xfe", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"\xf5\x80\x80\x80"):
        changed = whole.encode().replace(b"For ", b"For " + broken)
        yield Case(f"the bytes {broken!r}", event(changed, encoded=True))
    yield Case("UTF-16", event(whole.encode("utf-16"), encoded=True))
    yield Case("compressed", event(b"\x1f\x8b\x08\x00" + whole.encode(), encoded=True))
    yield Case("NUL", event(whole + "\x00"))
    yield Case("the message alone, as raw delivery has it", event(told["Message"]))
    yield refused("half a character in the message", told | {"Message": "\ud800"})
    yield refused("half a character in the token", asked | {"Token": "\udfff"})
    for size in (CAP + 1, CAP + 3, 2 * CAP, 6 * 1024 * 1024):
        for encoded in (False, True):
            yield Case(f"{size} bytes", event(whole + " " * (size - len(whole)), encoded=encoded))
    sent = event(told)
    yield Case("no body", {k: v for k, v in sent.items() if k != "body"})
    yield Case("a body that is null", sent | {"body": None})
    yield Case("said to be encoded", sent | {"isBase64Encoded": True})
    for odd in ("====", "!!!!", "YQ", "YQ===", "ö", "a\nb"):
        yield Case(f"encoded as {odd!r}", sent | {"isBase64Encoded": True, "body": odd})


def harmless() -> Iterator[Case]:
    """Odd, and from SNS all the same: what is signed and of our topic is kept."""
    for kind in ("", "application/json", "text/plain; charset=UTF-8", "image/png", "x" * 500):
        for encoded in (False, True):
            yield good(f"declared as {kind[:30]!r}", encoded=encoded, **{"content-type": kind})
    yield good("with no headers of SNS", None, **{"x-amz-sns-message-type": "SubscriptionConfirmation"})
    yield good("without a subject", {k: v for k, v in fresh().items() if k != "Subject"})
    said = {k: v for k, v in fresh().items() if k != "Subject"}
    yield Case("a subject that is null", event(signed(said) | {"Subject": None}), True, said["MessageId"])
    for name, text in {
        "the sentence of the beginning": "Successfully validated SNS topic for Amazon SES event publishing.",
        "an umlaut": "Grüße", "a cat": "\U0001f431", "right to left": "\u202eevil", "markup": "<script>",
        "NUL": "a\x00b",
        "SQL": "'; DROP TABLE webhook_events; --", "placeholders": "%s %(body)s",
        "a template": "${jndi:ldap://x}",
        "an escape": "\x1b[31mred", "line ends": "a\r\nlevel=ERROR",
        "the string to sign": "x\nMessageId\ny\nType\nz",
        "a list": "[]", "a number": "9" * 5000, "NaN": "NaN", "nothing in it": "{}", "deep": "[" * 100_000,
        "null": "null",
        "no mail": '{"eventType": "Bounce"}', "odd mail": '{"eventType": 7, "mail": [1]}',
        "many": json.dumps(list(range(10_000))),
        "a type that nobody knows": '{"eventType": "Teleported", "mail": {"messageId": "m"}}',
        "a long type": json.dumps({"eventType": "x" * 10_000, "mail": {"messageId": "y" * 10_000}}),
        "NUL in the type": json.dumps({"eventType": "a\x00\ud800", "mail": {"messageId": "\x00"}}),
        "large": json.dumps({"eventType": "Bounce", "x": "y" * 250_000}), "quotes": '"' * 100_000,
    }.items():  # fmt: skip
        yield good(f"a message that is {name}", fresh(Message=text))
    for made in (
        ses_events.complaint(), ses_events.delivery(), ses_events.delay(), ses_events.reject(),
        ses_events.rendering_failure(),
        ses_events.older(ses_events.bounce()), ses_events.older(ses_events.complaint()),
        ses_events.bounce("Transient"),
    ):  # fmt: skip
        yield good(f"{list(made.values())[0]}", fresh(Message=json.dumps(made)))
    moments = [datetime.now(UTC) - timedelta(minutes=minutes) for minutes in range(30)]
    random.Random(6).shuffle(moments)  # noqa: S311 - an order, not a secret
    for moment in moments:
        yield good("out of order", fresh(Timestamp=sns.stamp(moment)))
    whole = json.dumps(signed(said := fresh()))
    yield Case("as large as may be", event(whole + " " * (CAP - len(whole))), True, said["MessageId"])
    said = fresh()
    reordered = dict(sorted(signed(said).items(), reverse=True))
    yield Case("in another order", event(reordered), True, said["MessageId"])
    yield Case(
        "with fields of next year",
        event(signed(said := fresh()) | {"New": {"a": [1]}}),
        True,
        said["MessageId"],
    )
    yield Case("to be confirmed", event(signed(confirmation())), True)
    yield Case("ended", event(signed(confirmation("UnsubscribeConfirmation"))), True)


def test_of_hundreds_of_deliveries_only_those_of_sns_are_taken_and_nothing_is_said_of_any(
    environment: dict[str, str],
    amazon: Sns,
    db: Database,
    aws: Aws,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    amazon.files = files()
    cases = [
        *mis_signed(), *from_elsewhere(), *of_other_times(), *not_for_us(), *ill_formed(), *harmless(),
    ]  # fmt: skip
    taken = [case for case in cases if case.taken]
    replayed = [Case(f"{case.name}, again", case.delivery, True, case.message_id) for case in taken[::3]]
    assert len(cases) - len(taken) >= 300
    assert len(taken) >= 50

    answers = [(case, send(case.delivery)) for case in (*cases, *replayed)]

    wrong = [
        (case.name, answer) for case, answer in answers if answer["statusCode"] != (400, 200)[case.taken]
    ]
    assert wrong == []
    refusals = {json.dumps(answer) for case, answer in answers if not case.taken}
    assert len(refusals) == 1, "every refusal is the same"
    expected = {case.message_id for case in taken if case.message_id}
    assert {row["event_id"] for row in kept(db)} == expected
    assert sorted(each["event_id"] for each in heard(aws)) == sorted(expected), "each is passed on once"
    assert {call["TopicArn"] for call in amazon.confirmed} == {TOPIC}
    assert set(amazon.asked) <= {*files(), CERTIFICATE.replace("7ff5", "ffff")}

    counted = [record for record in caplog.records if record.message == "webhook refused"]
    assert len(counted) == len(cases) - len(taken), "each is counted once"
    logged = everything_logged(caplog) + "".join(capfd.readouterr())
    assert "event accepted" in logged
    for word in (
        MARK,
        "Sentinel",
        TOKEN,
        TOKEN[:20],
        ses_events.ADDRESS,
        "lovelace",
        "User unknown",
        "Unsubscribe&",
    ):
        assert word not in logged, f"{word} is in the log"
    for case, _ in answers:
        signature = str(case.delivery.get("body") or "").partition('"Signature": "')[2].partition('"')[0]
        assert len(signature) < 40 or signature[:40] not in logged, case.name
