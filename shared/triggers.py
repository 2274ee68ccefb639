"""How Cognito asks: a trigger's event, and what becomes of a refusal.

Cognito shows the message of whatever a trigger raises to the person who is signing up or in, after
"PreSignUp failed with error " and followed by a full stop. It waits five seconds for an answer, and asks
again, three times in all. https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html
"""

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import MagpieError

logger = Logger(child=True)

SORRY = "This does not work at the moment, please try again in a minute"
STATEMENT_MS = 2000
"""The longest that one statement of a trigger may take, so that its end is not decided by Cognito."""

PATIENCE = "SELECT set_config('statement_timeout', %(ms)s, true), set_config('lock_timeout', %(ms)s, true)"
"""First statement of a trigger's transaction, with `{"ms": str(STATEMENT_MS)}`."""


class RefusedError(MagpieError):
    """What was asked is not allowed.

    Args:
        sentence: why, in words for the person, without a full stop.
    """


class Caller(BaseModel):
    model_config = ConfigDict(frozen=True)

    client_id: str = Field(default="", alias="clientId")


class Request(BaseModel):
    model_config = ConfigDict(frozen=True)

    attributes: Mapping[str, str | None] = Field(default_factory=dict, alias="userAttributes")
    user_not_found: bool = Field(default=False, alias="userNotFound")


class Trigger(BaseModel):
    """One event of a trigger, as far as it is looked at.

    Attributes:
        source: what happened, as `PreSignUp_SignUp`.
    """

    model_config = ConfigDict(frozen=True)

    source: str = Field(alias="triggerSource")
    caller: Caller = Field(alias="callerContext")
    request: Request

    @property
    def user_id(self) -> str:
        """The user's `sub`, which is their id everywhere in Magpie.

        Raises:
            KeyError: nobody has one before they are made.
        """
        sub = self.request.attributes["sub"]
        if not sub:
            raise KeyError("sub")
        return sub

    @property
    def email(self) -> str | None:
        return self.request.attributes.get("email")

    @property
    def verified(self) -> bool:
        """Whether the address was proved to be the user's."""
        return str(self.request.attributes.get("email_verified")).lower() == "true"


def respond(event: dict[str, Any], decide: Callable[[Trigger], None]) -> dict[str, Any]:
    """Let a function decide, and return what Cognito wants to hear: the event, as it came.

    Raises:
        RefusedError: what was asked is not allowed, or could not be decided. Nothing of any other
            exception leaves the function: Cognito would show it to whoever asked.
    """
    try:
        decide(Trigger.model_validate(event))
    except RefusedError as error:
        logger.info("refused", source=event.get("triggerSource"), reason=str(error))
        raise
    except Exception:
        # The alarm listens for this message.
        logger.exception("trigger failed", source=event.get("triggerSource"))
        raise RefusedError(SORRY) from None
    return event
