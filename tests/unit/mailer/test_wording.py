"""What a mail says, and that no name in it can do more than be read."""

from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest

from functions.mailer import wording
from functions.mailer.wording import Letter
from shared.events import QuotaReached
from tests.unit.mailer.test_occasion import reached, run

PAGE = "https://magpie.example.com"
ROW: dict[str, Any] = {
    "name": "What failed",
    "started_at": datetime(2026, 11, 20, 3, 0, tzinfo=UTC),
    "finished_at": datetime(2026, 11, 20, 3, 41, 7, tzinfo=UTC),
    "error_message": None,
    "reason": "",
}


def of_run(row: dict[str, Any] | None = None, **changed: Any) -> Letter:
    return wording._letter("scan_complete", wording._run(run(**changed), ROW | (row or {})), PAGE)


def of_quota(**changed: Any) -> Letter:
    letter = wording.write(reached(**changed), PAGE)
    assert letter is not None
    return letter


class Page(HTMLParser):
    """What a mail program makes of HTML: its elements, where its links lead, and what can be read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize(
    ("changed", "subject"),
    [
        ({"done": 1}, "Your scan “What failed” is done: 1 picture"),
        (
            {"done": 1189, "rejected": 10, "failed": 2},
            "Your scan “What failed” is done: 1,189 pictures, 12 not",
        ),
        ({"done": 0, "findings": 4}, "Your scan “What failed” is done: 4 findings"),
        ({"status": "timed_out"}, "Your scan “What failed” took too long and was stopped"),
        ({"status": "failed"}, "Your scan “What failed” did not come to its end"),
    ],
)
def test_the_subject_says_how_it_went(changed: dict[str, Any], subject: str) -> None:
    assert of_run(**changed).subject == subject


@pytest.mark.parametrize(
    ("kind", "called"),
    [("reprocess", "Your reprocessing"), ("scan", "Your scan"), ("console", "Your run"), ("new", "Your run")],
)
def test_a_run_without_a_scan_is_called_by_what_it_is(kind: str, called: str) -> None:
    assert of_run({"name": None}, kind=kind).subject == f"{called} is done: 3 pictures"


def test_text_and_html_say_the_same() -> None:
    letter = of_run(planned=1204, done=1189, ignored=3, rejected=10, failed=2, cost_usd=1.842317)
    page = Page(letter.html)
    for said in ("1,204", "1,189", "Nothing to do", "$1.84", "41 min 7 s", "magpie runs show 0b8f6c9e"):
        assert said in letter.text
        assert said in page.text
    assert page.links == [f"{PAGE}/#/?status=failed", f"{PAGE}/#/account"]
    for address in page.links:
        assert address in letter.text


def test_an_end_that_was_none_says_why() -> None:
    why = "Too many of its items failed."
    letter = of_run({"error_message": why, "reason": "after the outage"}, status="failed")
    for text in (letter.text, Page(letter.html).text):
        assert why in text
        assert "Begun because: after the outage" in text


@pytest.mark.parametrize(
    ("meter", "changed", "sentence"),
    [
        (
            "items",
            {"limit": 2000, "used": 2000},
            "You have 2,000 of 2,000 items, and one more does not fit. "
            "Delete some, or move to a larger plan.",
        ),
        (
            "storage_bytes",
            {"limit": 5e9, "used": 4_999_400_000},
            "You have 5.0 GB of 5.0 GB of storage, and what you sent last does not fit. "
            "Delete some items, or move to a larger plan.",
        ),
        (
            "model_usd",
            {"limit": 2, "used": 1.996, "period": "2026-11"},
            "Of $2.00 for asking models this month, $2.00 are used. "
            "It begins anew on 1 December 2026; until then a larger plan helps.",
        ),
        (
            "deployment",
            {"limit": 100, "used": 100, "period": "2025-12"},
            "The budget that everybody here shares for asking models is used up. "
            "It begins anew on 1 January 2026; nothing of yours is lost.",
        ),
    ],
)
def test_a_quota_says_what_how_much_and_when_it_is_better(
    meter: Any, changed: dict[str, Any], sentence: str
) -> None:
    resets = datetime(2026, 12, 1, tzinfo=UTC) if "period" in changed else None
    letter = of_quota(meter=meter, resets_at=resets, **changed)
    assert sentence in letter.text
    assert sentence in Page(letter.html).text
    assert letter.subject == wording.NO_ROOM[meter]
    assert ("goes on by itself then" in letter.text) == (resets is not None)


def test_every_meter_has_a_subject() -> None:
    meters = QuotaReached.model_json_schema()["properties"]["meter"]["enum"]
    assert set(wording.NO_ROOM) == set(meters)


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><a href="https://evil.example">x</a>',
    "x\r\nBcc: victim@example.com\r\n\r\nbody",
    "x\nSubject: another",
    "x\x00y\x1b[31m\x07",
    "{{ 7 * 7 }}{% for x in y %}",
    "a\u2028b\u2029c\x85d",
    "\u202egnp.exe\u200b\ufeff",
    "=?utf-8?q?=0d=0aBcc:_victim@example.com?=",
    "ö" * 5000,
    "&lt;b&gt;",
    " ",
    "\ud800 half",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_is_words_and_nothing_else(name: str) -> None:
    letter = of_run({"name": name, "reason": name, "error_message": name}, status="failed")
    plain = Page(of_run({"reason": "x", "error_message": "x"}, status="failed").html)
    page = Page(letter.html)
    without = {"p"}  # a reason that nothing is left of has no paragraph
    assert [e for e in page.elements if e not in without] == [e for e in plain.elements if e not in without]
    assert page.links == plain.links
    assert len(letter.subject) < 120
    assert letter.subject.isprintable(), "one line, and no control characters"
    assert len(letter.text.splitlines()) <= 25
    assert "49" not in letter.subject
    mail = EmailMessage()
    mail["Subject"] = letter.subject  # raises where it could become a second header
    assert mail.keys() == ["Subject"]
    for text in (letter.subject, letter.text, letter.html):
        text.encode()


def test_a_mail_loads_nothing_from_anywhere() -> None:
    for letter in (of_run(), of_quota()):
        page = Page(letter.html)
        assert not {"img", "script", "link", "iframe", "form", "object", "svg"} & set(page.elements)
        assert "url(" not in letter.html
        assert "@import" not in letter.html
        assert len(letter.html.encode()) < 100_000, "Gmail cuts off what is longer than 102 kB"
