"""The mailer on a real database, with boto3 and an SES on loopback: one mail for each occasion."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from functions.mailer import handler, record, sending
from shared import database, mailboxes
from shared.errors import InvalidEventError, TransientError
from tests.conftest import LambdaContext
from tests.fakes import ses_server
from tests.fakes.ses_server import SesServer

Database = psycopg.Connection[dict[str, Any]]
Environment = Callable[..., dict[str, str]]

RUN = UUID("0b8f6c9e-5d0a-4f0e-8f60-1f4a1c7f9d22")
HERE, THERE = "us-east-1", "eu-west-1"


@pytest.fixture
def ses(monkeypatch: pytest.MonkeyPatch) -> Iterator[SesServer]:
    with ses_server.running() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SESV2", server.url)
        yield server


@pytest.fixture(autouse=True)
def environment(function_env: Environment, ses: SesServer) -> dict[str, str]:
    return function_env(
        "Mailer", MAIL_FROM="magpie@example.com", MAIL_FALLBACK_REGION=THERE, PAGE_URL="https://m.example.com"
    )


@pytest.fixture(autouse=True)
def ada(db: Database) -> None:
    """Somebody who has asked for everything, with a run of theirs."""
    person(db, "ada")
    a_run(db, "ada")


def person(db: Database, user_id: str, email: str | None = None, **columns: Any) -> None:
    row = {
        "user_id": user_id,
        "email": email or f"{user_id}@example.com",
        "subscription_tier": "free",
        "usage_limits": "{}",
        "notifications": json.dumps({"scan_complete": True, "quota": True}),
    } | columns
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    db.execute(f"INSERT INTO user_profiles ({names}) VALUES ({values})", row)  # noqa: S608 - constants


def a_run(db: Database, user_id: str, run_id: UUID = RUN, name: str = "What failed") -> None:
    scan_id = uuid4()
    db.execute(
        """
        INSERT INTO scans (user_id, scan_id, name, work, schedule, zone)
        VALUES (%s, %s, %s, '{}', '{}', 'UTC')
        """,
        (user_id, scan_id, name),
    )
    db.execute(
        """
        INSERT INTO scan_runs (user_id, run_id, scan_id, kind, request, status, started_at, finished_at)
        VALUES (%s, %s, %s, 'scan', '{"reason": "nightly"}', 'succeeded',
                now() - interval '65 seconds', now())
        """,
        (user_id, run_id, scan_id),
    )


def ended(user_id: str = "ada", run_id: UUID = RUN, **changed: Any) -> dict[str, Any]:
    said = {
        "user_id": user_id,
        "run_id": str(run_id),
        "kind": "scan",
        "status": "succeeded",
        "planned": 3,
        "done": 3,
        "ignored": 0,
        "rejected": 0,
        "failed": 0,
        "cost_usd": 0,
        "report_key": f"{user_id}/reports/{run_id}",
    }
    return said | changed


def full(user_id: str = "ada", **changed: Any) -> dict[str, Any]:
    return {"user_id": user_id, "meter": "items", "limit": 2000, "used": 2000} | changed


def tell(data: dict[str, Any]) -> str:
    """Give the mailer a direct payload, and return what became of it."""
    status: str = handler.lambda_handler(data, LambdaContext())["status"]
    return status


def mails(db: Database) -> list[tuple[Any, ...]]:
    rows = db.execute(
        "SELECT user_id, kind, occasion, status, message_id, region FROM mails ORDER BY created_at"
    ).fetchall()
    return [tuple(row.values()) for row in rows]


def test_who_asked_gets_one_mail_of_a_run(db: Database, ses: SesServer) -> None:
    assert tell(ended()) == "sent"
    (mail,) = ses.mails
    simple = mail["Content"]["Simple"]
    assert mail["Destination"] == {"ToAddresses": ["ada@example.com"]}
    assert simple["Subject"]["Data"] == "Your scan “What failed” is done: 3 pictures"
    assert "Begun because: nightly" in simple["Body"]["Text"]["Data"]
    assert "1 min 5 s" in simple["Body"]["Html"]["Data"]
    assert "https://m.example.com/#/" in simple["Body"]["Html"]["Data"]
    assert mail["ConfigurationSetName"] == "magpie-dev"
    assert mails(db) == [("ada", "scan_complete", str(RUN), "sent", "message-1", HERE)]
    (row,) = db.execute("SELECT sent_at FROM mails").fetchall()
    assert (datetime.now(UTC) - row["sent_at"]).total_seconds() < 60


def test_a_second_delivery_sends_nothing(db: Database, ses: SesServer) -> None:
    assert [tell(ended()), tell(ended()), tell(ended(done=2, failed=1))] == ["sent", "ignored", "ignored"]
    assert len(ses.mails) == len(mails(db)) == 1


def test_a_limit_is_told_of_once_for_each_meter_and_time(db: Database, ses: SesServer) -> None:
    month = {"meter": "model_usd", "limit": 2, "used": 1.99, "resets_at": "2026-12-01T00:00:00Z"}
    events = [
        full(),
        full(used=1999),
        full(meter="storage_bytes"),
        full(**month, period="2026-11"),
        full(**month, period="2026-11"),
        full(**month | {"meter": "deployment"}, period="2026-11"),
        full(**month, period="2026-12"),
    ]
    assert [tell(event) for event in events].count("sent") == 5
    assert [mail["Content"]["Simple"]["Subject"]["Data"] for mail in ses.mails] == [
        "You have as many pictures as your plan holds",
        "Your storage is full",
        "This month's descriptions are used up",
        "Descriptions wait for next month",
        "This month's descriptions are used up",
    ]


@pytest.mark.parametrize(
    ("columns", "event"),
    [
        ({"notifications": "{}"}, ended),
        ({"notifications": '{"scan_complete": false, "quota": true}'}, ended),
        ({"notifications": '{"scan_complete": true}'}, full),
        ({"status": "suspended"}, ended),
        ({"email": ""}, ended),
        ({"email": "not an address"}, ended),
        ({"email": "a@example.com, b@example.com"}, ended),
        ({"email": "a@example.com\nBcc: b@example.com"}, ended),
        ({"email": "＠example.com"}, ended),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_nobody_is_written_to_who_did_not_ask_or_cannot_be_reached(
    columns: dict[str, Any], event: Callable[[str], dict[str, Any]], db: Database, ses: SesServer
) -> None:
    person(db, "bob", **{"email": "bob@example.com"} | columns)
    a_run(db, "bob")
    db.execute("UPDATE user_profiles SET email = %(email)s WHERE user_id = 'bob'", {"email": None} | columns)
    assert tell(event("bob")) == "ignored"
    assert (ses.asked, mails(db)) == ([], [])


def test_an_address_goes_out_as_it_was_typed_with_its_domain_in_ascii(db: Database, ses: SesServer) -> None:
    person(db, "bob", email="Bob+Magpie@bücher.example")
    tell(full("bob"))
    assert ses.mails[0]["Destination"] == {"ToAddresses": ["Bob+Magpie@xn--bcher-kva.example"]}


def test_runs_of_the_operator_and_of_nobody_are_told_to_nobody(db: Database, ses: SesServer) -> None:
    assert tell(ended("*")) == "ignored"
    assert tell(ended("nobody")) == "ignored"
    assert tell(ended(run_id=uuid4())) == "ignored", "a run that is gone"
    person(db, "bob")
    assert tell(ended("bob")) == "ignored", "a run of somebody else's"
    assert (ses.asked, mails(db)) == ([], [])


def test_without_a_sender_there_is_no_mail_and_it_is_said_once(
    function_env: Environment, ses: SesServer, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    function_env("Mailer")
    handler.say_that_there_is_no_mail.cache_clear()
    with caplog.at_level(logging.INFO):
        assert [tell(ended()), tell(full())] == ["ignored", "ignored"]
    said = [line for line in caplog.messages if "MailFrom" in line]
    assert len(said) <= 1
    assert handler.say_that_there_is_no_mail.cache_info().misses == 1
    assert (ses.asked, mails(db)) == ([], [])


def test_a_suppressed_address_gets_nothing_and_is_not_asked_again(db: Database, ses: SesServer) -> None:
    with database.transaction() as cursor:
        key = mailboxes.address_key("ADA+shop@example.com")
        mailboxes.suppress(cursor, key, "bounce", datetime.now(UTC))
    assert [tell(ended()), tell(ended())] == ["suppressed", "ignored"]
    assert ses.asked == []
    assert mails(db) == [("ada", "scan_complete", str(RUN), "suppressed", None, None)]
    with database.transaction() as cursor:
        mailboxes.lift(cursor, key)
    assert tell(ended()) == "ignored", "of what is over nobody wants to hear"
    assert tell(full()) == "sent"


def test_a_refused_mail_is_marked_and_not_sent_again(db: Database, ses: SesServer) -> None:
    ses.trouble[HERE] = ses_server.REJECTED
    assert tell(ended()) == "refused"
    ses.trouble.clear()
    assert tell(ended()) == "ignored"
    assert mails(db) == [("ada", "scan_complete", str(RUN), "refused", None, None)]
    assert ses.asked == [HERE]


def test_the_second_region_is_noted(db: Database, ses: SesServer) -> None:
    ses.trouble[HERE] = ses_server.PAUSED
    assert tell(ended()) == "sent"
    assert mails(db) == [("ada", "scan_complete", str(RUN), "sent", "message-1", THERE)]


def test_with_no_region_the_queue_keeps_it_and_a_later_delivery_sends_it(
    db: Database, ses: SesServer
) -> None:
    ses.trouble = {HERE: ses_server.UNAVAILABLE, THERE: ses_server.THROTTLED}
    for _ in range(3):
        with pytest.raises(TransientError):
            tell(ended())
    assert [row[3] for row in mails(db)] == ["sending"]
    ses.trouble.clear()
    assert tell(ended()) == "sent"
    assert len(ses.mails) == 1


class DeadError(Exception):
    """The process ended here."""


def die(*_: object, **__: object) -> None:
    raise DeadError


@pytest.mark.parametrize(
    ("owner", "name", "sent"),
    [
        (record, "uuid4", 1),
        (record.mailboxes, "is_suppressed", 1),
        (sending, "send", 1),
        # SES has it, and nobody has written that down: it goes out a second time, rather than never.
        (record.Held, "mark", 2),
    ],
    ids=["before it is noted", "before it is looked up", "before it is sent", "before it is marked"],
)
def test_a_crash_between_any_two_steps_loses_no_mail(
    owner: Any, name: str, sent: int, monkeypatch: pytest.MonkeyPatch, db: Database, ses: SesServer
) -> None:
    with monkeypatch.context() as crash:
        crash.setattr(owner, name, die)
        with pytest.raises(DeadError):
            tell(ended())
    assert [row[3] for row in mails(db)] == ([] if owner is record else ["sending"])
    assert tell(ended()) == "sent"
    assert tell(ended()) == "ignored"
    assert len(ses.mails) == sent
    assert [row[3] for row in mails(db)] == ["sent"]


def test_two_deliveries_at_once_are_one_mail(db: Database, ses: SesServer, database_url: str) -> None:
    """The second waits for the row, and then finds it marked."""
    waiting = threading.Event()

    def meanwhile(request: ses_server.Request) -> None:
        with psycopg.connect(database_url) as other:
            other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(record.HOLD, record._names(handler.occasion.Occasion("ada", "quota", week())))
        waiting.set()

    def week() -> str:
        (row,) = db.execute("SELECT occasion FROM mails").fetchall()
        return str(row["occasion"])

    ses.before = meanwhile
    assert tell(full()) == "sent"
    assert waiting.is_set()
    assert tell(full()) == "ignored"


class TestErased:
    def erase(self, db: Database) -> None:
        db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES ('ada', gen_random_uuid())")

    def test_nobody_writes_to_whoever_is_erased(self, db: Database, ses: SesServer) -> None:
        self.erase(db)
        assert tell(ended()) == "ignored"
        assert (ses.asked, mails(db)) == ([], [])

    def test_not_even_when_it_happens_between_two_steps(
        self, db: Database, ses: SesServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = handler.wording.write

        def erased_meanwhile(*arguments: Any) -> Any:
            self.erase(db)
            return write(*arguments)

        monkeypatch.setattr(handler.wording, "write", erased_meanwhile)
        assert tell(ended()) == "ignored"
        assert ses.asked == []


def test_a_queue_gives_back_only_what_failed(db: Database, ses: SesServer) -> None:
    """And what nobody could read, which ends as a dead letter."""

    def message(name: str, data: Any) -> dict[str, Any]:
        metadata = {"version": "1", "correlation_id": "c", "occurred_at": "2026-11-20T09:00:00Z"}
        envelope = {"id": "1", "detail-type": "x", "detail": {"metadata": metadata, "data": data}}
        return {
            "messageId": name,
            "receiptHandle": name,
            "body": json.dumps(envelope),
            "attributes": {"ApproximateReceiveCount": "1"},
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:magpie-MailerQueue",
        }

    ses.before = lambda request: ses.trouble.update({HERE: ses_server.BROKEN, THERE: ses_server.BROKEN})
    records = [
        message("unreadable", {"user_id": "ada"}),
        message("operator", ended("*")),
        message("away", full()),
    ]
    answer = handler.lambda_handler({"Records": records}, LambdaContext())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "unreadable"}, {"itemIdentifier": "away"}]}
    with pytest.raises(InvalidEventError):
        tell({"user_id": "ada", "meter": "unknown", "limit": 1, "used": 1})


def test_no_log_line_holds_an_address_or_a_name(ses: SesServer, caplog: pytest.LogCaptureFixture) -> None:
    ses.trouble[HERE] = ses_server.REJECTED
    tell(ended())
    ses.trouble[HERE] = ses_server.PAUSED
    tell(full())
    assert caplog.messages == ["mail refused", "region does not send", "mail sent"]
    said = str([vars(line) for line in caplog.records])
    assert "MessageRejected" in said
    for secret in ("ada@example.com", "magpie@example.com", "What failed", "not verified"):
        assert secret not in said
