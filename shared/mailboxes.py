"""Mailboxes that are recognised without being known, and those that nothing is sent to.

An address is kept in one place only, with the account that it belongs to. All else about mail knows its
mailbox by a hash: enough to recognise it when it comes again, so that the list may outlive an account.
"""

import hashlib
import unicodedata
from datetime import datetime
from email.utils import parseaddr
from typing import TYPE_CHECKING, Literal

from shared import addresses

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.rows import DictRow

Reason = Literal["bounce", "complaint", "operator"]

_FIND = "SELECT 1 FROM suppressed_addresses WHERE address_key = %(address_key)s"

# Whichever of two events comes first, the same stands there in the end: what weighs most, and when it began.
_SUPPRESS = """
INSERT INTO suppressed_addresses AS known (address_key, reason, suppressed_at)
VALUES (%(address_key)s, %(reason)s, %(suppressed_at)s)
    ON CONFLICT (address_key) DO UPDATE
   SET reason = CASE WHEN 'complaint' IN (known.reason, excluded.reason) THEN 'complaint'
                     WHEN 'bounce' IN (known.reason, excluded.reason) THEN 'bounce'
                     ELSE 'operator' END,
       suppressed_at = least(known.suppressed_at, excluded.suppressed_at)
"""

_LIFT = "DELETE FROM suppressed_addresses WHERE address_key = %(address_key)s RETURNING address_key"


def address_key(address: str) -> str:
    """Return what is kept of an address: SHA-256, in hex, of its mailbox.

    All spellings of a mailbox have one key, `Ada <a.da+shop@googlemail.com>` the one of `ada@gmail.com`. What
    is no address that we would write to has a key too: others may have written to it.
    """
    bare = parseaddr(address)[1] or address
    try:
        mailbox = addresses.read(bare).key
    except addresses.AddressError:
        mailbox = unicodedata.normalize("NFKC", bare).strip().lower()
    return hashlib.sha256(mailbox.encode("utf-8", "replace")).hexdigest()


def is_suppressed(cursor: "Cursor[DictRow]", address: str) -> bool:
    """Say whether nothing is to be sent to an address. Everything that sends asks here first."""
    return cursor.execute(_FIND, {"address_key": address_key(address)}).fetchone() is not None


def suppress(cursor: "Cursor[DictRow]", key: str, reason: Reason, since: datetime) -> None:
    """Send nothing to a mailbox any more.

    Args:
        key: of the mailbox, by `address_key`.
    """
    cursor.execute(_SUPPRESS, {"address_key": key, "reason": reason, "suppressed_at": since})


def lift(cursor: "Cursor[DictRow]", key: str) -> bool:
    """Send to a mailbox again; returns whether it was on the list."""
    return cursor.execute(_LIFT, {"address_key": key}).fetchone() is not None
