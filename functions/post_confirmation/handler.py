"""Make the profile of somebody who has just confirmed their address.

Nobody is refused here, not even when the database is away: for Cognito the person is confirmed already, and
confirming again is an error. The first sign-in makes a profile that is missing.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from shared import database, erasures, profiles, triggers
from shared.erasures import AccountDeletedError
from shared.triggers import RefusedError, Trigger

logger = Logger()

SIGNED_UP = "PostConfirmation_ConfirmSignUp"
"""Not `PostConfirmation_ConfirmForgotPassword`: a new password makes nobody new."""


def make_profile(trigger: Trigger) -> None:
    if trigger.source != SIGNED_UP:
        return
    user_id = trigger.user_id
    with database.transaction() as cursor:
        cursor.execute(triggers.PATIENCE, {"ms": str(triggers.STATEMENT_MS)})
        try:
            erasures.refuse_erased(cursor, user_id)
        except AccountDeletedError:
            logger.info("no profile for an erased user", user_id=user_id)
            return
        profile = profiles.ensure(cursor, user_id, trigger.email)
    logger.info("profile made", user_id=user_id, status=profile.status, tier=profile.subscription_tier)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    try:
        return triggers.respond(event, make_profile)
    except RefusedError:
        return event
