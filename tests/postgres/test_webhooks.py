"""What Stripe says is verified, kept and passed on, once; what anybody else says is refused, in silence."""

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from functions.stripe_webhook import handler
from functions.webhooks import handler as operator
from shared import bus, database, outcomes, parameters, webhooks
from shared.errors import InvalidEventError, PublishError, TransientError
from shared.webhooks import Delivery
from tests.conftest import Aws, LambdaContext
from tests.fakes import stripe_webhooks
from tests.fakes.logs import everything_logged
from tests.fakes.stripe_webhooks import SECRET, body, event, header

Database = psycopg.Connection[dict[str, Any]]

NEW_SECRET = "whsec_local_the_one_that_comes_next"
GONE_SECRET = "whsec_local_the_one_that_was_before"
MARK = "Sentinel Ada 9f2c"
"""In every body, where a person's name would be: in no log."""
CAP = 256 * 1024


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]], aws: Aws) -> dict[str, str]:
    become = function_env("StripeWebhook")
    aws.put_parameter(become["STRIPE_WEBHOOK_SECRETS_PARAMETER"], f"{SECRET}, {NEW_SECRET}")
    return become


def send(delivery: dict[str, Any]) -> dict[str, Any]:
    return handler.lambda_handler(delivery, LambdaContext())


def deliver(**changed: Any) -> dict[str, Any]:
    told = body(**changed)
    return send(event(told, header(told)))


def kept(db: Database) -> list[dict[str, Any]]:
    return db.execute("SELECT * FROM webhook_events ORDER BY received_at").fetchall()


def heard(aws: Aws) -> list[str]:
    published = aws.published()
    assert {each["detail-type"] for each in published} <= {"WebhookReceived"}
    return [each["detail"]["data"]["event_id"] for each in published]


def test_a_delivery_is_kept_as_it_was_signed_and_passed_on(
    environment: dict[str, str], db: Database, aws: Aws
) -> None:
    signed = body()
    answer = send(event(signed, header(signed)))
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"received": True})
    (row,) = kept(db)
    assert (row["provider"], row["event_id"]) == ("stripe", "evt_1SVexampleCreated")
    assert (row["event_type"], row["subject"]) == ("customer.subscription.created", "cus_ExampleLocal")
    assert row["occurred_at"] == datetime.fromtimestamp(1795169999, UTC)
    assert row["body"] == signed
    assert row["published_at"] is not None
    assert (row["user_id"], row["handled_at"], row["outcome"]) == (None, None, None)
    (published,) = aws.published()
    assert published["detail"]["data"] == {
        "provider": "stripe",
        "event_id": "evt_1SVexampleCreated",
        "event_type": "customer.subscription.created",
    }
    assert published["detail"]["metadata"]["correlation_id"] == "JKJaXmPLvHcESHA="


def test_a_duplicate_changes_nothing(environment: dict[str, str], db: Database, aws: Aws) -> None:
    deliver()
    before = kept(db)
    assert len(heard(aws)) == 1
    assert deliver()["statusCode"] == 200
    assert deliver(pending_webhooks=7)["statusCode"] == 200, "the first one stays"
    assert kept(db) == before
    assert heard(aws) == []


def test_an_event_about_a_customer_itself_is_about_that_customer(
    environment: dict[str, str], db: Database
) -> None:
    deliver(id="evt_1", data={"object": {"object": "customer", "id": "cus_7"}}, type="customer.deleted")
    deliver(id="evt_2", data={"object": {"object": "balance"}}, type="balance.available")
    deliver(id="evt_3", data={"object": {"object": "charge", "customer": None}}, type="charge.failed")
    assert [row["subject"] for row in kept(db)] == ["cus_7", "", ""]


class CrashError(BaseException):
    """The process dies."""


def test_a_crash_between_any_two_steps_is_mended_by_the_next_delivery(
    environment: dict[str, str], db: Database, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the row, after it, after the bus took it: Stripe hears nothing each time, and comes again."""

    def crash(*_: object, **__: object) -> None:
        raise CrashError

    def crashes_at(number: int) -> Callable[[], Any]:
        transaction, entered = database.transaction, itertools.count(1)
        return lambda: crash() if next(entered) == number else transaction()

    rows, told = [], []
    for module, name, dies in (
        (database, "transaction", crashes_at(1)),
        (bus, "publish", crash),
        (database, "transaction", crashes_at(2)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, dies)
            with pytest.raises(CrashError):
                deliver()
        rows.append([row["published_at"] for row in kept(db)])
        told.append(len(heard(aws)))
    assert (rows, told) == ([[], [None], [None]], [0, 0, 1])

    assert deliver()["statusCode"] == 200
    (row,) = kept(db)
    assert row["published_at"] is not None
    assert len(heard(aws)) == 1, "whoever listens finds done what is done"
    deliver()
    assert heard(aws) == []


def test_what_is_away_for_the_moment_is_answered_so_that_stripe_sends_again(
    environment: dict[str, str], db: Database, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise PublishError("the event bus did not answer")

    with monkeypatch.context() as outage:
        outage.setattr(bus, "publish", away)
        answer = deliver()
    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"]
    assert json.loads(answer["body"])["type"] == "urn:problem-type:magpie:unavailable"
    with monkeypatch.context() as outage:
        outage.setattr(database, "transaction", lambda: (_ for _ in ()).throw(TransientError("gone")))
        assert deliver()["statusCode"] == 503
    assert deliver()["statusCode"] == 200
    assert len(kept(db)) == len(heard(aws)) == 1


def test_a_bug_of_ours_is_a_500_and_its_words_stay_out_of_the_log(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def bug(*_: object) -> None:
        raise KeyError(MARK)

    monkeypatch.setattr(webhooks, "accept", bug)
    answer = deliver()
    assert answer["statusCode"] == 500
    (failed,) = [record for record in caplog.records if record.message == "webhook failed"]
    assert vars(failed)["error"] == "KeyError"
    assert any("in bug" in place or " bug" in place for place in vars(failed)["at"])
    assert MARK not in everything_logged(caplog)


def test_without_a_secret_nobody_gets_in_and_the_answer_says_which_parameter_it_is(
    environment: dict[str, str], aws: Aws, db: Database, function_env: Callable[..., dict[str, str]]
) -> None:
    name = "STRIPE_WEBHOOK_SECRETS_PARAMETER"
    signed = body()

    def refused(parameter: str, value: str) -> None:
        for secret in (SECRET, "whsec_", value):
            answer = send(event(signed, header(signed, secret)))
            assert answer["statusCode"] == 503, value
            assert parameter in json.loads(answer["body"])["detail"]

    for value in ("  ", ",", "secret", "whsec_", f"{SECRET},", f"{SECRET},{SECRET},{SECRET}", "ö" * 20):
        aws.put_parameter(environment[name], value)
        refused(environment[name], value)
    function_env("StripeWebhook", **{name: "/magpie/dev/there-is-none"})
    refused("/magpie/dev/there-is-none", "x")
    assert kept(db) == []


def test_a_secret_is_rotated_without_a_gap(environment: dict[str, str], aws: Aws, db: Database) -> None:
    """Old; old and new; new: whatever Stripe signs with in between is taken."""
    name = environment["STRIPE_WEBHOOK_SECRETS_PARAMETER"]
    numbers = itertools.count()

    def status(*secrets: str) -> int:
        signed = body(id=f"evt_{next(numbers)}")
        signatures = [header(signed, secret) for secret in secrets]
        both = ",".join([signatures[0], *(each.partition(",")[2] for each in signatures[1:])])
        return int(send(event(signed, both))["statusCode"])

    for active, expected in (
        (GONE_SECRET, (200, 400, 200)),
        (f"{GONE_SECRET},{NEW_SECRET}", (200, 200, 200)),
        (f" {NEW_SECRET} , {GONE_SECRET} ", (200, 200, 200)),
        (NEW_SECRET, (400, 200, 200)),
    ):
        aws.put_parameter(name, active)
        assert (status(GONE_SECRET), status(NEW_SECRET), status(GONE_SECRET, NEW_SECRET)) == expected


def test_every_secret_is_tried_whichever_fits(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stripe import WebhookSignature

    tried: list[str] = []
    verify = WebhookSignature.verify_header

    def watched(payload: str, sent: str, secret: str, tolerance: int | None) -> bool:
        tried.append(secret)
        return verify(payload, sent, secret, tolerance)

    monkeypatch.setattr(WebhookSignature, "verify_header", watched)
    signed = body()
    for secret in (SECRET, NEW_SECRET, GONE_SECRET):
        send(event(signed, header(signed, secret)))
    assert tried == [SECRET, NEW_SECRET] * 3


def test_a_test_event_does_not_count_in_production(
    function_env: Callable[..., dict[str, str]], aws: Aws, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    environment = function_env("StripeWebhook", STAGE="prod")
    aws.put_parameter(environment["STRIPE_WEBHOOK_SECRETS_PARAMETER"], SECRET)
    assert deliver()["statusCode"] == 200
    assert (kept(db), heard(aws)) == ([], [])
    assert "test event in production ignored" in caplog.text
    assert deliver(livemode=True)["statusCode"] == 200
    assert len(kept(db)) == len(heard(aws)) == 1


# Whatever may arrive.


@dataclass(frozen=True)
class Case:
    """A delivery, and whether it is to be taken."""

    name: str
    delivery: dict[str, Any]
    taken: bool
    event_id: str | None = None


_numbers = itertools.count()


def fresh(**changed: Any) -> tuple[str, str]:
    """A body of its own and its event's id."""
    event_id = f"evt_{next(_numbers):06d}"
    marked = {"id": event_id, "request": {"id": None, "idempotency_key": MARK}}
    return body(**(marked | changed)), event_id


def good(name: str, signed: str | None = None, sent: str | None = None, **more: Any) -> Case:
    told, event_id = fresh()
    told = signed or told
    return Case(
        name, event(told, sent or header(told), **more), True, None if signed and not sent else event_id
    )


def misread(name: str, told: str | bytes) -> Case:
    """Well signed, and nothing that Stripe sends."""
    readable = told if isinstance(told, str) else told.decode("utf-8", "replace")
    return Case(name, event(told, header(readable), encoded=isinstance(told, bytes)), False)


def mis_signed() -> Iterator[Case]:
    signed, _ = fresh()
    sent = header(signed)
    at, _, signature = sent.partition(",v1=")
    for place, digit in enumerate(signature):
        other = "0" if digit != "0" else "f"
        changed = f"{at},v1={signature[:place]}{other}{signature[place + 1 :]}"
        yield Case(f"digit {place} of the signature", event(signed, changed), False)
    for length in range(0, 64, 7):
        yield Case(f"{length} digits of it", event(signed, f"{at},v1={signature[:length]}"), False)
    picked = {}  # the first byte of each kind, and some more of them
    for place, character in enumerate(signed):
        picked.setdefault(character, place)
    for character, place in picked.items():
        other = "\x20" if character != "\x20" else "\x21"
        changed = signed[:place] + other + signed[place + 1 :]
        yield Case(f"another byte for {character!r}", event(changed, sent), False)
    for name, changed in {
        "a byte more": signed + " ",
        "a byte less": signed[:-1],
        "written anew": json.dumps(json.loads(signed)),
        "other line ends": signed.replace("\n", "\r\n"),
        "nothing": "",
        "another's": fresh()[0],
    }.items():
        yield Case(f"the signature of another body: {name}", event(changed, sent), False)
    for secret in (GONE_SECRET, SECRET + " ", SECRET[:-1], SECRET.upper(), "whsec_", ",", f"{SECRET},x", "x"):
        yield Case(f"signed with {secret!r}", event(signed, header(signed, secret)), False)
    yield Case("signed with nothing", event(signed, header(signed, "")), False)
    yield Case("a signature in capitals", event(signed, f"{at},v1={signature.upper()}"), False)
    yield Case("signed for another time", event(signed, f"t={int(at[2:]) - 1},v1={signature}"), False)


def of_other_times() -> Iterator[Case]:
    now = time.time()
    for seconds in (301, 302, 310, 600, 3600, 86400, 10**7, 10**9):
        # Two minutes more for the early ones, for this takes its time; the edges are tested with a clock.
        for name, at in (("late", now - seconds), ("early", now + seconds + 120)):
            signed, _ = fresh()
            yield Case(f"{seconds} s too {name}", event(signed, header(signed, at=at)), False)
    for seconds in (1, 60, 180):
        for at in (now - seconds, now + seconds):
            signed, event_id = fresh()
            yield Case(f"{at - now:.0f} s off", event(signed, header(signed, at=at)), True, event_id)


def odd_headers() -> Iterator[Case]:
    signed, _ = fresh()
    sent = header(signed)
    at, _, signature = sent.partition(",v1=")
    moment = at.removeprefix("t=")
    wide = "".join(chr(0xFF10 + int(digit)) for digit in moment)
    for bad in (
        None, "", " ", ",", "=", "t", "t=", "v1", "v1=", at, f"v1={signature}", f"{at},v1", f"{at},v1=",
        f"{at},v0={signature}", f"{at},v2={signature}", f"{at},V1={signature}", f"T={moment},v1={signature}",
        f"{at};v1={signature}", f"{at} v1={signature}", f"{at}, v1={signature}", f" {sent}", f"{sent} ",
        f"{at},{at},v1={signature}", f"t=1,{at},v1={signature}", f"{at},t=1,v1={signature}",
        f"t=,v1={signature}", f"t=abc,v1={signature}", f"t=-{moment},v1={signature}",
        f"t=+{moment},v1={signature}", f"t={moment}.0,v1={signature}", f"t=1e9,v1={signature}",
        f"t={wide},v1={signature}", f"t={moment[:3]}_{moment[3:]},v1={signature}",
        f"t=0x{int(moment):x},v1={signature}", f"t=0{moment},v1={signature}", f"t={'9' * 400},v1={signature}",
        f"t={'9' * 5000},v1={signature}", f"t={10**10 - 1},v1={signature}", f"t=0,v1={signature}",
        f"{at},v1={'é' * 64}", f"{at},v1=\x00{signature}", f"{sent}\r\nx: y",
        f"{at},v1=={signature}", f"{at},{'v1=00,' * 1000}", f"{at},v1={signature},{'x' * 3000}",
        "Bearer eyJhbGciOiJub25lIn0.e30.", '{"t": 1}', "\ud800", "t=1,v1=" + "0" * 64,
    ):  # fmt: skip
        yield Case(f"the header {str(bad)[:40]!r}", event(signed, bad), False)
    for name, form in {
        "several signatures": "{at},v1=" + "0" * 64 + ",v1={signature}",
        "many signatures": "{at}" + ",v1=" + ",v1=".join(["f" * 64] * 20) + ",v1={signature}",
        "an older scheme too": "{at},v1={signature},v0=" + "a" * 64,
        "schemes that nobody knows": "x=1,{at},y,v1={signature},v3=z",
        "something behind the signature": "{at},v1={signature}=",
        "the signature first": "v1={signature},{at}",
    }.items():
        told, event_id = fresh()
        at, _, signature = header(told).partition(",v1=")
        fitting = form.format(at=at, signature=signature)
        yield Case(name, event(told, fitting), True, event_id)


def of_odd_sizes() -> Iterator[Case]:
    signed, event_id = fresh()
    whole = signed + " " * (CAP - len(signed))
    yield Case("as large as may be", event(whole, header(whole)), True, event_id)
    signed, event_id = fresh()
    whole = signed + " " * (CAP - len(signed))
    yield Case("as large as may be, encoded", event(whole, header(whole), encoded=True), True, event_id)
    for size in (CAP + 1, CAP + 3, 2 * CAP, 6 * 1024 * 1024):
        signed, _ = fresh()
        larger = signed + " " * (size - len(signed))
        for encoded in (False, True):
            sent = event(larger, header(larger), encoded=encoded)
            yield Case(f"{size} bytes", sent, False)
    yield misread("many characters of two bytes", json.dumps({"id": "ö" * (CAP // 2)}, ensure_ascii=False))
    yield misread("nothing at all", "")


def unreadable() -> Iterator[Case]:
    for text in (
        "null", "true", "1", '"text"', "[]", "[{}]", "{}", "{", "}", "[", '{"id"', '{"id":', '{"id": }',
        "{'id': 'evt_1'}", '{"id": "evt_1",}', "// no", "NaN", "\ufeff{}", "id=evt_1&type=x", "<event/>",
        "\u202e{}", "{} {}", "a" * 1000, "[" * 1000, "[" * 100_000, '{"a":' * 50_000, "\\", "0" * 5000,
    ):  # fmt: skip
        yield misread(f"{text[:20]!r} of {len(text)}", text)
    signed, _ = fresh()
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000):
        yield misread(f"the number {number[:9]}", signed.replace('"pending_webhooks": 1', f'"n": {number}'))
    for name in ("id", "type", "created", "livemode", "data", "extra"):
        twice = signed.replace('"object": "event"', f'"object": "event", "{name}": 1, "{name}": 2')
        yield misread(f"{name} twice", twice)
    for depth in (65, 500, 20_000):
        nested = signed.replace('"pending_webhooks": 1', f'"n": {"[" * depth}{"]" * depth}')
        yield misread(f"{depth} levels", nested)
    for broken in (b"\xff\xfe", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"\xf5\x80\x80\x80"):
        yield misread(f"the bytes {broken!r}", signed.encode().replace(b"cus_", b"cus_" + broken))
    yield misread("UTF-16", signed.encode("utf-16"))
    yield misread("compressed", b"\x1f\x8b\x08\x00" + signed.encode())
    yield Case("NUL in a text", event(signed.replace("cus_", "cus_\x00"), header(signed)), False)


def ill_formed() -> Iterator[Case]:
    recorded = json.loads(fresh()[0])
    for name in ("id", "object", "type", "created", "livemode", "data"):
        yield misread(f"without {name}", json.dumps({k: v for k, v in recorded.items() if k != name}))
        for value in (None, [], {}, 1.5, -1, "", "x" * 256, "a b", "\x00", "\ud800", "ö", [recorded]):
            if name == "created" and value == 1.5:
                value = "1795169999"
            yield misread(f"{name} is {str(value)[:9]!r}", json.dumps(recorded | {name: value}))
    for created in (0, -1, 1.5, 1795169999.0, True, "now", "2026-11-20T10:00:00Z", 10**12, 10**30):
        yield misread(f"created {created!r}", json.dumps(recorded | {"created": created}))
    for data in ({"object": None}, {"object": []}, {"object": "cus_1"}, {"objects": {}}, []):
        yield misread(f"data {data!r}", json.dumps(recorded | {"data": data}))
    thin = {"object": "v2.core.event", "created": "2026-11-20T10:00:00.000Z"}
    yield misread("a thin event", json.dumps(recorded | thin))
    yield misread("EventBridge's envelope", json.dumps({"detail": recorded, "source": "aws.partner/stripe"}))
    yield misread("many events", json.dumps({"object": "list", "data": [recorded, recorded]}))


def harmless() -> Iterator[Case]:
    """Odd, and Stripe's all the same: what is signed and says what it is, is kept."""
    for kind in (
        "", "text/plain", "application/octet-stream", "multipart/form-data", "image/png", "x" * 500,
    ):  # fmt: skip
        signed, event_id = fresh()
        for encoded in (False, True):
            sent = event(signed, header(signed), encoded=encoded, **{"content-type": kind})
            yield Case(f"declared as {kind[:30]!r}", sent, True, event_id)
    for name, value in {
        "an umlaut": "Grüße", "a cat": "\U0001f431", "from right to left": "\u202eevil", "markup": "<script>",
        "SQL": "'; DROP TABLE webhook_events; --", "placeholders": "%s %(body)s", "NUL": "a\x00b",
        "half a character": "\ud800", "a long text": "ö" * 10_000, "a template": "{{7*7}} ${jndi:ldap://x}",
        "an escape": "\x1b[31mred", "line ends": "a\r\nlevel=ERROR", "a huge number": 10**300, "null": None,
        "deep": json.loads("[" * 58 + "]" * 58), "many": list(range(1000)), "-0": -0.0, "tiny": 5e-324,
    }.items():  # fmt: skip
        signed, event_id = fresh(more=value)
        yield Case(f"with {name}", event(signed, header(signed)), True, event_id)
    for kind in ("checkout.session.completed", "customer.subscription.deleted"):
        event_id = f"evt_{next(_numbers):06d}"
        signed = body(kind, id=event_id)
        yield Case(kind, event(signed, header(signed)), True, event_id)
    for kind in ("invoice.paid", "a.type.of.next.year", "x" * 255, "v1.billing.meter.no_meter_found"):
        signed, event_id = fresh(type=kind)
        yield Case(f"of the type {kind[:30]}", event(signed, header(signed)), True, event_id)
    for customer in (None, 7, "", "cus_\x00", "ö", {"id": "cus_1"}, ["cus_1"], "x" * 10_000):
        signed, event_id = fresh(data={"object": {"object": "invoice", "customer": customer}})
        yield Case(f"of the customer {str(customer)[:9]!r}", event(signed, header(signed)), True, event_id)
    order = list(range(1, 31))
    random.Random(6).shuffle(order)  # noqa: S311 - an order, not a secret
    for second in order:
        signed, event_id = fresh(created=1795170000 + second)
        yield Case(f"the {second}th, out of order", event(signed, header(signed)), True, event_id)
    signed, event_id = fresh(created=1)
    yield Case("of 1970", event(signed, header(signed)), True, event_id)
    signed, event_id = fresh(created=253_402_300_799)
    yield Case("of the year 9999", event(signed, header(signed)), True, event_id)
    for secret in (SECRET, NEW_SECRET):
        signed, event_id = fresh()
        yield Case("while secrets are rotated", event(signed, header(signed, secret)), True, event_id)


def odd_envelopes() -> Iterator[Case]:
    signed, _ = fresh()
    sent = event(signed, header(signed))
    yield Case("no body", {k: v for k, v in sent.items() if k != "body"}, False)
    yield Case("a body that is null", sent | {"body": None}, False)
    yield Case("no headers", sent | {"headers": None}, False)
    yield Case("said to be encoded", sent | {"isBase64Encoded": True}, False)
    for odd in ("====", "!!!!", "YQ", "YQ===", "ö", "a\nb", ""):
        yield Case(f"encoded as {odd!r}", sent | {"isBase64Encoded": True, "body": odd}, False)
    yield Case("half a character in the body", sent | {"body": signed + "\ud800"}, False)
    signed, event_id = fresh()
    sent = event(signed, None)
    sent["headers"]["Stripe-Signature"] = header(signed)
    yield Case("a header's name in capitals", sent, True, event_id)


def test_of_hundreds_of_deliveries_only_those_of_stripe_are_taken_and_nothing_is_said_of_any(
    environment: dict[str, str],
    db: Database,
    aws: Aws,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    cases = [
        *mis_signed(), *of_other_times(), *odd_headers(), *of_odd_sizes(), *unreadable(), *ill_formed(),
        *harmless(), *odd_envelopes(),
    ]  # fmt: skip
    taken = [case for case in cases if case.taken]
    replayed = [Case(f"{case.name}, again", case.delivery, True, case.event_id) for case in taken[::3]]
    assert len(cases) - len(taken) >= 300
    assert len(taken) >= 50

    answers = [(case, send(case.delivery)) for case in (*cases, *replayed)]

    refusals = {json.dumps(answer) for case, answer in answers if not case.taken}
    wrong = [
        (case.name, answer) for case, answer in answers if answer["statusCode"] != (400, 200)[case.taken]
    ]
    assert wrong == []
    assert len(refusals) == 1, "every refusal is the same"
    expected = {case.event_id for case in taken}
    assert {row["event_id"] for row in kept(db)} == expected
    assert sorted(heard(aws)) == sorted(expected), "each is passed on once"

    refused = [record for record in caplog.records if record.message == "webhook refused"]
    assert len(refused) == len(cases) - len(taken), "each is counted once"
    logged = everything_logged(caplog) + "".join(capfd.readouterr())
    assert "event accepted" in logged
    for case, _ in answers:
        sent = (case.delivery.get("headers") or {}).get("stripe-signature") or ""
        for part in sent.split(","):
            assert len(part) < 20 or part not in logged, f"{case.name}: a signature"
    for word in (
        SECRET,
        NEW_SECRET,
        GONE_SECRET,
        "whsec_",
        MARK,
        "Sentinel",
        "cus_Example",
        "USER_ID",
        "sub_1SV",
    ):
        assert word not in logged, f"{word} is in the log"


# What an operator sees, and sends round again.


@pytest.fixture
def came(function_env: Callable[..., dict[str, str]], db: Database) -> None:
    """Five events of an hour, one of them of a person, one that the bus never took."""
    function_env("Webhooks")
    now = datetime.now(UTC)
    for number, (kind, outcome, published) in enumerate(
        [
            ("invoice.paid", "applied", True),
            ("invoice.paid", "waiting", True),
            ("customer.deleted", None, False),
            ("customer.deleted", "failed", True),
            ("invoice.paid", "ignored", True),
        ]
    ):
        moment = now - timedelta(minutes=50 - 10 * number)
        db.execute(
            "INSERT INTO webhook_events (provider, event_id, event_type, subject, occurred_at, received_at,"
            " published_at, outcome, reason, body)"
            " VALUES ('stripe', %s, %s, 'cus_1', %s, %s, %s, %s, 'because', %s)",
            (f"evt_{number}", kind, moment, moment, moment if published else None, outcome, body()),
        )
    db.execute(
        "INSERT INTO webhook_events (provider, event_id, event_type, occurred_at, received_at, body)"
        " VALUES ('sns', 'evt_0', 'Bounce', %(at)s, %(at)s, '{\"Message\": \"{}\"}')",
        {"at": now - timedelta(hours=3)},
    )


def ask(action: str, **more: Any) -> dict[str, Any]:
    return operator.lambda_handler({"action": action, **more}, LambdaContext())


def ids(answer: dict[str, Any]) -> list[str]:
    return [f"{row['provider'][0]}{row['event_id'][-1]}" for row in answer["events"]]


@pytest.mark.usefixtures("came")
class TestTheOperator:
    def test_the_newest_come_first_and_pages_follow_each_other(self) -> None:
        whole = ask("list")
        assert ids(whole) == ["s4", "s3", "s2", "s1", "s0", "s0"]
        assert whole["next"] is None
        pages, after = [], None
        while True:
            page = ask("list", limit=2, after=after)
            pages.append(ids(page))
            after = page["next"]
            if after is None:
                break
        assert pages == [["s4", "s3"], ["s2", "s1"], ["s0", "s0"]]
        assert "body" not in whole["events"][0]

    def test_what_is_asked_for_is_what_comes(self) -> None:
        for chosen, expected in (
            ({"provider": "sns"}, 1),
            ({"type": "invoice.paid"}, 3),
            ({"type": "invoice"}, 0),
            ({"outcome": "waiting"}, 1),
            ({"outcome": "none"}, 2),
            ({"provider": "stripe", "type": "customer.deleted", "outcome": "failed"}, 1),
        ):
            assert len(ask("list", **chosen)["events"]) == expected
            assert len(ask("replay", dry_run=True, **chosen)["events"]) == expected

    def test_since_is_a_time_of_ours(self) -> None:
        since = datetime.now(UTC) - timedelta(minutes=25)
        assert ids(ask("list", since=since.isoformat())) == ["s4", "s3"]

    def test_a_body_is_shown_without_the_person_in_it_unless_asked_for(self, db: Database) -> None:
        told = json.dumps(
            {
                "object": {
                    "id": "cs_test_1", "status": "paid", "amount": 900, "live": False, "none": None,
                    "customer_details": {"email": "ada@example.com", "name": "Ada"},
                    "shipping": {"address": {"city": "Rome"}},
                    "lines": [{"description": "Plus"}, {"note": "Ada Lovelace"}],
                    "url": "https://pay.example/secret",
                }
            }
        )  # fmt: skip
        db.execute("UPDATE webhook_events SET body = %s WHERE event_id = 'evt_4'", (told,))
        (shown,) = ask("show", event_id="evt_4")["events"]
        assert shown["body"]["object"]["id"] == "cs_test_1"
        assert shown["body"]["object"]["amount"] == 900
        written = json.dumps(shown)
        for word in ("ada", "Ada", "Rome", "secret", "Plus"):
            assert word not in written
        (whole,) = ask("show", event_id="evt_4", whole=True)["events"]
        assert whole["body"] == told
        both = ask("show", event_id="evt_0")["events"]
        assert {row["provider"] for row in both} == {"stripe", "sns"}
        assert ask("show", event_id="evt_0", provider="sns")["events"] == both[:1]
        assert ask("show", event_id="evt_none")["events"] == []

    def test_replaying_publishes_again_the_oldest_first(self, db: Database, aws: Aws) -> None:
        answer = ask("replay", provider="stripe", limit=4)
        assert (answer["replayed"], answer["more"]) == (4, True)
        assert ids(answer) == ["s0", "s1", "s2", "s3"]
        assert sorted(heard(aws)) == ["evt_0", "evt_1", "evt_2", "evt_3"]
        (row,) = db.execute("SELECT published_at FROM webhook_events WHERE event_id = 'evt_2'").fetchall()
        assert row["published_at"] is not None

    def test_named_ones_are_replayed_whatever_else_there_is(self, aws: Aws) -> None:
        answer = ask("replay", event_ids=["evt_3", "evt_1", "evt_none"])
        assert (ids(answer), answer["more"]) == (["s1", "s3"], False)
        assert len(heard(aws)) == 2

    def test_a_dry_run_only_says_what_would_be_replayed(self, db: Database, aws: Aws) -> None:
        before = kept(db)
        answer = ask("replay", outcome="none", dry_run=True)
        assert (len(answer["events"]), answer["replayed"]) == (2, 0)
        assert heard(aws) == []
        assert kept(db) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "delete"},
        {"action": "list", "limit": 0},
        {"action": "list", "limit": 100_000},
        {"action": "list", "provider": "paypal"},
        {"action": "list", "type": ""},
        {"action": "list", "misspelt": 1},
        {"action": "list", "since": "2026-11-20T10:00:00"},
        {"action": "show"},
        {"action": "replay", "event_ids": []},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError, match="not a Command"):
        operator.lambda_handler(wrong, LambdaContext())


def test_what_became_of_an_event_is_noted_and_whose_it_is_stays_known(
    environment: dict[str, str], db: Database
) -> None:
    deliver()
    key = ("stripe", "evt_1SVexampleCreated")
    with database.transaction() as cursor:
        outcomes.handled(cursor, *key, "applied", None, "ann")
    with database.transaction() as cursor:
        outcomes.handled(cursor, *key, "ignored", "it is known already")
    (row,) = kept(db)
    assert (row["outcome"], row["reason"], row["user_id"]) == ("ignored", "it is known already", "ann")
    assert row["handled_at"] is not None


def test_two_deliveries_at_once_keep_one(environment: dict[str, str], db: Database, aws: Aws) -> None:
    """The second finds the first one's row while the bus has not taken it: it is published, and kept once."""
    delivery = Delivery("stripe", "evt_twice", "invoice.paid", "", datetime.now(UTC), "{}")
    published = bus.publish

    def meanwhile(events: Any, correlation_id: str) -> None:
        bus.publish = published
        assert webhooks.accept(delivery, "b") is True
        published(events, correlation_id)

    bus.publish = meanwhile
    try:
        assert webhooks.accept(delivery, "a") is True
    finally:
        bus.publish = published
    assert webhooks.accept(delivery, "c") is False
    assert len(kept(db)) == 1
    assert set(heard(aws)) == {"evt_twice"}


def test_an_answer_takes_a_moment(environment: dict[str, str]) -> None:
    """Stripe gives up after some seconds; ours is far below one, database and bus included."""
    deliver()
    seconds = []
    for number in range(20):
        signed = body(id=f"evt_{number}")
        sent = event(signed, header(signed))
        began = time.perf_counter()
        assert send(sent)["statusCode"] == 200
        seconds.append(time.perf_counter() - began)
    assert sorted(seconds)[10] < 0.5


def test_the_recorded_bodies_are_events_of_stripe() -> None:
    for path in stripe_webhooks.BODIES.glob("*.json"):
        recorded = json.loads(path.read_text())
        assert (recorded["object"], recorded["type"]) == ("event", path.stem)


def test_the_parameter_is_read_once_in_five_minutes(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deliver()["statusCode"] == 200

    def nobody() -> None:
        raise AssertionError("Parameter Store was asked again")

    with monkeypatch.context() as patched:
        patched.setattr(parameters.clients, "ssm", nobody)
        assert deliver(id="evt_2")["statusCode"] == 200
