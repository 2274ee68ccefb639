"""What somebody may have for what they pay."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions.api import billing as api
from functions.billing.account import ENDED, STATUSES, Account
from functions.billing.entitlement import GRANTING, Standing, UnknownPriceError, judge
from functions.billing.told import TYPES, Price, Subscription
from shared import profiles

TIERS = profiles.tiers()["tiers"]
END = datetime(2026, 12, 20, tzinfo=UTC)
PLUS, TEAM = TIERS["plus"]["lookup_key"], TIERS["team"]["lookup_key"]


def subscription(
    name: str = "sub_1", status: str = "active", *keys: str | None, customer: str = "cus_1"
) -> Subscription:
    prices = tuple(Price(f"price_{key}", key) for key in keys or (PLUS,))
    return Subscription(name, customer, status, prices, END, cancels=False)


def tier(*subscriptions: Subscription, default: str = "free") -> str:
    return judge(Account(("cus_1",), subscriptions), TIERS, default).tier


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_gives_the_tier_or_it_does_not(status: str) -> None:
    """The table of docs/stripe.md."""
    expected = "plus" if status in ("active", "trialing", "past_due") else "free"
    assert tier(subscription("sub_1", status)) == expected
    assert (status in GRANTING) == (expected == "plus")


def test_the_documentation_tells_of_every_status_and_type_and_of_no_other() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "stripe.md").read_text()
    block = text.partition("exactly\n   these events")[2].split("```")[1]
    assert sorted(block.split()) == sorted(TYPES)
    rows = [
        row.split("|")[1:3]
        for row in text.splitlines()
        if re.match(r"\| `[a-z_]+`[^|]*\| (the one|`Def)", row)
    ]
    told = {status: "Default" not in tier for names, tier in rows for status in re.findall(r"`(\w+)`", names)}
    assert told == {status: status in GRANTING for status in STATUSES}
    for key in (PLUS, TEAM):
        assert f"`{key}`" in text


def test_a_status_that_nobody_knows_yet_gives_nothing() -> None:
    assert tier(subscription("sub_1", "a word of next year")) == "free"


def test_the_best_of_several_counts() -> None:
    several = (
        subscription("sub_1", "active", TEAM),
        subscription("sub_2", "active", PLUS),
        subscription("sub_3", "canceled", TEAM),
    )
    found = judge(Account(("cus_1",), several), TIERS, "free")
    assert (found.tier, found.status) == ("team", "active")
    assert tier(subscription("sub_1", "unpaid", TEAM), subscription("sub_2", "trialing", PLUS)) == "plus"


def test_of_several_items_the_best_counts_and_what_is_none_of_ours_does_not() -> None:
    assert tier(subscription("sub_1", "active", None, PLUS, "support_monthly")) == "plus"
    assert tier(subscription("sub_1", "active", PLUS, TEAM)) == "team"


@pytest.mark.parametrize("keys", [(None,), ("magpie_plus_yearly",), ("a", "b")])
def test_nobody_loses_or_gets_a_tier_for_a_price_that_no_tier_has(keys: tuple[str | None, ...]) -> None:
    with pytest.raises(UnknownPriceError, match=r"sub_1.*shared/tiers\.json"):
        tier(subscription("sub_1", "past_due", *keys))
    # What grants nothing needs no price.
    assert tier(subscription("sub_1", "canceled", *keys)) == "free"


def test_nobody_has_less_for_paying() -> None:
    assert tier(subscription("sub_1", "active", PLUS), default="team") == "team"
    assert tier(subscription("sub_1", "active", TEAM), default="plus") == "team"
    assert tier(default="plus") == "plus"


def test_what_is_shown_is_of_the_subscription_that_counts_most() -> None:
    unpaid = subscription("sub_1", "unpaid", TEAM, customer="cus_1")
    ended = subscription("sub_2", "canceled", TEAM, customer="cus_2")
    found = judge(Account(("cus_2", "cus_1"), (unpaid, ended)), TIERS, "free")
    assert found == Standing("free", "cus_1", "unpaid", END, cancels=False)
    two_ends = judge(Account(("cus_1",), (ended, subscription("sub_3", "incomplete_expired"))), TIERS, "free")
    assert two_ends.status == "incomplete_expired", "the later of two that have ended"


def test_a_customer_that_is_deleted_is_not_kept() -> None:
    ended = subscription("sub_1", "canceled", customer="cus_gone")
    assert judge(Account((), (ended,)), TIERS, "free").customer_id is None
    assert judge(Account(("cus_1",), (ended,)), TIERS, "free").customer_id == "cus_1"


def test_somebody_without_a_subscription_has_the_default() -> None:
    assert judge(Account(), TIERS, "free") == Standing("free")
    assert judge(Account(("cus_1",)), TIERS, "free") == Standing("free", "cus_1")


def test_the_api_takes_a_subscription_for_open_until_it_has_ended() -> None:
    """Two functions cannot share a rule; so they are held together here."""
    assert {*api.OPEN} == {*STATUSES} - {*ENDED} - {"incomplete"}
    assert {*GRANTING} <= {*api.OPEN}


def test_every_tier_that_has_a_price_is_sold_and_no_other() -> None:
    field = api.NewCheckout.model_json_schema()["properties"]["tier"]
    assert field["enum"] == [name for name, about in TIERS.items() if about["lookup_key"]]
