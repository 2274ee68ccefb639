"""Take what Stripe says: verify it, keep it, pass it on, and answer in a moment.

What it means is decided behind the bus, where a failure is ours to retry: Stripe's own retries are hours
apart.
"""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from functions.stripe_webhook import notice, secrets, signature
from shared import incoming, webhooks
from shared.incoming import Request
from shared.settings import Settings
from shared.webhooks import Delivery

logger = Logger()


class Env(Settings):
    """What the template must give."""

    stage: str = Field(alias="STAGE")
    secrets_parameter: str = Field(alias="STRIPE_WEBHOOK_SECRETS_PARAMETER")


def receive(request: Request) -> None:
    env = Env.load()
    active = secrets.read(env.secrets_parameter)
    said = incoming.text(request.body)
    signature.verify(said, request.headers.get("stripe-signature", ""), active, datetime.now(UTC))
    told = notice.read(incoming.parse(said))
    logger.append_keys(event_id=told.event_id, event_type=told.event_type)
    if env.stage == "prod" and not told.live:
        # Kept it would count: what somebody has is worked out from everything that is kept of them.
        logger.warning("test event in production ignored")
        return
    delivery = Delivery(
        provider="stripe",
        event_id=told.event_id,
        event_type=told.event_type,
        subject=told.subject,
        occurred_at=told.occurred_at,
        body=said,
    )
    new = webhooks.accept(delivery, request.request_id)
    logger.info("event accepted" if new else "event known already")


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return incoming.respond(event, "stripe", receive)
