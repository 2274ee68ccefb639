"""Write to people who asked for it: what a run came to, and that something does not fit any more."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, RootModel

from functions.mailer import occasion, record, sending, wording
from functions.mailer.sending import Mail, RefusedError
from shared.envelopes import Message, respond
from shared.events import QuotaReached, ScanComplete
from shared.settings import Settings

logger = Logger()


class Env(Settings):
    """What the template must give.

    Attributes:
        mail_from: empty where this deployment sends no mail.
        fallback: empty where there is no second region.
        page_url: of the page, without a slash at its end.
    """

    mail_from: str = Field(alias="MAIL_FROM")
    fallback: str = Field(alias="MAIL_FALLBACK_REGION")
    configuration_set: str = Field(alias="MAIL_CONFIGURATION_SET", min_length=1)
    page_url: str = Field(alias="PAGE_URL", min_length=1)
    region: str = Field(alias="AWS_REGION")

    @property
    def regions(self) -> list[str]:
        return [self.region] + ([self.fallback] if self.fallback not in ("", self.region) else [])


class Heard(RootModel[ScanComplete | QuotaReached]):
    """What is told of, as either event says it, or a direct payload."""


def process(message: Message[Heard]) -> Mapping[str, Any]:
    env, event = Env.load(), message.body.root
    if not env.mail_from:
        say_that_there_is_no_mail()
        return {"status": "ignored"}
    found = occasion.find(event, datetime.now(UTC))
    if found is None:
        return {"status": "ignored"}
    logger.append_keys(kind=found.kind, occasion=found.key)
    recipient = record.recipient(found)
    letter = wording.write(event, env.page_url) if recipient is not None else None
    if recipient is None or letter is None:
        logger.info("nobody to write to")
        return {"status": "ignored"}
    mail = Mail(
        sender=env.mail_from,
        recipient=recipient,
        subject=letter.subject,
        text=letter.text,
        html=letter.html,
        unsubscribe=wording.account(env.page_url),
        configuration_set=env.configuration_set,
        tags={"user_id": found.user_id, "kind": found.kind},
    )
    with record.held(found, recipient) as held:
        if held is None:
            logger.info("sent before, or to nobody any more")
            return {"status": "ignored"}
        return {"status": deliver(mail, held, env)}


def deliver(mail: Mail, held: record.Held, env: Env) -> str:
    """Send a mail that is nobody else's to send, and mark what became of it.

    Raises:
        TransientError: it could not be sent now.
    """
    if held.suppressed:
        held.mark("suppressed")
        logger.info("address is suppressed")
        return "suppressed"
    try:
        sent = sending.send(mail, env.regions)
    except RefusedError as error:
        held.mark("refused")
        # The alarm listens for this message.
        logger.error("mail refused", code=str(error))
        return "refused"
    held.mark("sent", sent.message_id, sent.region)
    logger.info("mail sent", message_id=sent.message_id, region=sent.region)
    return "sent"


@cache
def say_that_there_is_no_mail() -> None:
    """Once in a process: this is how most deployments are."""
    logger.info("this deployment sends no mail: the parameter MailFrom is empty")


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return respond(event, context, Heard, process)
