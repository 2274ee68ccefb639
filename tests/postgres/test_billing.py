"""What Stripe tells, from its delivery to what somebody may have; and the way to Stripe's pages."""

import contextlib
import itertools
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from functions.api import billing_stripe
from functions.billing import handler, store
from functions.billing.handler import BillingError
from functions.eraser import handler as eraser
from functions.stripe_webhook import handler as stripe_webhook
from functions.stripe_webhook import notice
from shared import bus, database, erasures, outcomes, profiles, webhooks
from shared.errors import PublishError, TransientError
from tests.conftest import Aws, LambdaContext
from tests.fakes import stripe_server, stripe_webhooks
from tests.fakes.http_api import Answer, Caller, assert_problem
from tests.fakes.stripe_events import CUSTOMER, NEW, OLD, body, event
from tests.fakes.stripe_server import StripeServer

Database = psycopg.Connection[dict[str, Any]]

UPDATED = "customer.subscription.updated"
END = 1797761999


@pytest.fixture
def environment(function_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    """What the API needs, and the functions behind it."""
    others = {**function_env("Eraser"), **function_env("StripeWebhook"), **function_env("Billing")}
    return others | function_env("Api", EMBEDDER="offline")


class Stripe:
    """Deliveries, and the consumer that hears of them."""

    def __init__(self, aws: Aws, db: Database) -> None:
        self.aws, self.db = aws, db

    def store(self, made: dict[str, Any]) -> None:
        """Have an event stored and published, as the webhook does with one that is verified."""
        about = notice.read(made)
        delivery = webhooks.Delivery(
            "stripe", about.event_id, about.event_type, about.subject, about.occurred_at, body(made)
        )
        webhooks.accept(delivery, "correlation")

    def hear(self, event_id: str) -> dict[str, Any]:
        return handler.lambda_handler({"provider": "stripe", "event_id": event_id}, LambdaContext())  # type: ignore[arg-type]

    def tell(self, *events: dict[str, Any]) -> dict[str, Any]:
        """Deliver events one after the other; what the consumer said of the last."""
        answer: dict[str, Any] = {}
        for made in events:
            self.store(made)
            answer = self.hear(made["id"])
        return answer

    def row(self, made: dict[str, Any]) -> dict[str, Any]:
        (found,) = self.db.execute(
            "SELECT user_id, outcome, reason, body FROM webhook_events WHERE event_id = %s", (made["id"],)
        ).fetchall()
        return found

    def profile(self, user_id: str) -> dict[str, Any]:
        (found,) = self.db.execute(
            """
            SELECT subscription_tier AS tier, usage_limits AS limits, stripe_customer_id AS customer,
                   subscription_status AS status, subscription_period_end AS period_end,
                   subscription_cancels AS cancels
              FROM user_profiles WHERE user_id = %s
            """,
            (user_id,),
        ).fetchall()
        return found

    def published(self, kind: str = "LimitsChanged") -> list[dict[str, Any]]:
        return [each["detail"]["data"] for each in self.aws.published() if each["detail-type"] == kind]


@pytest.fixture
def stripe(environment: dict[str, str], aws: Aws, db: Database) -> Stripe:
    return Stripe(aws, db)


def somebody(db: Database, *user_ids: str, tier: str = "free", **columns: Any) -> None:
    """Give people profiles."""
    for user_id in user_ids:
        row = {
            "user_id": user_id,
            "subscription_tier": tier,
            "usage_limits": json.dumps(profiles.limits(tier)),
            **columns,
        }
        names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
        db.execute(f"INSERT INTO user_profiles ({names}) VALUES ({values})", row)  # noqa: S608 - constants


@pytest.fixture
def ada(stripe: Stripe, db: Database) -> str:
    somebody(db, "ada")
    return "ada"


class TestASubscription:
    def test_from_the_payment_to_the_end(self, stripe: Stripe, ada: str, db: Database) -> None:
        """Through the webhook with Stripe's signature, and the queue's envelope."""
        stripe.aws.put_parameter("/magpie/dev/stripe-webhook-secrets", stripe_webhooks.SECRET)
        changed = []
        for made in (
            event("checkout.session.completed", 100, user=ada),
            event("customer.subscription.created", 99, user=ada, status="incomplete"),
            event(UPDATED, 101, user=ada),
            event("invoice.paid", 101, user=ada),
        ):
            text = body(made)
            answer = stripe_webhook.lambda_handler(
                stripe_webhooks.event(text, stripe_webhooks.header(text)),
                LambdaContext(),  # type: ignore[arg-type]
            )
            assert answer["statusCode"] == 200
            (envelope,) = [
                each for each in stripe.aws.published() if each["detail-type"] == "WebhookReceived"
            ]
            told = handler.lambda_handler(envelope, LambdaContext())  # type: ignore[arg-type]
            assert told["outcome"] == "applied"
            changed += stripe.published()
        found = stripe.profile(ada)
        assert found == {
            "tier": "plus",
            "limits": dict(profiles.limits("plus")),
            "customer": CUSTOMER,
            "status": "active",
            "period_end": datetime.fromtimestamp(END, UTC),
            "cancels": False,
        }
        assert changed == [{"user_id": ada, "tier": "plus"}]
        stripe.tell(event("customer.subscription.deleted", 200, user=ada))
        assert (stripe.profile(ada)["tier"], stripe.profile(ada)["status"]) == ("free", "canceled")
        assert stripe.profile(ada)["limits"] == profiles.limits("free")
        assert stripe.published() == [{"user_id": ada, "tier": "free"}]
        written = db.execute(
            "SELECT outcome, detail ->> 'tier' AS tier FROM audit_log WHERE event = 'subscription_changed'"
            " AND user_id = 'ada' ORDER BY audit_id"
        ).fetchall()
        assert [tuple(row.values()) for row in written] == [
            ("none", "free"),
            ("incomplete", "free"),
            ("active", "plus"),
            ("canceled", "free"),
        ]

    def test_that_ends_with_its_period_says_so(self, stripe: Stripe, ada: str) -> None:
        for created, version in enumerate((NEW, OLD), 1):
            ends = END + created
            stripe.tell(event(UPDATED, created, user=ada, cancels=True, period_end=ends, version=version))
            found = stripe.profile(ada)
            assert (found["tier"], found["cancels"]) == ("plus", True)
            assert found["period_end"] == datetime.fromtimestamp(ends, UTC)

    def test_that_is_overdue_keeps_its_tier_until_stripe_gives_up(self, stripe: Stripe, ada: str) -> None:
        stripe.tell(event(UPDATED, 1, user=ada), event("invoice.payment_failed", 2, user=ada))
        assert (stripe.profile(ada)["tier"], stripe.profile(ada)["status"]) == ("plus", "past_due")
        stripe.tell(event(UPDATED, 3, user=ada, status="unpaid"))
        assert (stripe.profile(ada)["tier"], stripe.profile(ada)["status"]) == ("free", "unpaid")
        stripe.tell(event(UPDATED, 4, user=ada), event("invoice.paid", 4, user=ada))
        assert (stripe.profile(ada)["tier"], stripe.profile(ada)["status"]) == ("plus", "active")

    def test_moves_to_another_tier_at_once(self, stripe: Stripe, ada: str) -> None:
        stripe.tell(event(UPDATED, 1, user=ada), event(UPDATED, 2, user=ada, tier="team"))
        assert stripe.profile(ada)["limits"] == profiles.limits("team")

    def test_one_with_each_of_two_customers_gives_the_best(self, stripe: Stripe, ada: str) -> None:
        """Somebody who paid in two tabs at once."""
        stripe.tell(
            event(UPDATED, 1, user=ada, customer="cus_1", subscription="sub_1"),
            event(UPDATED, 2, user=ada, customer="cus_2", subscription="sub_2", tier="team"),
        )
        assert (stripe.profile(ada)["tier"], stripe.profile(ada)["customer"]) == ("team", "cus_2")
        stripe.tell(event("customer.deleted", 3, customer="cus_2"))
        assert (stripe.profile(ada)["tier"], stripe.profile(ada)["customer"]) == ("plus", "cus_1")

    def test_limits_made_by_hand_last_until_the_tier_changes(
        self, stripe: Stripe, ada: str, db: Database
    ) -> None:
        db.execute("UPDATE user_profiles SET usage_limits = '{\"items\": 7}' WHERE user_id = 'ada'")
        stripe.tell(event("checkout.session.completed", 1, user=ada))
        assert stripe.profile(ada)["limits"] == {"items": 7}
        stripe.tell(event(UPDATED, 2, user=ada))
        assert stripe.profile(ada)["limits"] == profiles.limits("plus")


class TestAnyOrder:
    HISTORY = (
        ("checkout.session.completed", 101, {}),
        ("customer.subscription.created", 100, {"status": "incomplete"}),
        (UPDATED, 101, {"status": "active"}),
        ("invoice.paid", 101, {}),
        ("invoice.payment_failed", 200, {}),
        (UPDATED, 200, {"status": "past_due"}),
        (UPDATED, 300, {"status": "active", "tier": "team"}),
        (UPDATED, 300, {"status": "active", "tier": "team", "cancels": True}),
        ("customer.subscription.created", 400, {"subscription": "sub_2", "status": "trialing"}),
        ("customer.subscription.deleted", 500, {}),
    )

    def history(self, user_id: str, customer: str) -> list[dict[str, Any]]:
        """Somebody's events; of their invoices none says whose it is."""
        return [
            event(
                kind,
                created,
                user=None if kind.startswith("invoice.") else user_id,
                customer=customer,
                event_id=f"evt_{user_id}_{number}",
                **about,  # type: ignore[arg-type]
            )
            for number, (kind, created, about) in enumerate(self.HISTORY)
        ]

    def state(self, stripe: Stripe, user_id: str) -> tuple[object, ...]:
        rows = stripe.db.execute(
            "SELECT event_id, user_id, outcome, reason FROM webhook_events WHERE event_id LIKE %s ORDER BY 1",
            (f"evt_{user_id}_%",),
        ).fetchall()
        shown = json.dumps([stripe.profile(user_id), rows], default=str)
        return shown.replace(user_id, "somebody"), len(rows)

    def test_of_arrival_ends_in_the_same_state(self, stripe: Stripe) -> None:
        """Six people with one history, each in another order, in part twice, stored early, heard late."""
        choose = random.Random(20261120)  # noqa: S311 - an order, not a secret
        states = set()
        for number in range(6):
            user_id, customer = f"u{number:02}", f"cus_{number:02}"
            somebody(stripe.db, user_id)
            history = self.history(user_id, customer)
            arrivals = history if number == 0 else choose.sample(history, len(history)) + history[:3]
            unheard = []
            for made in arrivals:
                stripe.store(made)
                unheard.append(made["id"])
                if number == 0 or choose.random() < 0.7:
                    stripe.hear(unheard.pop(choose.randrange(len(unheard))))
            for event_id in unheard:
                stripe.hear(event_id)
            states.add(tuple(str(part).replace(customer, "cus") for part in self.state(stripe, user_id)))
        assert len(states) == 1
        (shown,) = states
        assert '"tier": "plus"' in shown[0]
        assert '"status": "trialing"' in shown[0]
        assert "waiting" not in shown[0]

    def test_a_stale_event_changes_nothing(self, stripe: Stripe, ada: str) -> None:
        stripe.tell(event(UPDATED, 200, user=ada, tier="team"))
        before = stripe.profile(ada)
        stripe.published()
        stripe.tell(
            event(UPDATED, 199, user=ada, status="unpaid"), event("invoice.payment_failed", 150, user=ada)
        )
        assert stripe.profile(ada) == before
        assert stripe.published() == []

    def test_a_second_delivery_changes_nothing_and_says_so_again(
        self, stripe: Stripe, ada: str, db: Database
    ) -> None:
        made = event(UPDATED, 1, user=ada)
        stripe.tell(made)
        before = (
            db.execute("SELECT * FROM user_profiles").fetchall(),
            db.execute("TABLE audit_log").fetchall(),
        )
        assert stripe.published() == [{"user_id": ada, "tier": "plus"}]
        assert stripe.hear(made["id"])["outcome"] == "applied"
        after = db.execute("SELECT * FROM user_profiles").fetchall(), db.execute("TABLE audit_log").fetchall()
        assert after == before
        assert stripe.published() == [{"user_id": ada, "tier": "plus"}]


class TestACrash:
    def test_before_the_commit_leaves_nothing(
        self, stripe: Stripe, ada: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = event(UPDATED, 1, user=ada)
        stripe.store(made)

        def dies(*_: object, **__: object) -> None:
            raise TransientError("the database gave up")

        with monkeypatch.context() as patched:
            patched.setattr(outcomes, "handled", dies)
            with pytest.raises(TransientError):
                stripe.hear(made["id"])
        assert stripe.profile(ada)["tier"] == "free"
        assert stripe.row(made)["outcome"] is None
        stripe.hear(made["id"])
        assert stripe.profile(ada)["tier"] == "plus"

    def test_before_the_publishing_is_made_good_by_the_next_delivery(
        self, stripe: Stripe, ada: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = event(UPDATED, 1, user=ada)
        stripe.store(made)
        stripe.published()

        def dies(*_: object) -> None:
            raise PublishError("the event bus did not answer")

        with monkeypatch.context() as patched:
            patched.setattr(bus, "publish", dies)
            with pytest.raises(TransientError):
                stripe.hear(made["id"])
        assert (stripe.profile(ada)["tier"], stripe.published()) == ("plus", [])
        stripe.hear(made["id"])
        assert stripe.published() == [{"user_id": ada, "tier": "plus"}]


class TestWhose:
    def test_an_event_that_does_not_say_waits_for_one_that_does(self, stripe: Stripe, ada: str) -> None:
        made = event("invoice.paid", 100, user=None), event(UPDATED, 101, user=None)
        assert stripe.tell(*made)["outcome"] == "waiting"
        assert stripe.profile(ada)["tier"] == "free"
        stripe.tell(event("checkout.session.completed", 99, user=ada))
        assert stripe.profile(ada)["tier"] == "plus"
        assert [stripe.row(each)["outcome"] for each in made] == ["applied", "applied"]
        assert [stripe.row(each)["user_id"] for each in made] == [ada, ada]

    def test_a_customer_that_an_operator_wrote_into_a_profile_is_theirs(
        self, stripe: Stripe, db: Database
    ) -> None:
        made = event(UPDATED, 1, user=None)
        assert stripe.tell(made)["outcome"] == "waiting"
        somebody(db, "bob", stripe_customer_id=CUSTOMER)
        assert stripe.hear(made["id"])["outcome"] == "applied"
        assert stripe.profile("bob")["tier"] == "plus"
        # Also once another customer of theirs is the one that counts.
        stripe.tell(event(UPDATED, 2, user="bob", customer="cus_2", subscription="sub_2", tier="team"))
        stripe.tell(
            event("customer.subscription.deleted", 3, user="bob", customer="cus_2", subscription="sub_2")
        )
        assert (stripe.profile("bob")["tier"], stripe.profile("bob")["customer"]) == ("plus", CUSTOMER)

    def test_nobody_here_is_ignored_with_the_reason(self, stripe: Stripe) -> None:
        made = event(UPDATED, 1, user="stranger")
        assert stripe.tell(made)["outcome"] == "ignored"
        assert stripe.row(made) | {"body": ""} == {
            "user_id": None,
            "outcome": "ignored",
            "reason": "nobody here has the user id stranger",
            "body": "",
        }

    def test_of_two_who_claim_a_customer_the_first_has_it_in_every_order(
        self, stripe: Stripe, db: Database
    ) -> None:
        for number, order in enumerate(itertools.permutations(range(3))):
            ann, bob, customer = f"ann{number}", f"bob{number}", f"cus_{number}"
            somebody(db, ann, bob)
            named = {"customer": customer, "subscription": f"sub_{number}"}
            events = [
                event("checkout.session.completed", 1, user=ann, **named),  # type: ignore[arg-type]
                event("checkout.session.completed", 2, user=bob, **named),  # type: ignore[arg-type]
                event(UPDATED, 3, user=None, **named),  # type: ignore[arg-type]
            ]
            for place in order:
                stripe.store(events[place])
                with contextlib.suppress(BillingError):  # the second claim, where the first is known
                    stripe.hear(events[place]["id"])
            assert (stripe.profile(ann)["tier"], stripe.profile(ann)["customer"]) == ("plus", customer)
            assert (stripe.profile(bob)["tier"], stripe.profile(bob)["customer"]) == ("free", None)
            assert [stripe.row(each)["user_id"] for each in (events[0], events[2])] == [ann, ann]
        refused = events[1]
        with pytest.raises(BillingError, match="belongs to ann"):
            stripe.hear(refused["id"])
        assert (stripe.row(refused)["outcome"], stripe.row(refused)["user_id"]) == ("failed", bob)

    def test_events_of_other_types_belong_to_their_customer_too(self, stripe: Stripe, ada: str) -> None:
        """Whoever is erased or exported has them among what is theirs."""
        other = event("customer.deleted", 1) | {"type": "customer.updated"}
        assert stripe.tell(other)["outcome"] == "ignored"
        stripe.tell(event(UPDATED, 2, user=ada))
        assert stripe.row(other)["user_id"] == ada


class TestWhatAPersonMustSee:
    def test_a_price_that_no_tier_has_changes_nothing_and_fails(self, stripe: Stripe, ada: str) -> None:
        stripe.tell(event(UPDATED, 1, user=ada, tier="team"))
        made = event(UPDATED, 2, user=ada, tier=None, lookup_key="magpie_team_yearly")
        stripe.store(made)
        for _ in range(2):
            with pytest.raises(BillingError, match="magpie_team_yearly"):
                stripe.hear(made["id"])
        assert stripe.profile(ada)["tier"] == "team"
        assert (stripe.row(made)["outcome"], stripe.row(made)["user_id"]) == ("failed", ada)
        # Mended in Stripe: what comes then says which tier it is, and the letter can be redriven.
        stripe.tell(event(UPDATED, 3, user=ada, tier="plus"))
        assert stripe.hear(made["id"])["outcome"] == "applied"
        assert stripe.profile(ada)["tier"] == "plus"

    def test_an_event_of_another_shape_fails_and_no_other_with_it(self, stripe: Stripe, ada: str) -> None:
        broken = event(UPDATED, 1, user=ada)
        del broken["data"]["object"]["status"]
        stripe.store(broken)
        with pytest.raises(BillingError, match=r"data\.object\.status|status"):
            stripe.hear(broken["id"])
        assert stripe.row(broken)["outcome"] == "failed"
        assert stripe.tell(event(UPDATED, 2, user=ada))["outcome"] == "applied"

    def test_from_its_queue_a_failure_comes_again_alone(self, stripe: Stripe, ada: str) -> None:
        made = event(UPDATED, 1, user=ada, tier=None)
        stripe.store(made)
        sample = json.loads((stripe_webhooks.ROOT / "events/samples/billing/queue.json").read_text())
        envelope = json.loads(sample["Records"][0]["body"])
        envelope["detail"]["data"]["event_id"] = made["id"]
        sample["Records"][0]["body"] = json.dumps(envelope)
        answer = handler.lambda_handler(sample, LambdaContext())  # type: ignore[arg-type]
        assert answer == {"batchItemFailures": [{"itemIdentifier": sample["Records"][0]["messageId"]}]}


class TestSomebodyErased:
    @pytest.fixture(autouse=True)
    def _erased(self, stripe: Stripe, ada: str) -> None:
        stripe.tell(event(UPDATED, 1, user=ada, cancels=True))
        eraser.lambda_handler({"user_id": ada}, LambdaContext(remaining_ms=900_000))  # type: ignore[arg-type]
        assert stripe.db.execute("SELECT FROM webhook_events").fetchall() == []

    def test_leaves_nothing_of_what_comes_late(self, stripe: Stripe, ada: str) -> None:
        late = event("customer.subscription.deleted", 2, user=ada), event("invoice.paid", 3, user=ada)
        for made in late:
            assert stripe.tell(made)["outcome"] == "ignored"
        for made in late:
            assert stripe.row(made) == {
                "user_id": None,
                "outcome": "ignored",
                "reason": "it is about somebody who is erased",
                "body": "{}",
            }
            assert stripe.hear(made["id"])["outcome"] == "ignored"
        assert stripe.db.execute("SELECT FROM user_profiles").fetchall() == []

    def test_who_is_still_charged_is_seen_by_a_person(self, stripe: Stripe, ada: str) -> None:
        """They paid in a tab that was still open."""
        made = event("customer.subscription.created", 2, user=ada, subscription="sub_2")
        stripe.store(made)
        with pytest.raises(BillingError, match="sub_2 of somebody who is erased"):
            stripe.hear(made["id"])
        assert (stripe.row(made)["outcome"], stripe.row(made)["user_id"]) == ("failed", None)
        stripe.tell(event("customer.subscription.deleted", 3, user=ada, subscription="sub_2"))
        assert stripe.hear(made["id"])["outcome"] == "ignored"
        assert stripe.row(made)["body"] == "{}"


def test_an_event_that_is_not_there_any_more_is_let_go(stripe: Stripe) -> None:
    assert stripe.hear("evt_gone")["outcome"] == "ignored"


def test_an_event_about_no_customer_is_ignored(stripe: Stripe) -> None:
    made = event("checkout.session.completed", 1, user="ada")
    made["data"]["object"]["customer"] = None
    assert stripe.tell(made)["outcome"] == "ignored"
    assert stripe.row(made)["reason"] == "it is about no customer"


def test_two_at_once_wait_for_each_other(stripe: Stripe, ada: str, db: Database, database_url: str) -> None:
    """The customer is held from the first look on: the second sees what the first has written."""
    made = event(UPDATED, 1, user=ada)
    stripe.store(made)
    other = database.connect(database_url)
    try:
        with other.transaction(), other.cursor() as cursor:
            store.hold_customer(cursor, CUSTOMER)
            database.connection().execute("SET lock_timeout = '50ms'")
            with pytest.raises(TransientError):
                stripe.hear(made["id"])
            assert stripe.profile(ada)["tier"] == "free"
        assert stripe.hear(made["id"])["outcome"] == "applied"
    finally:
        other.close()


# The API


@pytest.fixture
def at_stripe(
    environment: dict[str, str], function_env: Callable[..., dict[str, str]], aws: Aws
) -> Iterator[StripeServer]:
    """A Stripe that the API asks, with its key."""
    with stripe_server.running() as server:
        made = function_env(
            "Api",
            EMBEDDER="offline",
            STRIPE_BASE_URL=server.base_url,
            ALLOWED_ORIGINS="https://pictures.example,http://localhost:8787",
        )
        aws.put_parameter(made["STRIPE_KEY_PARAMETER"], stripe_server.KEY)
        yield server


OWN = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"


def checkout(caller: Caller, tier: str = "plus", **more: str) -> Answer:
    return caller.post("/billing/checkout", {"tier": tier, **more})


class TestCheckout:
    def test_leads_to_a_page_of_stripes_that_knows_who_pays(
        self, alice: Caller, at_stripe: StripeServer, db: Database
    ) -> None:
        somebody(db, "alice", email="alice@example.com")
        answer = checkout(alice, "team")
        assert answer.status == 201
        assert answer.body == {"url": "https://checkout.stripe.com/c/pay/cs_test_1"}
        (asked,) = at_stripe.asked("/v1/checkout/sessions")
        assert asked.params == {
            "mode": "subscription",
            "line_items[0][price]": stripe_server.PRICES["magpie_team_monthly"],
            "line_items[0][quantity]": "1",
            "success_url": f"{OWN}/",
            "cancel_url": f"{OWN}/",
            "client_reference_id": "alice",
            "subscription_data[metadata][user_id]": "alice",
            "customer_email": "alice@example.com",
        }
        assert "telemetry" not in str(asked.headers)

    def test_makes_a_profile_for_whoever_has_none(
        self, alice: Caller, at_stripe: StripeServer, stripe: Stripe
    ) -> None:
        """Else the payment would be nobody's."""
        assert checkout(alice).status == 201
        assert stripe.profile("alice")["tier"] == "free"

    def test_reuses_a_customer(self, alice: Caller, at_stripe: StripeServer, db: Database) -> None:
        somebody(
            db, "alice", email="alice@example.com", stripe_customer_id="cus_1", subscription_status="canceled"
        )
        assert checkout(alice).status == 201
        (asked,) = at_stripe.asked("/v1/checkout/sessions")
        assert asked.params["customer"] == "cus_1"
        assert "customer_email" not in asked.params

    def test_goes_without_a_customer_whom_stripe_does_not_know(
        self, alice: Caller, at_stripe: StripeServer, db: Database
    ) -> None:
        somebody(db, "alice", stripe_customer_id="cus_of_another_key")
        at_stripe.unknown_customers.add("cus_of_another_key")
        assert checkout(alice).status == 201
        assert "customer" not in at_stripe.asked("/v1/checkout/sessions")[-1].params

    def test_names_no_address_that_stripe_would_refuse(
        self, alice: Caller, at_stripe: StripeServer, db: Database
    ) -> None:
        somebody(db, "alice")
        for email in (None, "nonsense", "zoë@example.com"):
            db.execute("UPDATE user_profiles SET email = %s WHERE user_id = 'alice'", (email,))
            assert checkout(alice).status == 201
            assert "customer_email" not in at_stripe.requests[-1].params

    def test_sent_again_is_the_same_page(self, alice: Caller, at_stripe: StripeServer) -> None:
        first, again = (
            alice.post("/billing/checkout", {"tier": "plus"}, idempotency_key="k") for _ in range(2)
        )
        assert first.body == again.body
        keys = {asked.headers["idempotency-key"] for asked in at_stripe.asked("/v1/checkout/sessions")}
        assert len(keys) == 1
        assert "k" not in keys, "what people choose is not unique between them"
        other = alice.post("/billing/checkout", {"tier": "team"}, idempotency_key="k")
        assert_problem(other, 422, "idempotency-key-reused")
        assert checkout(alice).body != first.body

    def test_sent_again_after_a_price_has_changed_is_a_new_page(
        self, alice: Caller, at_stripe: StripeServer
    ) -> None:
        first = alice.post("/billing/checkout", {"tier": "plus"}, idempotency_key="k")
        at_stripe.prices["magpie_plus_monthly"] = "price_of_next_year"
        again = alice.post("/billing/checkout", {"tier": "plus"}, idempotency_key="k")
        assert (again.status, again.body != first.body) == (201, True)

    def test_is_refused_to_whoever_pays_already(
        self, alice: Caller, at_stripe: StripeServer, db: Database
    ) -> None:
        somebody(db, "alice")
        for status in ("active", "trialing", "past_due", "unpaid", "paused"):
            db.execute("UPDATE user_profiles SET subscription_status = %s WHERE user_id = 'alice'", (status,))
            assert_problem(checkout(alice), 409, "already-subscribed")
        assert at_stripe.requests == []

    def test_takes_only_what_is_sold(self, alice: Caller, at_stripe: StripeServer) -> None:
        for sent in (
            {"tier": "free"},
            {"tier": "gold"},
            {},
            {"tier": "plus", "price": "price_1"},
            {"tier": None},
        ):
            assert_problem(alice.post("/billing/checkout", sent), 422, "invalid-input")
        assert at_stripe.requests == []

    def test_leads_back_to_our_own_pages_only(self, alice: Caller, at_stripe: StripeServer) -> None:
        for good in (
            "https://pictures.example",
            "https://pictures.example/",
            "https://pictures.example/?paid={CHECKOUT_SESSION_ID}#done",
            "http://localhost:8787/?a",
            f"{OWN}/x",
        ):
            assert checkout(alice, success_url=good).status == 201, good
            assert at_stripe.requests[-1].params["success_url"] == good
        asked = len(at_stripe.requests)
        for bad in (
            "https://evil.example/",
            "https://pictures.example.evil.example/",
            "https://pictures.example@evil.example/",
            "https://pictures.example:444/",
            "https://pictures.example\\@evil.example/",
            "http://pictures.example/",
            "//pictures.example/",
            "/",
            "",
            "javascript:alert(1)//https://pictures.example/",
            "https://pictures.example/\r\nLocation: https://evil.example",
            "https://pictures.example/ü",
            "HTTPS://pictures.example/",
            "https://pictures.example/" + "x" * 2000,
        ):
            for field in ("success_url", "cancel_url"):
                answer = checkout(alice, **{field: bad})
                assert_problem(answer, 422, "invalid-input")
                assert answer.body["errors"][0]["field"] == f"body.{field}"
            assert_problem(alice.post("/billing/portal", {"return_url": bad}), 422, "invalid-input")
        assert len(at_stripe.requests) == asked


class TestPortal:
    def test_leads_to_the_customers_own_page(
        self, alice: Caller, at_stripe: StripeServer, db: Database
    ) -> None:
        somebody(db, "alice", stripe_customer_id="cus_1")
        answer = alice.post("/billing/portal", {"return_url": "https://pictures.example/?back"})
        assert (answer.status, answer.body) == (201, {"url": "https://billing.stripe.com/p/session/test_1"})
        (asked,) = at_stripe.requests
        assert asked.params == {"customer": "cus_1", "return_url": "https://pictures.example/?back"}
        assert alice.post("/billing/portal").status == 201
        assert at_stripe.requests[-1].params["return_url"] == f"{OWN}/"

    def test_is_not_there_for_whoever_never_paid(
        self, alice: Caller, bob: Caller, at_stripe: StripeServer, db: Database
    ) -> None:
        somebody(db, "alice", stripe_customer_id="cus_gone")
        at_stripe.unknown_customers.add("cus_gone")
        assert_problem(alice.post("/billing/portal"), 409, "no-subscription")
        assert_problem(bob.post("/billing/portal"), 409, "no-subscription")


class TestWhenStripeFails:
    PASSING = (
        stripe_server.THROTTLED,
        stripe_server.BROKEN,
        stripe_server.DOWN,
        stripe_server.NOT_JSON,
    )

    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The SDK pauses for half a second before it tries again."""
        import stripe

        monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.001)

    def test_for_now_everybody_is_asked_to_come_again(self, alice: Caller, at_stripe: StripeServer) -> None:
        for answer in self.PASSING:
            at_stripe.will_answer(answer)
            told = checkout(alice)
            assert_problem(told, 503, "unavailable")
            assert int(told.headers["retry-after"]) > 0
            for_posts = {"POST": answer}
            at_stripe.instead = lambda request, given=for_posts: given.get(request.method)
            assert_problem(checkout(alice), 503, "unavailable")

    def test_once_it_is_asked_once_more_under_the_same_key(
        self, alice: Caller, at_stripe: StripeServer
    ) -> None:
        failures = iter([stripe_server.BROKEN])
        at_stripe.instead = lambda request: next(failures, None) if request.method == "POST" else None
        assert checkout(alice).status == 201
        first, second = at_stripe.asked("/v1/checkout/sessions")
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]

    def test_by_silence_nobody_waits_for_long(
        self, alice: Caller, at_stripe: StripeServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect, read = billing_stripe.TIMEOUT_SECONDS
        assert 3 * (connect + read) < 15, "the API's own time-out"
        monkeypatch.setattr(billing_stripe, "TIMEOUT_SECONDS", (1.0, 0.05))
        at_stripe.instead = lambda _: stripe_server.SLOW
        assert_problem(checkout(alice), 503, "unavailable")
        assert len(at_stripe.requests) == 1, "what comes before is not tried again"

    def test_by_being_gone(self, alice: Caller, at_stripe: StripeServer, function_env: Any, aws: Aws) -> None:
        made = function_env("Api", EMBEDDER="offline", STRIPE_BASE_URL="http://127.0.0.1:9")
        aws.put_parameter(made["STRIPE_KEY_PARAMETER"], stripe_server.KEY)
        assert_problem(checkout(alice), 503, "unavailable")

    def test_by_being_busy_with_the_same_request(self, alice: Caller, at_stripe: StripeServer) -> None:
        at_stripe.instead = lambda request: stripe_server.BUSY if request.method == "POST" else None
        assert_problem(checkout(alice), 409, "request-in-progress")

    def test_for_good_it_is_our_fault_and_no_key_shows(
        self,
        alice: Caller,
        at_stripe: StripeServer,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO")  # as in Lambda
        refusals = (
            stripe_server.UNAUTHORIZED,
            stripe_server.FORBIDDEN,
            stripe_server.DECLINED,
            stripe_server.failure(400, "invalid_request_error", "You cannot do that.", param="mode"),
        )
        for answer in refusals:
            at_stripe.will_answer(answer)
            told = checkout(alice)
            assert_problem(told, 500, "internal-error")
            shown = capsys.readouterr()
            logged = shown.out + shown.err + caplog.text
            assert f" {answer.status}" in logged
            assert "stripe refuses" in logged
            for secret in (stripe_server.KEY, stripe_server.KEY[-6:], answer.body["error"]["message"]):
                assert secret not in logged
                assert secret not in json.dumps(told.body)
            caplog.clear()

    def test_nothing_is_sold_without_a_key(
        self, alice: Caller, environment: dict[str, str], db: Database
    ) -> None:
        somebody(db, "alice", stripe_customer_id="cus_1")
        for path, sent in (("/billing/checkout", {"tier": "plus"}), ("/billing/portal", None)):
            told = alice.post(path, sent)
            assert_problem(told, 501, "billing-not-configured")
            assert "docs/stripe.md" in told.body["detail"]

    def test_nothing_is_sold_without_a_price(self, alice: Caller, at_stripe: StripeServer) -> None:
        at_stripe.prices.clear()
        assert_problem(checkout(alice), 501, "billing-not-configured")


class TestMe:
    def test_shows_what_is_paid_for(self, alice: Caller, stripe: Stripe, db: Database) -> None:
        assert alice.get("/me").body["subscription"] is None
        stripe.tell(event(UPDATED, 1, user="alice", cancels=True))
        body = alice.get("/me").body
        assert body["tier"] == "plus"
        assert body["subscription"] == {
            "status": "active",
            "period_end": "2026-12-20T10:19:59Z",
            "cancels": True,
        }

    def test_is_not_deleted_while_it_would_go_on_being_charged(
        self, alice: Caller, stripe: Stripe, db: Database
    ) -> None:
        somebody(db, "alice")
        for created, status in enumerate(("active", "past_due", "paused"), 1):
            stripe.tell(event(UPDATED, created, user="alice", status=status))
            assert_problem(alice("DELETE", "/me", {"wait": 0}), 409, "subscription-renews")
        with database.transaction() as cursor:
            assert not erasures.is_erased(cursor, "alice")
        # Ended at Stripe: with its period, as here, or at once.
        stripe.tell(event(UPDATED, 9, user="alice", status="past_due", cancels=True))
        assert alice("DELETE", "/me", {"wait": 0}).status == 202

    def test_is_deleted_once_a_subscription_has_ended(
        self, alice: Caller, stripe: Stripe, db: Database
    ) -> None:
        somebody(db, "alice")
        stripe.tell(event("customer.subscription.deleted", 1, user="alice"))
        assert alice("DELETE", "/me", {"wait": 0}).status == 202
