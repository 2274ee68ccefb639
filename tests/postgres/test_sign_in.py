"""The user pool's triggers on a real database: who gets an account, a profile, and in."""

import copy
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from moto import mock_aws

from functions.post_confirmation import handler as post_confirmation
from functions.pre_authentication import handler as pre_authentication
from functions.pre_sign_up import handler as pre_sign_up
from shared import addresses, clients, database, parameters, profiles, triggers
from shared.profiles import DUPLICATE
from shared.triggers import RefusedError
from tests.conftest import ROOT, LambdaContext, forget_caches

Database = psycopg.Connection[dict[str, Any]]
Put = Callable[[str], None]

CONTEXT = LambdaContext()
HANDLERS = {
    "pre_sign_up": pre_sign_up.lambda_handler,
    "post_confirmation": post_confirmation.lambda_handler,
    "pre_authentication": pre_authentication.lambda_handler,
}
SIGN_UPS = [f"pre_sign_up/{name}" for name in ("sign_up", "admin_create_user", "external_provider")]
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def sample(name: str, **attributes: str | None) -> dict[str, Any]:
    """A sample event with some of the user's attributes changed; None takes one away."""
    path: Path = ROOT / "events" / "samples" / f"{name}.json"
    event: dict[str, Any] = json.loads(path.read_text())
    given = event["request"]["userAttributes"]
    for key, value in attributes.items():
        given.pop(key, None)
        if value is not None:
            given[key] = value
    return event


def run(name: str, **attributes: str | None) -> dict[str, Any]:
    event = sample(name, **attributes)
    before = copy.deepcopy(event)
    answer = HANDLERS[name.partition("/")[0]](event, CONTEXT)
    assert answer == before, "Cognito takes nothing else"
    return answer


def refusal(name: str, **attributes: str | None) -> str:
    with pytest.raises(RefusedError) as raised:
        run(name, **attributes)
    return str(raised.value)


def profile(db: Database, user_id: str) -> dict[str, Any]:
    row = db.execute("SELECT * FROM user_profiles WHERE user_id = %s", (user_id,)).fetchone()
    assert row is not None
    return row


def attempts(db: Database) -> list[tuple[str, str, str, int]]:
    rows = db.execute("SELECT * FROM audit_log WHERE event = 'sign_in' ORDER BY audit_id").fetchall()
    return [(row["user_id"], row["event"], row["outcome"], row["detail"]["attempts"]) for row in rows]


@pytest.fixture
def store(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Parameter Store, which knows the database; another URL can be put there."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("DATABASE_URL_PARAMETER", "/test/database-url")
    monkeypatch.setenv("DATABASE_CONNECT_SECONDS", "2")
    monkeypatch.setenv("DEFAULT_TIER", "free")
    with mock_aws():
        forget_caches()

        def put(url: str) -> None:
            clients.ssm().put_parameter(
                Name="/test/database-url", Value=url, Type="SecureString", Overwrite=True
            )
            parameters.forget()

        put(database_url)
        yield put
    forget_caches()


@pytest.fixture
def signing_up(store: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_EMAIL_DOMAINS", "example.com,gmail.com,googlemail.com")


class TestPreSignUp:
    def test_somebody_new_may_have_an_account(self, signing_up: None) -> None:
        for name in SIGN_UPS:
            run(name)

    def test_no_spelling_of_an_address_gets_a_second_account(self, signing_up: None) -> None:
        with database.transaction() as cursor:
            profiles.ensure(cursor, "ada", "adal@gmail.com")
        for name, spelling in itertools.product(
            SIGN_UPS, ["Ada.L+x@gmail.com", "adal@googlemail.com", "a.d.a.l@GMAIL.COM"]
        ):
            assert refusal(name, email=spelling) == "There is an account with this e-mail address already"
            run(name, email="adam@gmail.com")

    def test_by_default_only_an_administrator_makes_users(
        self, store: Put, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALLOWED_EMAIL_DOMAINS", "")
        assert "invitation" in refusal("pre_sign_up/sign_up")
        assert "invitation" in refusal("pre_sign_up/external_provider")
        run("pre_sign_up/admin_create_user")

    def test_an_address_that_a_provider_has_not_verified_is_refused(self, signing_up: None) -> None:
        assert "not verified" in refusal("pre_sign_up/external_provider", email_verified="false")
        assert "not verified" in refusal("pre_sign_up/external_provider", email_verified=None)

    def test_nobody_signs_up_while_the_database_is_away(
        self, signing_up: None, store: Put, caplog: pytest.LogCaptureFixture
    ) -> None:
        store(NOWHERE)
        assert refusal("pre_sign_up/sign_up") == triggers.SORRY
        assert "trigger failed" in caplog.messages, "the alarm listens for it"

    def test_nothing_of_an_error_inside_is_shown(self) -> None:
        for event in ({}, {"triggerSource": "PreSignUp_SignUp"}, {"request": 1}):
            with pytest.raises(RefusedError, match=f"^{triggers.SORRY}$") as raised:
                pre_sign_up.lambda_handler(event, CONTEXT)
            assert raised.value.__cause__ is None


class TestPostConfirmation:
    def test_a_profile_with_tier_and_limits_is_made_once(self, store: Put, db: Database) -> None:
        run("post_confirmation/confirm_sign_up")
        first = profile(db, user := sample("post_confirmation/confirm_sign_up")["userName"])
        run("post_confirmation/confirm_sign_up")
        assert profile(db, user) == first
        assert (first["email"], first["email_key"]) == ("ada@example.com", "ada@example.com")
        assert (first["status"], first["subscription_tier"]) == ("active", "free")
        assert set(first["usage_limits"]) == {"items", "storage_bytes", "model_usd_per_month", "scans"}
        assert first["usage_limits"] == profiles.limits("free")

    def test_a_forgotten_password_changes_nothing(self, store: Put, db: Database) -> None:
        run("post_confirmation/confirm_forgot_password")
        assert db.execute("SELECT FROM user_profiles").fetchall() == []

    def test_of_two_spellings_the_second_is_suspended(self, store: Put, db: Database) -> None:
        run("post_confirmation/confirm_sign_up", sub="one", email="a.da@gmail.com")
        run("post_confirmation/confirm_sign_up", sub="two", email="ada@googlemail.com")
        run("post_confirmation/confirm_sign_up", sub="two", email="ada@googlemail.com")
        assert profile(db, "one")["status"] == "active"
        two = profile(db, "two")
        assert (two["status"], two["status_reason"], two["email_key"]) == ("suspended", DUPLICATE, None)
        rows = db.execute("SELECT user_id, event, outcome FROM audit_log").fetchall()
        assert [tuple(row.values()) for row in rows] == [("two", "suspended", "duplicate_address")]

    def test_two_spellings_at_the_same_moment_end_with_one_active_account(
        self, store: Put, database_url: str, db: Database
    ) -> None:
        users = [f"user-{number}" for number in range(6)]
        together = threading.Barrier(len(users))

        def confirm(user: str, number: int) -> None:
            with database.connect(database_url) as own, own.transaction(), own.cursor() as cursor:
                together.wait(10)
                profiles.ensure(cursor, user, f"ad{'.' * (number % 3)}a+{number}@gmail.com")

        threads = [threading.Thread(target=confirm, args=pair) for pair in zip(users, range(6), strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        statuses = sorted(profile(db, user)["status"] for user in users)
        assert statuses == ["active"] + ["suspended"] * 5

    def test_an_erased_user_gets_no_profile(self, store: Put, db: Database) -> None:
        db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES ('gone', gen_random_uuid())")
        run("post_confirmation/confirm_sign_up", sub="gone")
        assert db.execute("SELECT FROM user_profiles").fetchall() == []

    def test_who_is_confirmed_already_is_told_of_no_outage(
        self, store: Put, caplog: pytest.LogCaptureFixture
    ) -> None:
        store(NOWHERE)
        run("post_confirmation/confirm_sign_up")
        assert "trigger failed" in caplog.messages


class TestPreAuthentication:
    USER = sample("pre_authentication/sign_in")["userName"]

    def test_an_attempt_is_written_down_and_a_missing_profile_made(self, store: Put, db: Database) -> None:
        run("pre_authentication/sign_in")
        assert profile(db, self.USER)["email"] == "ada@example.com"
        assert attempts(db) == [(self.USER, "sign_in", "allowed", 1)]

    def test_a_suspended_user_is_refused_and_the_attempt_written_down(self, store: Put, db: Database) -> None:
        run("pre_authentication/sign_in")
        db.execute("UPDATE user_profiles SET status = 'suspended', status_reason = 'unpaid bills'")
        for name in ("sign_in", "renewal"):
            sentence = refusal(f"pre_authentication/{name}")
            assert "suspended" in sentence
            assert "unpaid" not in sentence, "said to anybody who knows the address"
        assert [(outcome, count) for *_, outcome, count in attempts(db)] == [("allowed", 1), ("suspended", 1)]
        db.execute("UPDATE user_profiles SET status = 'active', status_reason = NULL")
        run("pre_authentication/sign_in")

    def test_an_erased_user_is_refused_and_leaves_no_trace(self, store: Put, db: Database) -> None:
        db.execute("INSERT INTO erasures (user_id, erasure_id) VALUES (%s, gen_random_uuid())", (self.USER,))
        for name in ("sign_in", "renewal"):
            assert "deleted" in refusal(f"pre_authentication/{name}")
        assert db.execute("SELECT FROM user_profiles").fetchall() == []
        assert db.execute("SELECT FROM audit_log").fetchall() == []

    def test_nobody_is_nobody(self, store: Put, db: Database) -> None:
        run("pre_authentication/user_not_found")
        assert db.execute("SELECT FROM audit_log").fetchall() == []
        assert db.execute("SELECT FROM user_profiles").fetchall() == []

    def test_cognitos_own_repetitions_are_one_row(self, store: Put, db: Database) -> None:
        for _ in range(3):
            run("pre_authentication/sign_in")
        assert attempts(db) == [(self.USER, "sign_in", "allowed", 3)]
        db.execute("UPDATE audit_log SET occurred_at = occurred_at - interval '1 minute'")
        run("pre_authentication/sign_in")
        assert [count for *_, count in attempts(db)] == [3, 1]

    def test_another_client_or_another_user_is_another_row(self, store: Put, db: Database) -> None:
        run("pre_authentication/sign_in")
        other = sample("pre_authentication/sign_in")
        other["callerContext"]["clientId"] = "another"
        pre_authentication.lambda_handler(other, CONTEXT)
        run("pre_authentication/sign_in", sub="bert", email="bert@example.com")
        assert [count for *_, count in attempts(db)] == [1, 1, 1]

    def test_a_renewal_is_no_attempt(self, store: Put, db: Database) -> None:
        run("pre_authentication/renewal")
        assert attempts(db) == []

    def test_a_sign_in_is_refused_and_a_renewal_let_through_while_the_database_is_away(
        self, store: Put, caplog: pytest.LogCaptureFixture
    ) -> None:
        store(NOWHERE)
        assert refusal("pre_authentication/sign_in") == triggers.SORRY
        run("pre_authentication/renewal")
        assert caplog.messages.count("trigger failed") == 2

    def test_a_new_address_is_followed_once_it_is_proved(self, store: Put, db: Database) -> None:
        run("pre_authentication/sign_in")
        run("pre_authentication/sign_in", email="ada@new.example", email_verified="false")
        assert profile(db, self.USER)["email_key"] == "ada@example.com"
        run("pre_authentication/sign_in", email="Ada@new.example")
        assert profile(db, self.USER)["email_key"] == "ada@new.example"

    def test_an_address_that_somebody_has_stays_theirs(self, store: Put, db: Database) -> None:
        run("pre_authentication/sign_in", sub="bert", email="bert@gmail.com")
        run("pre_authentication/sign_in")
        run("pre_authentication/sign_in", email="b.e.r.t@gmail.com")
        assert profile(db, self.USER)["email_key"] == "ada@example.com"
        assert profile(db, "bert")["email_key"] == "bert@gmail.com"

    def test_text_that_the_database_refuses_does_no_harm(self, store: Put, db: Database) -> None:
        run("pre_authentication/sign_in", email="a\x00da\ud800@example.com")
        row = profile(db, self.USER)
        assert (row["status"], row["email_key"]) == ("active", None)
        with pytest.raises(addresses.AddressError):
            addresses.read("a\x00da\ud800@example.com")


def test_a_profile_made_without_an_address_gets_it_later(db: Database, database_url: str, store: Put) -> None:
    with database.connect(database_url) as own, own.cursor() as cursor:
        assert profiles.ensure(cursor, "ada").email is None
        assert profiles.ensure(cursor, "ada", "ada@example.com").email == "ada@example.com"
        assert profiles.ensure(cursor, "ada").email == "ada@example.com"
    assert profile(db, "ada")["email_key"] == "ada@example.com"


def test_tiers_say_what_the_default_may() -> None:
    told = profiles.tiers()
    assert list(told["tiers"]) == ["free", "plus", "team"]
    assert told["source"]
    assert told["as_of"]
    limits = {"items", "storage_bytes", "model_usd_per_month", "scans"}
    assert all(set(tier["limits"]) == limits for tier in told["tiers"].values())
