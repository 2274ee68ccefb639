"""Whether Stripe signed a body, and when. https://docs.stripe.com/webhooks#verify-manually

The SDK compares, in constant time. It takes times of the future and any writing of them, so the time is ours
to check: within five minutes of our clock, both ways.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.incoming import RefusedError

if TYPE_CHECKING:
    from stripe import WebhookSignature

TOLERANCE = timedelta(seconds=300)
"""Between Stripe's clock and ours. It signs anew at each try, so that none is late."""
MAX_HEADER = 2048
"""Characters. Two secrets make two signatures of 64."""

_HEADER = re.compile(r"[\x21-\x7e]+")
_SECONDS = re.compile(r"[0-9]{1,10}")


def verify(body: str, header: str, secrets: Sequence[str], now: datetime) -> None:
    """Refuse a body that none of the secrets has signed, or not now.

    Every secret is tried, whether or not an earlier one fits: how long it takes tells nobody which fitted.

    Args:
        header: `Stripe-Signature`; empty where there was none.

    Raises:
        RefusedError: it is not from Stripe, or not of this time.
    """
    signed_at = _signed_at(header)
    # A tenth of a second of a processor in a cold start, which garbage need not cost.
    from stripe import WebhookSignature

    fitting = [_fits(WebhookSignature, body, header, secret) for secret in secrets]
    if not any(fitting):
        raise RefusedError("not signed by them")
    if abs(now - signed_at) > TOLERANCE:
        raise RefusedError("not of this time")


def _fits(scheme: "type[WebhookSignature]", body: str, header: str, secret: str) -> bool:
    from stripe import SignatureVerificationError

    try:
        # Its exception holds the header and the body, so it goes no further.
        return bool(scheme.verify_header(body, header, secret, tolerance=None))
    except SignatureVerificationError:
        return False


def _signed_at(header: str) -> datetime:
    """Return the one time in a header: of several, nobody could tell which was signed."""
    if len(header) > MAX_HEADER or not _HEADER.fullmatch(header):
        raise RefusedError("not signed by them")
    times = [part.removeprefix("t=") for part in header.split(",") if part.startswith("t=")]
    if len(times) != 1 or not _SECONDS.fullmatch(times[0]):
        raise RefusedError("not signed by them")
    return datetime.fromtimestamp(int(times[0]), UTC)
