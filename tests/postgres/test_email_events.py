"""What became of mail is kept once, however it is told; who cannot or will not have any is not written to."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from functions.email_events import handler
from shared import database, mailboxes, outcomes, webhooks
from shared.errors import InvalidEventError
from shared.webhooks import Delivery
from tests.conftest import LambdaContext
from tests.fakes import ses_events, sns
from tests.fakes.ses_events import ADDRESS, FEEDBACK, LATER, MAIL, SENT

Database = psycopg.Connection[dict[str, Any]]
KEY = mailboxes.address_key(ADDRESS)


@pytest.fixture(autouse=True)
def environment(function_env: Callable[..., dict[str, str]]) -> None:
    function_env("EmailWebhook")  # to keep deliveries with
    function_env("EmailEvents")


@pytest.fixture
def alice(db: Database) -> str:
    db.execute(
        """
        INSERT INTO user_profiles (user_id, email, status, subscription_tier, usage_limits)
        VALUES ('alice', %s, 'active', 'free', '{}')
        """,
        (ADDRESS,),
    )
    return "alice"


def tell(event: dict[str, Any]) -> str:
    """By EventBridge."""
    status: str = handler.lambda_handler(ses_events.envelope(event), LambdaContext())["status"]
    return status


def keep(message: Any) -> str:
    """What SNS says, as the webhook keeps it."""
    said = sns.notification(message)
    signed = {name: said[name] for name in sns.SIGNED["Notification"]}
    delivery = Delivery("sns", said["MessageId"], "Bounce", MAIL, datetime.now(UTC), json.dumps(signed))
    webhooks.accept(delivery, "c-1")
    return str(said["MessageId"])


def handle(event_id: str) -> str:
    received = {
        "detail-type": "WebhookReceived",
        "source": "magpie",
        "detail": {
            "metadata": {"version": "1", "correlation_id": "c-1", "occurred_at": LATER},
            "data": {"provider": "sns", "event_id": event_id, "event_type": "Bounce"},
        },
    }
    status: str = handler.lambda_handler(received, LambdaContext())["status"]
    return status


def tell_by_sns(event: Any) -> str:
    return handle(keep(event))


def rows(db: Database) -> list[dict[str, Any]]:
    return db.execute("SELECT * FROM email_events ORDER BY event_id, address_key").fetchall()


def suppressed(db: Database) -> dict[str, str]:
    found = db.execute("SELECT address_key, reason FROM suppressed_addresses").fetchall()
    return {row["address_key"]: row["reason"] for row in found}


def ask(**payload: Any) -> dict[str, Any]:
    return handler.lambda_handler(payload, LambdaContext())


@pytest.mark.parametrize("way", [tell, tell_by_sns])
def test_a_bounce_is_kept_without_the_address(way: Callable[..., str], alice: str, db: Database) -> None:
    assert way(ses_events.bounce()) == "kept"
    (row,) = rows(db)
    assert row == {
        "event_id": f"{MAIL}/Bounce/{FEEDBACK}",
        "address_key": KEY,
        "user_id": alice,
        "message_id": MAIL,
        "event_type": "Bounce",
        "detail": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "action": "failed",
            "status": "5.1.1",
        },
        "occurred_at": datetime.fromisoformat(LATER),
    }
    assert "lovelace" not in json.dumps(row, default=str)
    assert suppressed(db) == {KEY: "bounce"}


FAILED = {"action": "failed", "status": "5.1.1"}
NO_REASON: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (ses_events.delivery(), {"processingTimeMillis": 2592}, LATER),
    (ses_events.delay(), {"delayType": "TransientCommunicationFailure", "status": "4.4.1"}, LATER),
    (ses_events.reject(), {"reason": "Bad content"}, SENT),
    (ses_events.rendering_failure(), {"templateName": "scan"}, SENT),
    (
        ses_events.bounce("Transient", "MailboxFull"),
        {"bounceType": "Transient", "bounceSubType": "MailboxFull", **FAILED},
        LATER,
    ),
    (
        ses_events.bounce("Undetermined", "Undetermined"),
        {"bounceType": "Undetermined", "bounceSubType": "Undetermined", **FAILED},
        LATER,
    ),
    (ses_events.complaint("not-spam"), {"complaintFeedbackType": "not-spam"}, LATER),
]


def test_what_is_no_reason_to_stop_is_kept_and_stops_nothing(alice: str, db: Database) -> None:
    for event, detail, at in NO_REASON:
        db.execute("TRUNCATE email_events")
        assert tell(event) == "kept"
        (row,) = rows(db)
        assert (row["event_type"], row["detail"], row["user_id"]) == (event["eventType"], detail, alice)
        assert (row["address_key"], row["occurred_at"]) == (KEY, datetime.fromisoformat(at))
        assert suppressed(db) == {}


REASONS: list[tuple[dict[str, Any], str]] = [
    (ses_events.bounce(more="NoEmail"), "bounce"),
    (ses_events.bounce(more="Suppressed"), "bounce"),
    (ses_events.bounce(more="OnAccountSuppressionList"), "bounce"),
    (ses_events.complaint(), "complaint"),
    (ses_events.complaint(None), "complaint"),
    (ses_events.complaint("abuse", "OnAccountSuppressionList"), "complaint"),
    (ses_events.older(ses_events.complaint()), "complaint"),
]


def test_hard_bounces_and_complaints_stop_what_is_sent(db: Database) -> None:
    for event, reason in REASONS:
        db.execute("TRUNCATE email_events, suppressed_addresses")
        assert tell_by_sns(event) == "kept"
        assert suppressed(db) == {KEY: reason}
    with database.transaction() as cursor:
        for spelling in (ADDRESS, ADDRESS.upper(), f"Ada <{ADDRESS}>", "ada.lovelace+scans@example.com"):
            assert mailboxes.is_suppressed(cursor, spelling)
        assert not mailboxes.is_suppressed(cursor, "grace@example.com")


def test_both_ways_tell_the_same_in_any_order_and_any_number(alice: str, db: Database) -> None:
    """Also where one of them does not say whose it was."""
    event = ses_events.bounce()
    ways = [lambda: tell(event), lambda: tell_by_sns(event), lambda: tell_by_sns(ses_events.older(event))]
    states = []
    for order in itertools.permutations(ways):
        db.execute("TRUNCATE email_events, suppressed_addresses")
        told = [way() for way in (*order, *order)]
        assert told == ["kept", *["known"] * 5]
        states.append((rows(db), db.execute("SELECT * FROM suppressed_addresses").fetchall()))
    assert len(states) == 6
    assert all(state == states[0] for state in states)
    assert [row["user_id"] for row in states[0][0]] == [alice]


def test_late_events_end_in_the_same_state(alice: str, db: Database) -> None:
    events = [
        ses_events.delivery(),
        ses_events.bounce(),
        ses_events.complaint(),
        ses_events.bounce("Transient"),
        ses_events.delay(),
    ]
    events[1]["bounce"] |= {"feedbackId": "f-1", "timestamp": "2026-11-20T11:00:00.000Z"}
    events[3]["bounce"]["feedbackId"] = "f-3"
    states = []
    for order in (events, events[::-1], events[2:] + events[:2]):
        db.execute("TRUNCATE email_events, suppressed_addresses")
        for event in order:
            tell(event)
        states.append((rows(db), db.execute("SELECT * FROM suppressed_addresses").fetchall()))
    assert states[0] == states[1] == states[2]
    assert len(states[0][0]) == 5
    (entry,) = states[0][1]
    assert (entry["reason"], entry["suppressed_at"]) == ("complaint", datetime.fromisoformat(LATER))


def test_a_mail_to_many_has_a_row_for_each(db: Database) -> None:
    event = ses_events.bounce()
    event["bounce"]["bouncedRecipients"] = [{"emailAddress": f"{name}@example.com"} for name in "abc"]
    assert tell(event) == "kept"
    assert {row["address_key"] for row in rows(db)} == {
        mailboxes.address_key(f"{name}@example.com") for name in "abc"
    }
    assert len(suppressed(db)) == 3


def test_whose_it_was_is_believed_of_people_who_are_here_only(alice: str, db: Database) -> None:
    tell(ses_events.delivery(user_id="mallory", message_id="m-1"))
    tell(ses_events.delivery(user_id=None, message_id="m-2"))
    tell(ses_events.delivery(user_id="alice", message_id="m-3"))
    tell(ses_events.delivery(user_id="a\x00\ud800", message_id="m-4"))
    doubtful = ses_events.delivery(message_id="m-5")
    doubtful["mail"]["tags"]["user_id"] = ["alice", "bob"]
    tell(doubtful)
    assert [row["user_id"] for row in rows(db)] == [None, None, "alice", None, None]


def test_of_somebody_who_was_erased_nothing_is_kept_but_that_they_want_no_mail(db: Database) -> None:
    db.execute(
        "INSERT INTO erasures (user_id, erasure_id) VALUES ('alice', '00000000-0000-4000-8000-000000000001')"
    )
    assert tell(ses_events.complaint()) == "ignored"
    assert tell_by_sns(ses_events.delivery()) == "ignored"
    assert tell_by_sns(ses_events.bounce()) == "ignored"
    assert rows(db) == []
    assert db.execute("SELECT FROM webhook_events").fetchall() == [], "they hold the address"
    assert suppressed(db) == {KEY: "complaint"}


NO_EVENTS = [
    "Successfully validated SNS topic for Amazon SES event publishing.",
    "[]",
    "{}",
    '{"eventType": "Bounce"}',
    '{"eventType": "Bounce", "mail": {"messageId": "m"}}',
    '{"eventType": "Bounce", "mail": {"messageId": "a b", "timestamp": "2026-11-20T09:20:00Z"}}',
    '{"eventType": "Bounce", "mail": {"messageId": "m", "timestamp": "yesterday"}}',
    '{"eventType": "Open", "mail": {"messageId": "m", "timestamp": "2026-11-20T09:20:00Z"}}',
    '{"eventType": 7, "mail": []}',
    '{"eventType": "Bounce", "eventType": "Open"}',
    "[" * 100_000,
    '{"n": NaN}',
]


class TestDeliveries:
    def row(self, db: Database) -> dict[str, Any]:
        (row,) = db.execute("SELECT user_id, outcome, reason, handled_at FROM webhook_events").fetchall()
        assert row.pop("handled_at") is not None
        return row

    def test_a_delivery_says_what_became_of_it(self, alice: str, db: Database) -> None:
        event_id = keep(ses_events.bounce())
        assert handle(event_id) == "kept"
        assert self.row(db) == {"user_id": alice, "outcome": "applied", "reason": None}
        assert handle(event_id) == "known", "replayed"
        assert self.row(db)["outcome"] == "applied"

    def test_what_is_no_event_that_is_kept_is_ignored_and_says_so(self, db: Database) -> None:
        for message in NO_EVENTS:
            db.execute("TRUNCATE webhook_events")
            assert tell_by_sns(message) == "ignored"
            assert self.row(db) == {
                "user_id": None,
                "outcome": "ignored",
                "reason": "It is no event of SES that is kept.",
            }
        assert (rows(db), suppressed(db)) == ([], {})

    def test_one_that_is_gone_is_let_go(self, db: Database) -> None:
        assert handle("22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324") == "ignored"

    def test_one_of_another_provider_is_none_of_ours(self) -> None:
        with pytest.raises(InvalidEventError):
            handler.lambda_handler({"provider": "stripe", "event_id": "evt_1"}, LambdaContext())

    def test_a_crash_in_between_leaves_nothing_half_done(
        self, alice: str, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event_id = keep(ses_events.bounce())

        def crash(*_: object) -> None:
            raise RuntimeError("the process dies")

        with monkeypatch.context() as dying:
            dying.setattr(outcomes, "handled", crash)
            with pytest.raises(RuntimeError):
                handle(event_id)
        assert (rows(db), suppressed(db)) == ([], {})
        assert handle(event_id) == "kept"
        assert suppressed(db) == {KEY: "bounce"}


ODD: list[dict[str, Any]] = [
    {"bounce": None},
    {"bounce": []},
    {"bounce": {"bouncedRecipients": "x", "bounceType": ["Permanent"], "feedbackId": 7, "timestamp": 1}},
    {"bounce": {"bouncedRecipients": [None, 1, {}, {"emailAddress": None}, [ADDRESS]]}},
    {"bounce": {"bouncedRecipients": [{"emailAddress": ADDRESS, "status": "\x00\ud800" * 500}]}},
    {"bounce": {"bouncedRecipients": [{"emailAddress": "\ud800\x00"}], "feedbackId": "\x00\ud800"}},
    {
        "bounce": {
            "bouncedRecipients": [{"emailAddress": ADDRESS}] * 1000,
            "processingTimeMillis": 10**400,
        }
    },
    {"bounce": {"bounceType": "Permanent", "timestamp": "not a time", "bouncedRecipients": []}},
    {"bounce": {"bounceType": "Permanent", "timestamp": "9999-12-31T23:59:59-23:00"}},
    {"mail": ses_events.mail() | {"tags": None}},
    {"mail": ses_events.mail() | {"tags": {"user_id": "alice"}}},
    {"mail": ses_events.mail() | {"tags": {"user_id": [7]}}},
    {"mail": ses_events.mail() | {"destination": []}},
    {"other": {"deep": [[[[{}]]]]}},
]


def test_odd_events_are_harmless(alice: str, db: Database) -> None:
    for changed in ODD:
        db.execute("TRUNCATE email_events, suppressed_addresses")
        assert tell(ses_events.bounce() | changed) in ("kept", "known")
        assert len(rows(db)) <= 50
        assert set(suppressed(db)) <= {row["address_key"] for row in rows(db)}


def test_an_event_that_says_nothing_of_a_mail_ends_as_a_dead_letter(db: Database) -> None:
    """EventBridge brings only what SES says: if that is read no more, somebody has to hear of it."""
    with pytest.raises(InvalidEventError):
        tell({"eventType": "Bounce", "bounce": {}})


NOT_UNDERSTOOD: list[dict[str, Any]] = [
    {},
    {"action": "suppress"},
    {"action": "lift"},
    {"action": "lift", "address": ""},
    {"action": "lift", "address": "x" * 300},
    {"action": "forget", "address": ADDRESS},
    {"action": "suppressed", "limit": 0},
    {"action": "suppressed", "limit": 1001},
    {"action": "suppressed", "after": "x"},
    {"action": "lift", "address": ADDRESS, "all": True},
]


class TestTheList:
    def test_an_operator_sees_it_page_by_page(self, db: Database) -> None:
        start = datetime(2026, 11, 1, tzinfo=UTC)
        keys = [mailboxes.address_key(f"{number}@example.com") for number in range(25)]
        with database.transaction() as cursor:
            for number, key in enumerate(keys):
                # Five at a time are of the same moment.
                mailboxes.suppress(cursor, key, "bounce", start + timedelta(days=number // 5))
        page, seen = ask(action="suppressed", limit=7), []
        while True:
            seen += page["addresses"]
            if page["next"] is None:
                break
            # What stood last may be gone by the time.
            ask(action="lift", address=page["addresses"][-1]["address_key"])
            page = ask(action="suppressed", limit=7, after=page["next"])
        assert sorted(entry["address_key"] for entry in seen) == sorted(keys)
        assert [entry["suppressed_at"] for entry in seen] == sorted(
            (entry["suppressed_at"] for entry in seen), reverse=True
        )
        assert seen[0]["reason"] == "bounce"

    def test_an_operator_lifts_what_bounced_and_what_is_known_does_not_come_back(self, db: Database) -> None:
        tell(ses_events.bounce())
        (entry,) = ask(action="suppressed", address="Ada.Lovelace@example.com")["addresses"]
        assert (entry["address_key"], entry["reason"]) == (KEY, "bounce")
        assert ask(action="lift", address=ADDRESS) == {"address_key": KEY, "lifted": True}
        assert ask(action="lift", address=ADDRESS) == {"address_key": KEY, "lifted": False}
        assert tell(ses_events.bounce()) == "known"
        assert tell_by_sns(ses_events.bounce()) == "known"
        assert ask(action="suppressed", address=ADDRESS) == {"addresses": [], "next": None}
        again = ses_events.bounce()
        again["bounce"]["feedbackId"] = "another"
        assert tell(again) == "kept"
        assert suppressed(db) == {KEY: "bounce"}

    def test_an_operator_stops_mail_to_somebody_who_asks_by_letter(self, db: Database) -> None:
        assert ask(action="suppress", address=ADDRESS) == {"address_key": KEY, "suppressed": True}
        assert suppressed(db) == {KEY: "operator"}
        tell(ses_events.bounce())
        assert suppressed(db) == {KEY: "bounce"}
        assert ask(action="lift", address=KEY)["lifted"] is True

    def test_what_is_not_understood_is_refused_without_the_address(self) -> None:
        for payload in NOT_UNDERSTOOD:
            with pytest.raises(InvalidEventError) as caught:
                ask(**payload)
            assert "lovelace" not in str(caught.value)


def test_no_address_is_logged(alice: str, db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tell(ses_events.bounce())
    tell_by_sns(ses_events.complaint())
    ask(action="suppress", address=ADDRESS)
    ask(action="lift", address=ADDRESS)
    logged = caplog.text + str([vars(each) for each in caplog.records if each.name != "botocore"])
    assert "mail event kept" in logged
    assert "lovelace" not in logged
