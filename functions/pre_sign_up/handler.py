"""Decide who may have an account: allowed domains, and one account for all spellings of an address.

Two people who confirm two spellings at the same moment both pass here, for nothing is written down yet;
`shared.profiles` tells them apart afterwards.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.pre_sign_up import admission
from shared import database, triggers
from shared.settings import Settings
from shared.triggers import RefusedError, Trigger

logger = Logger()

# Across all users, on purpose, and no more than yes or no: it asks whether anybody has this mailbox.
TAKEN = "SELECT EXISTS (SELECT 1 FROM user_profiles WHERE email_key = %(email_key)s) AS taken"


class Env(Settings):
    """What the template must give me."""

    allowed_email_domains: str = Field(alias="ALLOWED_EMAIL_DOMAINS")


def decide(trigger: Trigger) -> None:
    address = admission.check(
        trigger.source, trigger.email, trigger.verified, Env.load().allowed_email_domains
    )
    with database.transaction() as cursor:
        cursor.execute(triggers.PATIENCE, {"ms": str(triggers.STATEMENT_MS)})
        found = cursor.execute(TAKEN, {"email_key": address.key}).fetchone()
    if found is None or found["taken"]:
        raise RefusedError("There is an account with this e-mail address already")
    logger.info("sign-up admitted", source=trigger.source)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return triggers.respond(event, decide)
