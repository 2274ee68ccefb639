"""What many events come to, in whatever order they arrive."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.billing import told
from functions.billing.account import ENDED, STATUSES, Account, fold, in_order, owner
from functions.billing.told import TYPES, Subscription, Told
from tests.fakes.stripe_events import VERSIONS, body, event


def say(kind: str, created: int, **about: object) -> Told:
    """An event as it is read from what Stripe sends."""
    found = told.read(body(event(kind, created, **about)))  # type: ignore[arg-type]
    assert found is not None
    return found


def statuses(account: Account) -> dict[str, str]:
    return {each.subscription_id: each.status for each in account.subscriptions}


UPDATED = "customer.subscription.updated"


@dataclass
class Stripe:
    """A Stripe that keeps what is true, and says what happens in events of its own.

    Attributes:
        said: every event so far.
        truth: what was true after each of them.
    """

    choose: random.Random
    now: int = 1_795_000_000
    said: list[Told] = field(default_factory=list)
    truth: list[dict[str, tuple[str, str, int, bool]]] = field(default_factory=list)
    known: dict[str, tuple[str, str, int, bool]] = field(default_factory=dict)

    def live(self) -> None:
        """Let something happen, as it does to subscriptions."""
        self.now += self.choose.choice((1, 1, 2, 60, 86_400))
        open_ones = [name for name, about in self.known.items() if about[0] not in ENDED]
        if not open_ones or (len(self.known) < 3 and self.choose.random() < 0.2):
            name = f"sub_{len(self.known)}"
            self._is(name, ("incomplete", self._tier(), self.now + 2_592_000, False), "created")
            return
        name = self.choose.choice(open_ones)
        status, tier, end, cancels = self.known[name]
        match self.choose.randrange(7):
            case 0:
                self._pays(name, failed=False)
                self._is(name, ("active", tier, end + 2_592_000, cancels), "updated")
            case 1:
                self._pays(name, failed=True)
                self._is(name, ("past_due", tier, end, cancels), "updated")
            case 2:
                self._is(name, (status, self._tier(), end, cancels), "updated")
            case 3:
                self._is(name, (status, tier, end, not cancels), "updated")
            case 4:
                self._is(name, ("unpaid", tier, end, cancels), "updated")
            case 5:
                self._is(name, ("canceled", tier, end, cancels), "deleted")
            case 6:
                self._is(name, ("trialing", tier, end, cancels), "updated")

    def _tier(self) -> str:
        return self.choose.choice(("plus", "team"))

    def _is(self, name: str, about: tuple[str, str, int, bool], what: str) -> None:
        status, tier, end, cancels = about
        self.known[name] = about
        self._say(
            f"customer.subscription.{what}",
            subscription=name,
            status=status,
            tier=tier,
            period_end=end,
            cancels=cancels,
            version=self.choose.choice(VERSIONS),
        )

    def _pays(self, name: str, *, failed: bool) -> None:
        status, *rest = self.known[name]
        changed = {("active", True): "past_due", ("past_due", False): "active"}.get((status, failed), status)
        self.known[name] = (changed, *rest)  # type: ignore[assignment]
        self._say("invoice.payment_failed" if failed else "invoice.paid", subscription=name)

    def _say(self, kind: str, **about: object) -> None:
        self.said.append(say(kind, self.now, **about))
        self.truth.append(dict(self.known))


def shown(account: Account) -> dict[str, tuple[str, str, int, bool]]:
    tiers = {"magpie_plus_monthly": "plus", "magpie_team_monthly": "team"}
    return {
        each.subscription_id: (
            each.status,
            tiers[str(each.prices[0].lookup_key)],
            int(each.period_end.timestamp()) if each.period_end else 0,
            each.cancels,
        )
        for each in account.subscriptions
    }


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 25))
def test_any_order_of_arrival_ends_in_what_is_true(seed: int, steps: int) -> None:
    """Whatever part of a history has arrived, shuffled and in part twice: what is true at its end."""
    choose = random.Random(seed)  # noqa: S311 - a history, not a secret
    stripe = Stripe(choose)
    for _ in range(steps):
        stripe.live()
    for until in (len(stripe.said), choose.randint(1, len(stripe.said))):
        arrived = stripe.said[:until] + choose.choices(stripe.said[:until], k=5)
        choose.shuffle(arrived)
        assert shown(fold(arrived)) == stripe.truth[until - 1]
        assert fold(arrived) == fold(stripe.said[:until])


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_events_of_one_second_come_to_the_same_in_every_order(data: st.DataObject) -> None:
    many = st.lists(
        st.builds(
            lambda kind, created, status, subscription, customer: say(
                kind, created, status=status, subscription=f"sub_{subscription}", customer=f"cus_{customer}"
            ),
            st.sampled_from(TYPES),
            st.integers(1, 3),
            st.sampled_from(STATUSES),
            st.integers(1, 2),
            st.integers(1, 2),
        ),
        max_size=12,
    )
    said = data.draw(many)
    shuffled = data.draw(st.permutations(said))
    assert fold(shuffled) == fold(said)
    assert owner(shuffled) == owner(said)
    assert in_order(shuffled + said) == in_order(said)


def test_a_late_event_never_overwrites_a_newer_state() -> None:
    said = [
        say("customer.subscription.created", 100, status="incomplete"),
        say(UPDATED, 101, status="active"),
        say(UPDATED, 200, status="active", tier="team"),
    ]
    for order in itertools.permutations(said):
        (found,) = fold(order).subscriptions
        assert (found.status, found.prices[0].lookup_key) == ("active", "magpie_team_monthly")


def in_one_second() -> Iterator[tuple[list[Told], str]]:
    """Events of one second, and the status that they come to."""
    yield [say("customer.subscription.created", 1, status="incomplete"), say(UPDATED, 1)], "active"
    yield [say(UPDATED, 1, status="past_due"), say(UPDATED, 1, status="active")], "active"
    yield [say(UPDATED, 1, status="active"), say("customer.subscription.deleted", 1)], "canceled"
    yield [say(UPDATED, 1, status="canceled"), say(UPDATED, 1, status="active")], "canceled"
    yield [say("invoice.paid", 1), say(UPDATED, 1, status="past_due")], "past_due"


@pytest.mark.parametrize(("said", "status"), list(in_one_second()))
def test_what_happens_in_one_second_is_taken_as_an_end_or_in_favour_of_whoever_pays(
    said: list[Told], status: str
) -> None:
    for ids in itertools.permutations(range(len(said))):
        named = [replace(each, event_id=f"evt_{number}") for each, number in zip(said, ids, strict=True)]
        assert list(statuses(fold(named)).values()) == [status]


def test_what_has_ended_never_comes_back() -> None:
    """Not even by a clock of Stripe's that was a second ahead."""
    said = [say("customer.subscription.deleted", 100), say(UPDATED, 101, status="active")]
    assert list(statuses(fold(said)).values()) == ["canceled"]


def test_an_invoice_says_whether_it_is_paid_until_the_subscription_says_so() -> None:
    said = [say(UPDATED, 100), say("invoice.payment_failed", 200)]
    assert list(statuses(fold(said)).values()) == ["past_due"]
    assert list(statuses(fold([*said, say("invoice.paid", 300)])).values()) == ["active"]
    assert list(statuses(fold([*said, say(UPDATED, 300, status="unpaid")])).values()) == ["unpaid"]


@pytest.mark.parametrize("status", ["trialing", "incomplete", "unpaid", "paused"])
def test_an_invoice_changes_no_other_status(status: str) -> None:
    for kind in ("invoice.paid", "invoice.payment_failed"):
        said = [say(UPDATED, 100, status=status), say(kind, 200)]
        assert list(statuses(fold(said)).values()) == [status]


def test_an_invoice_of_a_subscription_that_nobody_has_told_of_says_nothing() -> None:
    assert fold([say("invoice.paid", 1)]) == Account(("cus_TSYexample",))


def test_with_a_customer_all_their_subscriptions_end() -> None:
    said = [
        say(UPDATED, 1, subscription="sub_1", customer="cus_1", cancels=True),
        say(UPDATED, 2, subscription="sub_2", customer="cus_2"),
        say("customer.deleted", 3, customer="cus_1"),
    ]
    found = fold(said)
    assert statuses(found) == {"sub_1": "canceled", "sub_2": "active"}
    assert not found.subscriptions[0].cancels
    assert found.customer_ids == ("cus_2",)


def test_a_customer_is_whose_it_was_said_to_be_first() -> None:
    said = [
        say("customer.deleted", 1),
        say("invoice.paid", 2, user=None),
        say("checkout.session.completed", 3, user="ada"),
        say(UPDATED, 4, user="bob"),
    ]
    for order in itertools.permutations(said):
        assert owner(order) == "ada"
    assert owner(said[:2]) is None
    assert owner([]) is None


def test_a_price_is_what_it_was_called_when_somebody_bought_it() -> None:
    """Its lookup key has moved on to a newer price since."""
    said = [say(UPDATED, 1), say(UPDATED, 2, tier=None, status="past_due")]
    for order in itertools.permutations(said):
        (found,) = fold(order).subscriptions
        assert (found.status, found.prices[0].lookup_key) == ("past_due", "magpie_plus_monthly")
    (unheard_of,) = fold([said[1]]).subscriptions
    assert unheard_of.prices[0].lookup_key is None


def test_nothing_is_nothing() -> None:
    assert fold([]) == Account()


def test_the_subscription_that_was_heard_of_last_stands_last() -> None:
    said = [
        say(UPDATED, 1, subscription="sub_b"),
        say(UPDATED, 2, subscription="sub_a"),
        say(UPDATED, 3, subscription="sub_b"),
    ]
    assert list(statuses(fold(said))) == ["sub_a", "sub_b"]
    assert isinstance(fold(said).subscriptions[0], Subscription)
    assert fold(said).subscriptions[0].period_end == datetime.fromtimestamp(1797761999, UTC)
