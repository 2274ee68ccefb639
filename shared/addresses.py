"""E-mail addresses: what all spellings of one mailbox have in common, and where it is.

Only for telling whether two addresses lead to the same person. Mail goes to the address as it was typed,
and nobody is identified by one: that is what `sub` is for.
"""

import re
import unicodedata
from dataclasses import dataclass

from shared.errors import MagpieError

MAX_LENGTH = 254
"""Characters; RFC 5321's limit of a path, less its angle brackets."""
GMAIL = {"gmail.com", "googlemail.com"}
"""One provider under two names, which ignores dots: https://support.google.com/mail/answer/7436150."""

_LOCAL = re.compile(r"[^\s\x00-\x1f\x7f\"(),:;<>@\[\\\]]+")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class AddressError(MagpieError):
    """What was given is no e-mail address that mail could be sent to."""


@dataclass(frozen=True)
class Address:
    """A mailbox.

    Attributes:
        key: the same for every spelling: `a.Da+shop@GoogleMail.com` is `ada@gmail.com`.
        domain: in lower case and ASCII, as it was given otherwise: `googlemail.com`.
    """

    key: str
    domain: str


def read(text: str) -> Address:
    """Return the mailbox that an address means.

    Compatibility forms of Unicode and upper case are folded, the domain is written in ASCII, and what comes
    after a plus is a note of the owner's own.

    Raises:
        AddressError: it is none.
    """
    folded = unicodedata.normalize("NFKC", text).strip().lower()
    if len(text) > MAX_LENGTH or len(folded) > MAX_LENGTH or folded.count("@") != 1:
        raise AddressError("an address has one @ and at most 254 characters")
    local, _, host = folded.partition("@")
    domain = _ascii(host.removesuffix("."))
    mailbox = local.partition("+")[0]
    if not _LOCAL.fullmatch(local) or not mailbox:
        raise AddressError("what stands before the @ is no name of a mailbox")
    if domain in GMAIL:
        mailbox = mailbox.replace(".", "")
        return Address(f"{_named(mailbox)}@gmail.com", domain)
    return Address(f"{_named(mailbox)}@{domain}", domain)


def _named(mailbox: str) -> str:
    if not mailbox:
        raise AddressError("what stands before the @ is no name of a mailbox")
    return mailbox


def _ascii(host: str) -> str:
    """Return a domain in ASCII, as the name system knows it.

    Python's codec knows IDNA 2003, which takes `straße.de` for `strasse.de`, two domains of two owners. So
    what does not come back as it went in is refused rather than taken for somebody else's.
    """
    domain = host
    if not host.isascii():
        try:
            domain = host.encode("idna").decode("ascii")
            came_back = domain.encode("ascii").decode("idna")
        except UnicodeError as error:
            raise AddressError("what stands after the @ is no domain") from error
        if came_back != host:
            raise AddressError("the domain can be read in two ways; write it in its ASCII form, xn--…")
    labels = domain.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError("what stands after the @ is no domain")
    return domain
