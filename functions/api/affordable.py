"""Decide whether a request for what a model is paid for can be granted this month.

It is only the polite word: analyzer and embedder reserve money before every call, and nothing is bought over
a limit whatever is said here. Nobody here knows who describes pictures; but where money was spent this month
until nothing is left, somebody is paid, and asking would only make items wait.
"""

from decimal import Decimal

from shared import embeddings, quotas
from shared.quotas import DEPLOYMENT, OverQuotaError, Quota


def refuse_spent(user_id: str) -> None:
    """Refuse what has to be paid for, where the month's money is used up.

    Raises:
        OverQuotaError: the user's, or that of everybody together.
    """
    _refuse_spent(user_id, next(each for each in quotas.standing(user_id) if each.meter == "model_usd"))
    _refuse_spent(DEPLOYMENT, quotas.budget())


def refuse_spent_on_vectors(user_id: str) -> None:
    """Refuse vectors that have to be paid for, where the month's money is used up.

    Raises:
        OverQuotaError: as `refuse_spent`.
    """
    if embeddings.voyage_key() is not None:
        refuse_spent(user_id)


def _refuse_spent(owner: str, money: Quota) -> None:
    if money.limit is not None and money.used > 0 and money.used >= money.limit:
        raise OverQuotaError(owner, "model_usd", money.limit, money.used, Decimal(0))
