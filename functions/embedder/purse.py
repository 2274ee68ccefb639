"""Set aside what a call may cost at the most, each user's own share of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from aws_lambda_powertools import Logger

from functions.embedder import voyage
from shared import embeddings, quotas
from shared.embeddings import VOYAGE
from shared.erasures import AccountDeletedError
from shared.quotas import DEPLOYMENT, OverQuotaError

logger = Logger(child=True)

LASTS = timedelta(seconds=90)
"""A reservation whose holder vanished expires after so long: a little over the function's time-out."""


@dataclass(frozen=True)
class Reserved:
    """What is set aside for one call.

    Attributes:
        held: reservations, by user.
        refused: why some users have none: their texts are not sent.
    """

    held: dict[str, UUID] = field(default_factory=dict)
    refused: dict[str, OverQuotaError | AccountDeletedError] = field(default_factory=dict)


def reserve(texts: Sequence[str], owners: Sequence[str]) -> Reserved:
    """Set aside what each owner's texts may cost, in one order for everybody.

    Raises:
        TransientError: the database gave up. Nothing is set aside.
    """
    shares: dict[str, Decimal] = {}
    for text, owner in zip(texts, owners, strict=True):
        shares[owner] = shares.get(owner, Decimal(0)) + embeddings.most_usd(VOYAGE, text)
    found = Reserved()
    with released_on_error(found.held):
        for owner in sorted(shares):
            try:
                found.held[owner] = quotas.reserve_money(owner, "embedder", shares[owner], LASTS)
            except (OverQuotaError, AccountDeletedError) as error:
                found.refused[owner] = error
    over = [error for error in found.refused.values() if isinstance(error, OverQuotaError)]
    if over:
        logger.warning(
            "over quota", users=len(over), deployment=any(error.owner == DEPLOYMENT for error in over)
        )
    return found


@contextmanager
def released_on_error(held: Mapping[str, UUID]) -> Iterator[None]:
    """Give back what is set aside when the call never happened."""
    try:
        yield
    except voyage.UnusableError:
        raise  # it was paid for: whoever charges it gives it back
    except Exception:
        for owner, reservation in held.items():
            quotas.release(owner, reservation)
        raise
