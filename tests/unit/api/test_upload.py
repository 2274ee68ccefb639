"""Under which name a file is kept, and which type its form asks for."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.api.answers import attachment
from functions.api.problems import Problem
from functions.api.upload import (
    CONTENT_TYPES,
    MAX_NAME,
    NewItem,
    clean_filename,
    content_type,
    refuse_too_large,
)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("IMG_0001.JPG", "IMG_0001.JPG"),
        ("C:\\Users\\me\\Urlaub.heic", "Urlaub.heic"),
        ("/etc/passwd", "passwd"),
        ("folder/", "folder"),
        ("..", "untitled"),
        (".", "untitled"),
        ("///", "untitled"),
        (" \t\n", "untitled"),
        ("a\x00b\x1b[31m.png", "ab[31m.png"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("zero\u200bwidth\ufeff.jpg", "zerowidth.jpg"),
        ("line\u2028break.jpg", "line break.jpg"),
        ("cafe\u0301.jpg", "café.jpg"),
        ("👨\u200d👩\u200d👧.png", "👨\u200d👩\u200d👧.png"),
        ("夕日.webp", "夕日.webp"),
        (".hidden", ".hidden"),
        ("<script>alert(1)</script>.jpg", "script>.jpg"),
    ],
)
def test_a_name_is_kept_as_it_can_be_shown(given_name: str, kept: str) -> None:
    assert clean_filename(given_name) == kept


def test_a_long_name_keeps_its_suffix() -> None:
    kept = clean_filename("n" * 400 + ".jpeg")
    assert len(kept) == MAX_NAME
    assert kept.endswith("n.jpeg")


@settings(deadline=None)
@given(st.text(min_size=1, max_size=400))
def test_no_name_breaks_a_row_a_page_or_a_header(name: str) -> None:
    kept = clean_filename(NewItem(filename=name).filename)
    assert 1 <= len(kept) <= MAX_NAME
    assert "/" not in kept
    assert "\\" not in kept
    assert not {unicodedata.category(letter) for letter in kept} & {"Cc", "Cs", "Zl", "Zp"}
    assert kept.encode()
    header = attachment(kept)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('attachment; filename="')
    assert header.count('"') == 2


@pytest.mark.parametrize(
    ("filename", "declared", "asked_for"),
    [
        ("a.jpg", None, "image/jpeg"),
        ("a.JPEG", None, "image/jpeg"),
        ("a.png", "image/webp", "image/webp"),
        ("a.heic", None, "image/heic"),
        ("a.avif", None, "image/avif"),
        ("a.svg", None, "application/octet-stream"),
        ("a.html", None, "application/octet-stream"),
        ("nothing", None, "application/octet-stream"),
    ],
)
def test_the_form_asks_for_the_declared_or_the_likely_type(
    filename: str, declared: str | None, asked_for: str
) -> None:
    new = NewItem.model_validate({"filename": filename, "content_type": declared})
    assert content_type(new) == asked_for
    assert asked_for in CONTENT_TYPES


def test_only_a_size_that_is_said_and_too_large_is_refused() -> None:
    fits = [NewItem(filename="a"), NewItem(filename="a", size=10)]
    refuse_too_large(fits, ["body.items.0.", "body.items.1."], 10)
    with pytest.raises(Problem) as caught:
        refuse_too_large([*fits, NewItem(filename="a", size=11)], ["0.", "1.", "body.items.2."], 10)
    assert [error["field"] for error in caught.value.errors] == ["body.items.2.size"]
    assert caught.value.status == 413
