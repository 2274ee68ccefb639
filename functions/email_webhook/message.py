"""What Amazon SNS posts, as far as it is signed; nothing else of a message is believed, or kept.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from shared.incoming import RefusedError

Kind = Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]

_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED: dict[Kind, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""By type, the fields that are signed, in the order of signing. Only a subject may be missing."""
VERSION = "2"
"""SHA-256. Version 1 signs with SHA-1, and a topic speaks it unless it is told otherwise."""

EARLIER = timedelta(minutes=65)
"""SNS tries for an hour at the most, and a message keeps its time: what is ours comes no later than this.
https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html"""
LATER = timedelta(minutes=5)
"""That Amazon's clock may be ahead of ours."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")


@dataclass(frozen=True)
class Message:
    """A message that says it is from SNS.

    Attributes:
        fields: those that are signed.
        certificate_url: where it says that the key is which signed it.
    """

    kind: Kind
    fields: Mapping[str, str]
    sent_at: datetime
    certificate_url: str
    signature: bytes

    @property
    def message_id(self) -> str:
        """The same however often it is delivered."""
        return self.fields["MessageId"]

    @property
    def topic(self) -> str:
        return self.fields["TopicArn"]

    def signed(self) -> bytes:
        """Return the bytes that were signed: each name and its value, a line each."""
        names = [name for name in SIGNED[self.kind] if name in self.fields]
        return "".join(f"{name}\n{self.fields[name]}\n" for name in names).encode()

    def kept(self) -> str:
        """Return what was signed as JSON; what was not, as the link that ends the subscription, is gone."""
        return json.dumps(dict(self.fields))


def read(document: Mapping[str, Any]) -> Message:
    """Return the message in a document, not verified yet.

    Raises:
        RefusedError: it is none, or it is not signed in the way that we ask for.
    """
    kind = document.get("Type")
    if not isinstance(kind, str) or kind not in SIGNED:
        raise RefusedError("not readable")
    names = [name for name in SIGNED[kind] if name != "Subject" or document.get(name) is not None]
    fields = {name: _text(document, name) for name in names}
    if not _ID.fullmatch(fields["MessageId"]):
        raise RefusedError("not readable")
    if document.get("SignatureVersion") != VERSION:
        raise RefusedError("not signed by them")
    try:
        signature = base64.b64decode(_text(document, "Signature"), validate=True)
    except ValueError as error:
        raise RefusedError("not signed by them") from error
    return Message(
        kind=kind,
        fields=fields,
        sent_at=_time(fields["Timestamp"]),
        certificate_url=_text(document, "SigningCertURL"),
        signature=signature,
    )


def check_time(message: Message, now: datetime) -> None:
    """Refuse what was signed too long ago, or is of the future.

    Raises:
        RefusedError: it is not of this time.
    """
    if not now - EARLIER <= message.sent_at <= now + LATER:
        raise RefusedError("not of this time")


def _text(document: Mapping[str, Any], name: str) -> str:
    """Return a field that has to be there. Halves of characters have no bytes that could be signed."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError("not readable")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("not readable") from error
    return value


def _time(written: str) -> datetime:
    if not _TIME.fullmatch(written):
        raise RefusedError("not readable")
    try:
        return datetime.fromisoformat(written.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError as error:
        raise RefusedError("not readable") from error
