"""Asking one provider after the other, without ever paying twice for the same answer."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from aws_lambda_powertools import Logger

from functions.analyzer.analysis import Analysis
from functions.analyzer.providers import (
    DeclinedError,
    MisconfiguredError,
    Picture,
    Provider,
    UnavailableError,
)
from functions.analyzer.reply import Outcome, Reply, judge
from functions.analyzer.verdict import Attempt, End, asks_next, conclusion
from shared.errors import TransientError

logger = Logger(child=True)

TRIES = 2
"""Replies bought from one provider before it counts as unable."""
MAX_TOKENS = 8192
"""For the first reply; twice as many after one that was cut off. A rich analysis takes about 1,500."""
CALL_SECONDS = 120.0
"""The most that one reply is waited for."""
LEAST_SECONDS = 10.0
"""With less time left no call is begun: it would be paid for and thrown away."""
CLOSING_SECONDS = 10.0
"""Kept back to store what came."""


@dataclass(frozen=True)
class Answer:
    """An analysis, and who gave it."""

    analysis: Analysis
    provider: str
    model: str


@dataclass(frozen=True)
class Kept:
    """A reply that was stored, and what it was found to be; None when nobody has read it yet."""

    reply: Reply
    outcome: Outcome | None


Key = tuple[str, str, int]
"""Provider, model, try."""


class Replies(Protocol):
    """The stored replies about one picture's content, for one question."""

    def all(self) -> Mapping[Key, Kept]: ...

    def reserve(self, key: Key, max_tokens: int) -> UUID:
        """Set aside what a call may cost at the most; raises OverQuotaError where it does not fit."""

    def release(self, reservation: UUID) -> None:
        """Give back what was set aside for a call that never happened."""

    def keep(self, key: Key, reply: Reply, reservation: UUID | None) -> None:
        """Store a reply and what it cost, for good, before anybody reads it; what was set aside is free."""

    def judged(self, key: Key, outcome: Outcome) -> None: ...

    def alone(self) -> AbstractContextManager[None]:
        """Hold the right to ask: whoever else would ask the same waits, and then finds the reply."""


def describe(
    providers: Sequence[Provider],
    replies: Replies,
    picture: Callable[[], Picture],
    delivery: int,
    seconds_left: Callable[[], float],
) -> Answer:
    """Return the first usable analysis.

    Args:
        picture: fetches the picture; called only when somebody must look at it.
        delivery: 1 for the first delivery of the message.
        seconds_left: until the function is ended.

    Raises:
        TransientError: somebody who may yet answer was unavailable, or the time is short.
        ProviderError: who was not really asked is misconfigured.
        RejectedError: everybody answered, and nobody usably.
        OverQuotaError: a call may cost more than there is left. Nobody else is asked for that.
    """
    if answer := _remembered(providers, replies):
        return answer
    with replies.alone() if any(provider.costs for provider in providers) else nullcontext():
        # What was waited for may just have been answered.
        if answer := _remembered(providers, replies):
            return answer
        attempts: list[Attempt] = []
        for provider in providers:
            outcome = _ask(provider, replies, picture, seconds_left)
            if isinstance(outcome, Answer):
                return outcome
            logger.warning(
                "provider gave no analysis",
                provider=provider.name,
                model=provider.model,
                end=outcome.end.name.lower(),
                reason=outcome.reason,
            )
            attempts.append(outcome)
            if not asks_next(outcome.end, delivery):
                break
        raise conclusion(attempts)


def _remembered(providers: Sequence[Provider], replies: Replies) -> Answer | None:
    """Return what is already paid for, from whichever provider.

    A reply that nobody has read is one that a crash left between storing and reading.
    """
    kept = replies.all()
    for provider in providers:
        for number in range(1, TRIES + 1):
            key = (provider.name, provider.model, number)
            found = kept.get(key)
            if found is None or found.outcome not in (None, Outcome.VALID):
                continue
            outcome, analysis = judge(found.reply)
            if found.outcome is None:
                replies.judged(key, outcome)
            if analysis is not None:
                logger.info("stored reply used", provider=provider.name, model=provider.model)
                return Answer(analysis, provider.name, provider.model)
    return None


def _ask(
    provider: Provider,
    replies: Replies,
    picture: Callable[[], Picture],
    seconds_left: Callable[[], float],
) -> Answer | Attempt:
    kept = replies.all()
    max_tokens = MAX_TOKENS
    outcome: Outcome | None = None
    for number in range(1, TRIES + 1):
        key = (provider.name, provider.model, number)
        found = kept.get(key)
        if found is not None:
            outcome = found.outcome
        else:
            seconds = seconds_left() - CLOSING_SECONDS
            if provider.costs and seconds < LEAST_SECONDS:
                raise TransientError("too little time is left for another call")
            try:
                reply, reservation = _call(provider, key, replies, picture(), max_tokens, seconds)
            except UnavailableError as error:
                return Attempt(provider.name, End.UNAVAILABLE, str(error))
            except DeclinedError as error:
                return Attempt(provider.name, End.REFUSED, str(error))
            except MisconfiguredError as error:
                return Attempt(provider.name, End.MISCONFIGURED, str(error))
            replies.keep(key, reply, reservation)
            outcome, analysis = judge(reply)
            replies.judged(key, outcome)
            if analysis is not None:
                return Answer(analysis, provider.name, provider.model)
        if outcome is Outcome.REFUSAL:
            return Attempt(provider.name, End.REFUSED, "refused")
        if outcome is Outcome.MAX_TOKENS:
            max_tokens = 2 * MAX_TOKENS
    return Attempt(provider.name, End.UNUSABLE, str(outcome))


def _call(
    provider: Provider, key: Key, replies: Replies, picture: Picture, max_tokens: int, seconds: float
) -> tuple[Reply, UUID | None]:
    """Ask once, with the money for it set aside where it costs any."""
    reservation = replies.reserve(key, max_tokens) if provider.costs else None
    try:
        return provider.describe(picture, max_tokens, min(seconds, CALL_SECONDS)), reservation
    except Exception:
        if reservation is not None:
            replies.release(reservation)
        raise
