"""Deliveries as Stripe makes them: a recorded body, its signature by the real SDK, the gateway's envelope."""

import base64
import json
import time
from pathlib import Path
from typing import Any

from stripe import WebhookSignature

ROOT = Path(__file__).resolve().parents[2]
BODIES = ROOT / "docs" / "examples" / "stripe"
SECRET = "whsec_local0123456789abcdef0123456789abcdef"


def body(kind: str = "customer.subscription.created", **changed: Any) -> str:
    """A recorded event as the text that is signed; `changed` are fields of the event."""
    recorded: dict[str, Any] = json.loads((BODIES / f"{kind}.json").read_text())
    return json.dumps(recorded | changed, indent=2)


def header(signed: str, secret: str = SECRET, at: float | None = None) -> str:
    """`Stripe-Signature` of a body."""
    return WebhookSignature.generate_signature_header(signed, secret, int(time.time() if at is None else at))


def event(
    sent: str | bytes, signature: str | None, *, encoded: bool = False, **headers: str
) -> dict[str, Any]:
    """A delivery, as the gateway hands it on.

    Args:
        encoded: whether the gateway took it for no text.
    """
    text = sent.decode() if isinstance(sent, bytes) and not encoded else sent
    if encoded:
        text = base64.b64encode(sent if isinstance(sent, bytes) else sent.encode()).decode()
    sample: dict[str, Any] = json.loads(
        (ROOT / "events" / "samples" / "stripe_webhook" / "delivery.json").read_text()
    )
    told = sample["headers"] | headers
    told.pop("stripe-signature")
    if signature is not None:
        told["stripe-signature"] = signature
    return {**sample, "headers": told, "body": text, "isBase64Encoded": encoded}
