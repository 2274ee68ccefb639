"""What SES says became of a mail: the two forms that it tells it in, made one.

Event publishing, by EventBridge or by SNS, has `eventType`; the notifications of an identity have
`notificationType`, no tags, and are otherwise the same. No address is kept of either, nor any sentence of
other people's mail servers, which quote it.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from shared.mailboxes import Reason, address_key
from shared.text import clean

HEARD = {
    "Bounce": "bounce",
    "Complaint": "complaint",
    "Delivery": "delivery",
    "DeliveryDelay": "deliveryDelay",
    "Reject": "reject",
    "Rendering Failure": "failure",
}
"""Events that are kept → the field that tells more. Nobody is watched opening a mail or following links."""
TOLD = {
    "Bounce": ("bounceType", "bounceSubType"),
    "Complaint": ("complaintFeedbackType", "complaintSubType"),
    "Delivery": ("processingTimeMillis",),
    "DeliveryDelay": ("delayType",),
    "Reject": ("reason",),
    "Rendering Failure": ("templateName",),
}
"""What is kept of an event, beside `TOLD_OF_AN_ADDRESS`: words of SES's own and codes of SMTP."""
TOLD_OF_AN_ADDRESS = ("action", "status")
RECIPIENTS = ("bouncedRecipients", "complainedRecipients", "delayedRecipients", "recipients")
MAX_DETAIL = 100
MAX_ADDRESSES = 50
"""Of one mail: a quota of SES."""


def _is_dict(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


Loose = Annotated[dict[str, Any], BeforeValidator(_is_dict)]
"""What may be missing or be of another kind, of which nothing is told then."""


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("there is no such time in UTC") from error


class Mail(BaseModel):
    """The mail that an event is about."""

    message_id: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")] = Field(alias="messageId")
    timestamp: Annotated[AwareDatetime, AfterValidator(_utc)]
    destination: list[str] = []
    tags: Loose = {}


class SesEvent(BaseModel):
    """An event of SES, in either form."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    event_type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(alias="eventType")
    mail: Mail

    @property
    def more(self) -> Mapping[str, Any]:
        """What only an event of this type says."""
        found = (self.model_extra or {}).get(HEARD.get(self.event_type, ""))
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Feedback:
    """What became of a mail.

    Attributes:
        event_id: the same, whichever way it was told.
        details: by address, as `mailboxes.address_key` knows it.
        suppress: why nothing more is to be sent to these addresses, None where there is no reason.
        tagged: whose mail it was, as the mail says itself.
    """

    event_id: str
    message_id: str
    event_type: str
    occurred_at: datetime
    suppress: Reason | None
    tagged: str | None
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read(event: SesEvent) -> Feedback | None:
    """Return what an event says became of a mail, None where it is of a type that is not kept."""
    if event.event_type not in HEARD:
        return None
    occurred_at = _time(event.more.get("timestamp")) or event.mail.timestamp
    # A bounce and a complaint have an id. Of the others there is one of a type at a time.
    own = event.more.get("feedbackId")
    one = clean(own)[:255] if isinstance(own, str) and own else occurred_at.isoformat()
    told = _told(event.more, TOLD[event.event_type])
    return Feedback(
        event_id=f"{event.mail.message_id}/{event.event_type}/{one}",
        message_id=event.mail.message_id,
        event_type=event.event_type,
        occurred_at=occurred_at,
        suppress=_suppresses(event),
        tagged=_tag(event.mail.tags.get("user_id")),
        details={address_key(address): {**told, **own} for address, own in _addresses(event)},
    )


def _suppresses(event: SesEvent) -> Reason | None:
    """Say whether an event means that an address is not to be written to again.

    A full mailbox, a server that is away, and what SES cannot tell (`Undetermined`) may be gone tomorrow. A
    mail that SES did not send because of its own list (`OnAccountSuppressionList`) bounced before.
    """
    if event.event_type == "Bounce" and event.more.get("bounceType") == "Permanent":
        return "bounce"
    # "Not spam" is what somebody says who took a mail out of the spam folder again.
    if event.event_type == "Complaint" and event.more.get("complaintFeedbackType") != "not-spam":
        return "complaint"
    return None


def _addresses(event: SesEvent) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the addresses that an event is about, and what it says of each alone."""
    lists = (event.more[name] for name in RECIPIENTS if isinstance(event.more.get(name), list))
    found: Sequence[Any] = next(lists, event.mail.destination)
    for recipient in found[:MAX_ADDRESSES]:
        if isinstance(recipient, str):
            yield recipient, {}
        elif isinstance(recipient, dict) and isinstance(recipient.get("emailAddress"), str):
            yield recipient["emailAddress"], _told(recipient, TOLD_OF_AN_ADDRESS)


def _told(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return some of what was said, as far as it is words or whole numbers."""
    told: dict[str, Any] = {}
    for name in names:
        value = said.get(name)
        if isinstance(value, str):
            told[name] = clean(value)[:MAX_DETAIL]
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            told[name] = value
    return told


def _tag(values: Any) -> str | None:
    """Return the one value of a tag. SES lists them: a mail can have a name twice."""
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str):
        return clean(values[0])[:128]
    return None


def _time(written: Any) -> datetime | None:
    if not isinstance(written, str):
        return None
    try:
        read = datetime.fromisoformat(written)
        return _utc(read) if read.tzinfo else None
    except ValueError:
        return None
