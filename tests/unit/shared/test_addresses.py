"""What spellings of one mailbox have in common, and what is no mailbox."""

import pytest

from shared import addresses
from shared.addresses import AddressError


@pytest.mark.parametrize(
    "spelling",
    [
        "ada.lovelace@gmail.com",
        "Ada.Lovelace@GMAIL.com",
        "adalovelace+shop@gmail.com",
        "a.d.a.l.o.v.e.l.a.c.e@googlemail.com",
        "  adalovelace@gmail.com ",
        "ＡＤＡlovelace@gmail.com",
        "adalovelace＠gmail.com",
        "adalovelace@gmail.com.",
        "ada.lovelace++@gmail.com",
        "..adalovelace..@gmail.com",
    ],
)
def test_all_spellings_of_a_mailbox_have_one_key(spelling: str) -> None:
    assert addresses.read(spelling).key == "adalovelace@gmail.com"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada.l@example.com", "adal@example.com"),  # dots mean something elsewhere
        ("ada@example.com", "ada@example.org"),
        ("ada@mail.example.com", "ada@example.com"),
        ("аda@example.com", "ada@example.com"),  # noqa: RUF001 - the first begins in Cyrillic
        ("ada@strasse.de", "ada@xn--strae-oqa.de"),
    ],
)
def test_different_mailboxes_have_different_keys(one: str, other: str) -> None:
    assert addresses.read(one).key != addresses.read(other).key


def test_a_domain_is_written_in_ascii() -> None:
    assert addresses.read("ada@BÜCHER.example").domain == "xn--bcher-kva.example"
    assert addresses.read("ada@bücher.example").key == addresses.read("ada@xn--bcher-kva.example").key
    assert addresses.read("ada@googlemail.com").domain == "googlemail.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@@example.com",
        "ada@example@example.com",
        "ada@example",
        "ada@.com",
        "ada@example..com",
        "ada@-example.com",
        "ada@exa mple.com",
        "a da@example.com",
        "ada\x00@example.com",
        "ada\n@example.com",
        "ada@exam\x00ple.com",
        '"a@b"@example.com',
        "ada@[127.0.0.1]",
        "ada@example.com, eve@example.com",
        "<ada@example.com>",
        "+tag@example.com",
        "...@gmail.com",
        "ada@straße.de",
        "ada@xn--\ud800.de",
        "ada@" + "a" * 64 + ".com",
        "a" * 250 + "@example.com",
        "ada@" + "ﷺ" * 200 + ".com",
    ],
)
def test_what_is_no_usable_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        addresses.read(text)
