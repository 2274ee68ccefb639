"""Whom to ask next, and what becomes of the message: every way an answer can end."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from functions.analyzer import chain
from functions.analyzer.chain import MAX_TOKENS, Answer, Kept, Key
from functions.analyzer.providers import MisconfiguredError, Picture, ProviderName, UnavailableError
from functions.analyzer.reply import Outcome, Reply
from functions.analyzer.verdict import PATIENCE, ProviderError
from shared.errors import PublishError, RejectedError, TransientError
from shared.quotas import OverQuotaError
from tests.fakes import anthropic_server as shapes
from tests.fakes.anthropic_server import analysis

PICTURE = Picture(b"jpeg")


def reply(text: str | None = None, stop_reason: str = "end_turn") -> Reply:
    return Reply.parse(shapes.message(text, stop_reason=stop_reason).body)


GOOD = reply()
REFUSAL = reply("", "refusal")
CUT = reply('{"category": "Fo', "max_tokens")
PROSE = reply("It is a cup.")
DOWN = UnavailableError("529 overloaded_error")
OVER = OverQuotaError("anna", "model_usd", Decimal(2), Decimal(2), Decimal("0.01"))
NO_KEY = MisconfiguredError("401 authentication_error")


@dataclass
class Scripted:
    """A provider that answers what it was told to, in order."""

    name: ProviderName
    script: list[Reply | Exception]
    model: str = "m"
    costs: bool = True
    budgets: list[int] = field(default_factory=list)

    def describe(self, picture: Picture, max_tokens: int, seconds: float) -> Reply:
        self.budgets.append(max_tokens)
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


@dataclass
class InMemory:
    """Replies kept in a dict."""

    kept: dict[Key, Kept] = field(default_factory=dict)
    waits: int = 0
    left: int = 100
    reserved: set[UUID] = field(default_factory=set)
    while_waiting: Callable[[], None] | None = None

    def all(self) -> Mapping[Key, Kept]:
        return dict(self.kept)

    def reserve(self, key: Key, max_tokens: int) -> UUID:
        if not self.left:
            raise OVER
        self.left -= 1
        reservation = uuid4()
        self.reserved.add(reservation)
        return reservation

    def release(self, reservation: UUID) -> None:
        self.reserved.remove(reservation)

    def keep(self, key: Key, reply: Reply, reservation: UUID | None) -> None:
        assert key not in self.kept, "paid twice"
        if reservation is not None:
            self.reserved.remove(reservation)
        self.kept[key] = Kept(reply, None)

    def judged(self, key: Key, outcome: Outcome) -> None:
        self.kept[key] = Kept(self.kept[key].reply, outcome)

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.waits += 1
        if self.while_waiting:
            self.while_waiting()
        yield

    def outcomes(self) -> dict[Key, str | None]:
        return {key: kept.outcome for key, kept in self.kept.items()}


def describe(
    *providers: Scripted, replies: InMemory | None = None, delivery: int = 1, seconds: float = 180
) -> Answer:
    replies = InMemory() if replies is None else replies
    try:
        return chain.describe(providers, replies, lambda: PICTURE, delivery, lambda: seconds)
    finally:
        assert replies.reserved == set(), "what was set aside is free, however it ended"


def claude(*script: Reply | Exception) -> Scripted:
    return Scripted("anthropic", list(script))


def bedrock(*script: Reply | Exception) -> Scripted:
    return Scripted("bedrock", list(script))


def offline() -> Scripted:
    return Scripted("offline", [reply(json.dumps(analysis(category="Photograph")))], costs=False)


def test_the_first_usable_answer_is_taken() -> None:
    answer = describe(claude(GOOD), bedrock())
    assert (answer.provider, answer.model, answer.analysis.category) == ("anthropic", "m", "Food and drink")


def test_a_cut_answer_is_asked_for_again_with_twice_the_room() -> None:
    provider, replies = claude(CUT, GOOD), InMemory()
    describe(provider, replies=replies)
    assert provider.budgets == [MAX_TOKENS, 2 * MAX_TOKENS]
    assert replies.outcomes() == {("anthropic", "m", 1): "max_tokens", ("anthropic", "m", 2): "valid"}


def test_a_malformed_answer_is_asked_for_once_more() -> None:
    provider = claude(PROSE, GOOD)
    describe(provider)
    assert provider.budgets == [MAX_TOKENS, MAX_TOKENS]


@pytest.mark.parametrize("script", [(PROSE, PROSE), (CUT, CUT), (CUT, PROSE)])
def test_two_unusable_answers_are_enough(script: tuple[Reply, Reply]) -> None:
    with pytest.raises(RejectedError) as raised:
        describe(claude(*script))
    assert raised.value.code == "no_valid_analysis"


def test_after_two_unusable_answers_the_next_is_asked() -> None:
    assert describe(claude(PROSE, PROSE), bedrock(GOOD)).provider == "bedrock"


def test_a_refusal_is_final_and_is_not_argued_with() -> None:
    provider, replies = claude(REFUSAL), InMemory()
    with pytest.raises(RejectedError) as raised:
        describe(provider, replies=replies)
    assert raised.value.code == "refused"
    assert replies.outcomes() == {("anthropic", "m", 1): "refusal"}


def test_nobody_else_is_asked_because_of_money() -> None:
    provider = claude(GOOD)
    with pytest.raises(OverQuotaError):
        describe(provider, offline(), replies=InMemory(left=0))
    assert provider.budgets == []


def test_money_that_ends_between_two_tries_keeps_what_the_first_brought() -> None:
    provider, replies = claude(CUT, GOOD), InMemory(left=1)
    with pytest.raises(OverQuotaError):
        describe(provider, replies=replies)
    assert replies.outcomes() == {("anthropic", "m", 1): "max_tokens"}


def test_whoever_costs_nothing_needs_no_money() -> None:
    assert describe(offline(), replies=InMemory(left=0)).provider == "offline"


def test_what_nobody_foresaw_frees_the_money_too() -> None:
    with pytest.raises(ZeroDivisionError):
        describe(claude(ZeroDivisionError()))


def test_after_a_refusal_the_next_is_asked() -> None:
    assert describe(claude(REFUSAL), offline()).provider == "offline"


def test_who_is_unavailable_is_given_time_first() -> None:
    with pytest.raises(TransientError, match="529"):
        describe(claude(DOWN), bedrock(GOOD), delivery=PATIENCE - 1)


def test_who_keeps_failing_is_passed_over() -> None:
    assert describe(claude(DOWN), bedrock(GOOD), delivery=PATIENCE).provider == "bedrock"


def test_when_all_are_unavailable_the_message_comes_again() -> None:
    with pytest.raises(TransientError, match="anthropic: 529.*bedrock: 529"):
        describe(claude(DOWN), bedrock(DOWN), delivery=7)


def test_who_cannot_be_asked_is_passed_over_at_once() -> None:
    assert describe(claude(NO_KEY), bedrock(GOOD)).provider == "bedrock"


def test_a_missing_key_condemns_no_item() -> None:
    with pytest.raises(ProviderError, match="401"):
        describe(claude(NO_KEY))


def test_a_refusal_beside_a_missing_key_condemns_no_item() -> None:
    with pytest.raises(ProviderError):
        describe(claude(REFUSAL), bedrock(NO_KEY))


def test_a_refusal_beside_one_who_may_come_back_condemns_no_item() -> None:
    with pytest.raises(TransientError):
        describe(claude(REFUSAL), bedrock(DOWN), delivery=PATIENCE)


def test_a_missing_key_does_not_hide_behind_one_who_may_come_back() -> None:
    with pytest.raises(TransientError):
        describe(claude(NO_KEY), bedrock(DOWN), delivery=PATIENCE)


def test_a_provider_error_is_not_worth_another_try() -> None:
    assert not issubclass(ProviderError, TransientError)
    assert issubclass(PublishError, TransientError)


def test_a_stored_answer_is_not_paid_for_again() -> None:
    replies = InMemory()
    describe(claude(GOOD), replies=replies)
    assert describe(claude(), replies=replies).provider == "anthropic"
    assert replies.waits == 1  # the second found it without waiting for anybody


def test_an_answer_that_nobody_has_read_yet_is_read() -> None:
    replies = InMemory({("anthropic", "m", 1): Kept(GOOD, None)})
    assert describe(claude(), replies=replies).provider == "anthropic"
    assert replies.outcomes() == {("anthropic", "m", 1): "valid"}


def test_an_unread_answer_that_is_unusable_counts_as_a_try() -> None:
    replies = InMemory({("anthropic", "m", 1): Kept(CUT, None)})
    provider = claude(GOOD)
    describe(provider, replies=replies)
    assert provider.budgets == [2 * MAX_TOKENS]


def test_a_stored_answer_of_a_later_provider_is_used_before_anybody_is_asked() -> None:
    replies = InMemory({("bedrock", "m", 1): Kept(GOOD, Outcome.VALID)})
    assert describe(claude(), bedrock(), replies=replies, delivery=4).provider == "bedrock"


def test_stored_final_answers_are_not_asked_for_again() -> None:
    replies = InMemory(
        {
            ("anthropic", "m", 1): Kept(REFUSAL, Outcome.REFUSAL),
            ("bedrock", "m", 1): Kept(PROSE, Outcome.MALFORMED),
            ("bedrock", "m", 2): Kept(PROSE, Outcome.MALFORMED),
        }
    )
    with pytest.raises(RejectedError):
        describe(claude(), bedrock(), replies=replies)


def test_who_had_to_wait_uses_what_the_other_bought() -> None:
    replies = InMemory()
    replies.while_waiting = lambda: replies.keep(("anthropic", "m", 1), GOOD, None)
    assert describe(claude(), replies=replies).provider == "anthropic"


def test_nobody_waits_where_nothing_costs_money() -> None:
    replies = InMemory()
    describe(offline(), replies=replies)
    assert replies.waits == 0


def test_no_call_is_begun_that_could_not_end_in_time() -> None:
    provider = claude(GOOD)
    with pytest.raises(TransientError, match="too little time"):
        describe(provider, seconds=15)
    assert provider.budgets == []


def test_the_picture_is_fetched_only_when_somebody_must_look() -> None:
    def fetch() -> Picture:
        raise AssertionError("fetched")

    replies = InMemory({("anthropic", "m", 1): Kept(GOOD, Outcome.VALID)})
    assert chain.describe([claude()], replies, fetch, 1, lambda: 180).provider == "anthropic"
