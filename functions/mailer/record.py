"""The rows of mails: one for each occasion, whatever becomes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from functions.mailer.occasion import Occasion
from shared import addresses, database, erasures, mailboxes

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

WISH = """
SELECT email, (notifications ->> %(kind)s)::boolean IS TRUE AS wanted
  FROM user_profiles
 WHERE user_id = %(user_id)s AND status = 'active'
"""

CLAIM = """
INSERT INTO mails (user_id, mail_id, kind, occasion)
VALUES (%(user_id)s, %(mail_id)s, %(kind)s, %(occasion)s)
    ON CONFLICT (user_id, kind, occasion) DO NOTHING
"""

# Until the transaction ends, nobody else sends this mail, and nobody erases its owner's rows.
HOLD = """
SELECT status FROM mails
 WHERE user_id = %(user_id)s AND kind = %(kind)s AND occasion = %(occasion)s AND status = 'sending'
   AND NOT EXISTS (SELECT FROM erasures WHERE erasures.user_id = %(user_id)s)
   FOR UPDATE
"""

MARK = """
UPDATE mails
   SET status = %(status)s, message_id = %(message_id)s, region = %(region)s,
       sent_at = CASE WHEN %(status)s = 'sent' THEN clock_timestamp() END
 WHERE user_id = %(user_id)s AND kind = %(kind)s AND occasion = %(occasion)s
"""

Outcome = Literal["sent", "suppressed", "refused"]


@dataclass
class Held:
    """A mail that is nobody else's to send.

    Attributes:
        suppressed: whether its address is one that nothing is sent to.
    """

    suppressed: bool
    _cursor: "Cursor[DictRow]"
    _names: dict[str, str]

    def mark(self, status: Outcome, message_id: str | None = None, region: str | None = None) -> None:
        """Say what became of it: it is not looked at again."""
        values = {"status": status, "message_id": message_id, "region": region}
        self._cursor.execute(MARK, {**self._names, **values})


def recipient(occasion: Occasion) -> str | None:
    """Return the address that a mail goes to.

    Returns:
        None where nothing is to be sent: the user did not ask for it, is suspended, or has no address that
        mail can be sent to.

    Raises:
        TransientError: the database gave up.
    """
    wish = database.fetch_one(WISH, {"user_id": occasion.user_id, "kind": occasion.kind})
    return _deliverable(wish["email"]) if wish and wish["wanted"] and wish["email"] else None


@contextmanager
def held(occasion: Occasion, address: str) -> Iterator[Held | None]:
    """Make the row of a mail, or find it, and hold it while the mail is sent.

    What the block raises leaves the row as it was, and a further delivery sends the mail. None where it has
    been sent, or is not to be sent any more.

    Raises:
        TransientError: somebody else has been sending it for too long, or the database gave up.
    """
    names = _names(occasion)
    with database.transaction() as cursor:
        if not erasures.is_erased(cursor, occasion.user_id):
            cursor.execute(CLAIM, {**names, "mail_id": uuid4()})
    with database.transaction() as cursor:
        if cursor.execute(HOLD, names).fetchone() is None:
            yield None
        else:
            yield Held(mailboxes.is_suppressed(cursor, address), cursor, names)


def _names(occasion: Occasion) -> dict[str, str]:
    return {"user_id": occasion.user_id, "kind": occasion.kind, "occasion": occasion.key}


def _deliverable(email: str) -> str | None:
    """Return one address, as SES takes it: the domain in ASCII, and nothing that reads as a second one."""
    try:
        found = addresses.read(email)
    except addresses.AddressError:
        return None
    mailbox = email.strip().rpartition("@")[0]
    return f"{mailbox}@{found.domain}" if mailbox else None
