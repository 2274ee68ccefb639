"""What is read from events of Stripe, of both shapes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.billing import told
from functions.billing.told import TYPES
from shared.errors import InvalidEventError
from tests.fakes import stripe_events
from tests.fakes.stripe_events import CUSTOMER, NEW, OLD, SUBSCRIPTION, USER, VERSIONS, body, event

PLUS = told.Price("price_1SVdoGKqPlusMonthly", "magpie_plus_monthly")
END = datetime.fromtimestamp(1797761999, UTC)


def read(made: dict[str, Any]) -> told.Told:
    found = told.read(body(made))
    assert found is not None
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", TYPES)
def test_every_recorded_event_says_what_it_is_about(kind: str, version: str) -> None:
    recorded = stripe_events.recorded(kind, version)
    found = read(recorded)
    assert (found.event_id, found.created, found.type) == (recorded["id"], recorded["created"], kind)
    assert found.customer_id == CUSTOMER
    assert found.user_id == (None if kind == "customer.deleted" else USER)
    assert found.subscription_id == (SUBSCRIPTION if kind.startswith("invoice.") else None)
    assert (found.subscription is not None) == kind.startswith("customer.subscription.")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_subscription_is_the_same_in_both_shapes(version: str) -> None:
    created = read(stripe_events.recorded("customer.subscription.created", version)).subscription
    assert created == told.Subscription(SUBSCRIPTION, CUSTOMER, "active", (PLUS,), END, cancels=False)
    # One says when it ends, the other that it ends with its period.
    updated = read(stripe_events.recorded("customer.subscription.updated", version)).subscription
    assert updated is not None
    assert updated.cancels
    deleted = read(stripe_events.recorded("customer.subscription.deleted", version)).subscription
    assert deleted is not None
    assert deleted.status == "canceled"


def test_the_shapes_really_differ() -> None:
    new, old = (
        stripe_events.recorded("customer.subscription.updated", version)["data"]["object"]
        for version in (NEW, OLD)
    )
    assert "current_period_end" not in new
    assert "current_period_end" in old
    assert "current_period_end" not in old["items"]["data"][0]
    assert (new["cancel_at_period_end"], old["cancel_at_period_end"]) == (False, True)
    assert "subscription" not in stripe_events.recorded("invoice.paid", NEW)["data"]["object"]


def test_a_deleted_subscription_has_ended_whatever_it_says() -> None:
    made = event("customer.subscription.deleted", 1)
    made["data"]["object"]["status"] = "active"
    found = read(made).subscription
    assert found is not None
    assert found.status == "canceled"


def test_what_a_checkout_gave_the_subscription_counts_more_than_what_a_link_may_have_said() -> None:
    made = event("checkout.session.completed", 1, user="from-a-link")
    assert read(made).user_id == "from-a-link"
    made["data"]["object"]["metadata"] = {"user_id": "ours"}
    assert read(made).user_id == "ours"


@pytest.mark.parametrize("named", ["", "a/b", "x" * 129, "a\x00b"])
def test_what_can_be_nobodys_id_names_nobody(named: str) -> None:
    assert read(event("checkout.session.completed", 1, user=named)).user_id is None
    assert read(event("customer.subscription.updated", 1, user=named)).user_id is None


def test_other_types_and_forgotten_bodies_say_nothing() -> None:
    other = event("customer.deleted", 1) | {"type": "customer.updated"}
    assert told.read(body(other)) is None
    assert told.read(told.FORGOTTEN) is None


def strip(made: dict[str, Any], *path: str) -> dict[str, Any]:
    about: Any = made
    for name in path[:-1]:
        about = about[name]
    del about[path[-1]]
    return made


@pytest.mark.parametrize(
    "broken",
    [
        "not json",
        "[]",
        "null",
        '{"id": "evt_1"}',
        body(strip(event("customer.subscription.updated", 1), "data", "object", "status")),
        body(strip(event("invoice.paid", 1), "data", "object", "customer")),
        body(event("customer.deleted", 1) | {"created": "yesterday"}),
        body(event("customer.deleted", 1) | {"created": 10**30}),
        body(event("customer.deleted", 1) | {"data": {"object": ["ada@example.com"]}}),
    ],
)
def test_another_shape_is_refused_without_quoting_it(broken: str) -> None:
    with pytest.raises(InvalidEventError, match="not an event of Stripe") as refused:
        told.read(broken)
    assert "example.com" not in str(refused.value)
    assert refused.value.__suppress_context__, "the reason quotes the body, and would be logged"


def test_unknown_fields_and_missing_ones_do_no_harm() -> None:
    made = event("customer.subscription.updated", 1)
    made["data"]["object"] = {
        "id": "sub_1",
        "customer": "cus_1",
        "status": "a word of next year",
        "metadata": None,
        "news": [1, 2],
        "items": {"data": [{"price": None}, {"price": {"id": "price_1", "lookup_key": None}}]},
    }
    found = told.read(json.dumps(made))
    assert found is not None
    assert found.subscription == told.Subscription(
        "sub_1", "cus_1", "a word of next year", (told.Price("price_1", None),), None, cancels=False
    )
