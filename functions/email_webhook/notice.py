"""What a notification says it is about, for a list of what came. What it means is for others to read."""

from dataclasses import dataclass
from typing import Any

from shared import incoming
from shared.incoming import RefusedError
from shared.text import clean

OTHER = "other"
"""Of what is no event of SES: it says in a sentence, once, that a topic was connected."""
MAX_WORD = 64
MAX_MAIL = 255


@dataclass(frozen=True)
class Notice:
    """An event of SES, in short.

    Attributes:
        mail: the id that SES gave the mail, '' where there is none.
    """

    event_type: str
    mail: str


def read(said: str) -> Notice:
    """Return what a notification is about. Whatever is signed is taken: it may be a kind that is new."""
    try:
        document = incoming.parse(said)
    except RefusedError:
        return Notice(OTHER, "")
    # Identities speak the older form.
    event_type = document.get("eventType") or document.get("notificationType")
    mail = document.get("mail")
    return Notice(
        _word(event_type, MAX_WORD) or OTHER,
        _word(mail.get("messageId") if isinstance(mail, dict) else None, MAX_MAIL),
    )


def _word(value: Any, most: int) -> str:
    return clean(value)[:most] if isinstance(value, str) else ""
