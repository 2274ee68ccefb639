"""What every webhook does once a delivery is verified: keep it, pass it on, once.

A delivery is stored under the provider's own id before it is published, and marked when the bus took it.
Whoever dies in between has answered nothing, and the provider sends it again.
"""

from dataclasses import dataclass
from datetime import datetime

from shared import bus, database
from shared.events import WebhookReceived
from shared.outcomes import Provider

# Whose it is, nobody knows yet.
STORE_OF_ALL = """
INSERT INTO webhook_events (provider, event_id, event_type, subject, occurred_at, body)
VALUES (%(provider)s, %(event_id)s, %(event_type)s, %(subject)s, %(occurred_at)s, %(body)s)
    ON CONFLICT (provider, event_id) DO NOTHING
"""

PUBLISHED_OF_ALL = """
SELECT published_at IS NOT NULL AS published FROM webhook_events
 WHERE provider = %(provider)s AND event_id = %(event_id)s
"""

MARK_OF_ALL = """
UPDATE webhook_events SET published_at = coalesce(published_at, clock_timestamp())
 WHERE provider = %(provider)s AND event_id = %(event_id)s
"""


@dataclass(frozen=True)
class Delivery:
    """What a provider told us, verified.

    Attributes:
        event_id: the provider's, the same for every delivery of one event.
        subject: what it is about over there, '' where that does not matter.
        occurred_at: by the provider's clock.
        body: as it was signed; ASCII JSON or any text without NUL.
    """

    provider: Provider
    event_id: str
    event_type: str
    subject: str
    occurred_at: datetime
    body: str


def accept(delivery: Delivery, correlation_id: str) -> bool:
    """Store and publish a delivery; returns whether it is new. A duplicate changes nothing.

    Raises:
        PublishError: the bus did not take it. It is stored, and a further delivery publishes it.
        TransientError: the database gave up.
    """
    key = {"provider": delivery.provider, "event_id": delivery.event_id}
    with database.transaction() as cursor:
        cursor.execute(
            STORE_OF_ALL,
            {
                **key,
                "event_type": delivery.event_type,
                "subject": delivery.subject,
                "occurred_at": delivery.occurred_at,
                "body": delivery.body,
            },
        )
        row = cursor.execute(PUBLISHED_OF_ALL, key).fetchone()
    if row and row["published"]:
        return False
    event = WebhookReceived(
        provider=delivery.provider, event_id=delivery.event_id, event_type=delivery.event_type
    )
    bus.publish([event], correlation_id)
    with database.transaction() as cursor:
        cursor.execute(MARK_OF_ALL, key)
    return True
