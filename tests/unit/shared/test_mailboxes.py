"""Mailboxes by their keys: the same for every spelling, and of no use to find the address."""

import hashlib

import pytest

from shared.mailboxes import address_key

ADA = hashlib.sha256(b"ada@gmail.com").hexdigest()


@pytest.mark.parametrize(
    "spelling",
    [
        "ada@gmail.com",
        "ADA@Gmail.com",
        "a.d.a@googlemail.com",
        "ada+scans@gmail.com",
        "Ada Lovelace <ada@gmail.com>",
        '"Lovelace, Ada" <ada+x@gmail.com>',
        " ada@gmail.com ",
    ],
)
def test_all_spellings_of_a_mailbox_have_one_key(spelling: str) -> None:
    assert address_key(spelling) == ADA


@pytest.mark.parametrize("odd", ["", "nobody", "a@b@c", '"a b"@example.com', "\x00", "\ud800", "x" * 10_000])
def test_what_is_no_address_has_a_key_of_its_own(odd: str) -> None:
    assert len(address_key(odd)) == 64
    assert address_key(odd) == address_key(odd.upper().lower())
    assert address_key(odd) != ADA
