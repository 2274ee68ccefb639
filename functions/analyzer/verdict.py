"""The decision: who is asked next, and how it ends when nobody gave a usable answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from shared.errors import MagpieError, RejectedError, TransientError

PATIENCE = 6
"""From this delivery on, a provider that is unavailable is passed over for the next. Before, the
queue's backoff gives it two minutes to come back: who is first in the list is there for a reason, and a
burst that is throttled should not end with the second choice for good."""


class ProviderError(MagpieError):
    """No provider can be asked as they are configured. Nothing is said about the item by it: the
    message stays, reaches the dead-letter queue, and the alarm calls somebody who can mend it."""


class End(Enum):
    """How asking one provider ended without an analysis."""

    UNAVAILABLE = auto()
    MISCONFIGURED = auto()
    REFUSED = auto()
    UNUSABLE = auto()


@dataclass(frozen=True)
class Attempt:
    """One provider that was asked: its name, how it ended, and why in words for the log."""

    provider: str
    end: End
    reason: str


def asks_next(end: End, delivery: int) -> bool:
    """Say whether the next provider is asked at once.

    Args:
        delivery: 1 for the first delivery of the message.
    """
    return end is not End.UNAVAILABLE or delivery >= PATIENCE


def conclusion(attempts: Sequence[Attempt]) -> MagpieError:
    """Return the error that says what happens to the message.

    Whoever was unavailable may still describe the picture, and whoever is misconfigured may once it is
    mended. Only when everybody was really asked and nobody gave an analysis is the item at its end.
    """
    said = "; ".join(f"{attempt.provider}: {attempt.reason}" for attempt in attempts)
    ends = {attempt.end for attempt in attempts}
    if End.UNAVAILABLE in ends:
        return TransientError(said)
    if End.MISCONFIGURED in ends or not ends:
        return ProviderError(said or "there is nobody to ask")
    if End.REFUSED in ends:
        return RejectedError("refused", "The model declined to describe this picture.")
    return RejectedError("no_valid_analysis", "No usable description of this picture could be made.")
