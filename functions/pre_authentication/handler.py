"""Decide whether somebody who signs in, or whose sign-in is renewed, may go on.

Cognito asks before it looks at the password, and again whenever it makes tokens, renewals included: so a
suspended user is out when their access token ends, within the hour.

When the database is away, a sign-in is refused: nobody could do anything with it, and a suspended user
must not slip in. A renewal is let through: refusing it would sign everybody out for good because of
a minute's outage, and gains nothing, since the API needs the same database.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.pre_authentication import attempts
from shared import database, erasures, profiles, triggers
from shared.erasures import AccountDeletedError
from shared.errors import TransientError
from shared.triggers import RefusedError, Trigger

logger = Logger()

TOKENS = "TokenGeneration_"

# Said to anybody who knows the address, before the password is looked at: so nothing about why.
SUSPENDED = "This account is suspended, please ask whoever runs this service"
ERASED = "This account was deleted, with everything in it"


def decide(trigger: Trigger) -> None:
    if trigger.request.user_not_found:
        return  # Cognito refuses the password of nobody in the same words as a wrong one
    renewal = trigger.source.startswith(TOKENS)
    try:
        admit(trigger, attempted=not renewal)
    except TransientError as error:
        if not renewal:
            raise
        logger.error("trigger failed", source=trigger.source, reason=str(error))


def admit(trigger: Trigger, *, attempted: bool) -> None:
    """Refuse whoever is suspended or erased; make the profile of somebody whom an administrator made.

    Args:
        attempted: whether this is an attempt to sign in, which is written down.

    Raises:
        RefusedError: they may not go on.
        TransientError: the database cannot be asked.
    """
    user_id = trigger.user_id
    with database.transaction() as cursor:
        cursor.execute(triggers.PATIENCE, {"ms": str(triggers.STATEMENT_MS)})
        try:
            erasures.refuse_erased(cursor, user_id)
        except AccountDeletedError as error:
            # Not written down: nothing is, of somebody who wanted everything erased.
            raise RefusedError(ERASED) from error
        profile = profiles.ensure(cursor, user_id, _address(trigger))
        outcome: attempts.Outcome = "suspended" if profile.status == "suspended" else "allowed"
        if attempted:
            attempts.record(cursor, user_id, outcome, trigger.caller.client_id)
    if outcome == "suspended":
        raise RefusedError(SUSPENDED)
    logger.info("sign-in admitted", user_id=user_id, source=trigger.source)


def _address(trigger: Trigger) -> str | None:
    """Return the address, unless it is one that somebody has only claimed to be theirs."""
    claimed = "email_verified" in trigger.request.attributes and not trigger.verified
    return None if claimed else trigger.email


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return triggers.respond(event, decide)
