"""Take what Amazon SNS says about mail: verify it, keep it, pass it on, and answer in a moment.

A signature of SNS proves that a message comes from AWS, where anybody may have a topic. So it has to be of
one of ours before anything else is asked.
"""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.email_webhook import certificate, message, notice, signature, subscription
from functions.email_webhook.message import Message
from shared import incoming, webhooks
from shared.incoming import RefusedError, Request
from shared.settings import Settings
from shared.webhooks import Delivery

logger = Logger()

MAX_BODY_BYTES = 2 * incoming.MAX_BODY_BYTES
"""SNS takes 256 KB of a message, and every quote in it comes with a backslash."""


class Env(Settings):
    """What the template must give."""

    topics: str = Field(alias="MAIL_TOPICS", min_length=1)
    url_suffix: str = Field(alias="URL_SUFFIX", min_length=1)

    def region(self, topic: str) -> str:
        """Return the region of a topic.

        Raises:
            RefusedError: it is none of ours.
        """
        if topic not in [ours.strip() for ours in self.topics.split(",")] or topic.count(":") != 5:
            raise RefusedError("not for us")
        return topic.split(":")[3]


def receive(request: Request) -> None:
    env, now = Env.load(), datetime.now(UTC)
    said = message.read(incoming.parse(incoming.text(request.body)))
    # What costs nothing comes first: nobody else's message has us fetch a certificate.
    region = env.region(said.topic)
    message.check_time(said, now)
    path = certificate.path(said.certificate_url, region, env.url_suffix)
    signature.verify(said, certificate.key(region, path, now))
    logger.append_keys(message_id=said.message_id, topic=said.topic)
    match said.kind:
        case "SubscriptionConfirmation":
            subscription.confirm(said.topic, region, said.fields["Token"])
            logger.info("subscription confirmed")
        case "UnsubscribeConfirmation":
            # Whoever ended it had a right to. The metric filter listens for this message.
            logger.warning("subscription ended")
        case "Notification":
            accept(said, request.request_id)


def accept(said: Message, correlation_id: str) -> None:
    told = notice.read(said.fields["Message"])
    delivery = Delivery(
        provider="sns",
        event_id=said.message_id,
        event_type=told.event_type,
        subject=told.mail,
        occurred_at=said.sent_at,
        body=said.kept(),
    )
    new = webhooks.accept(delivery, correlation_id)
    logger.info("event accepted" if new else "event known already", event_type=told.event_type)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return incoming.respond(event, "sns", receive, MAX_BODY_BYTES)
