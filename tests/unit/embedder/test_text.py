"""Which text of an analysis becomes the vector."""

from typing import Any

import pytest

from functions.embedder.text import MAX_CHARACTERS, MAX_READ_CHARACTERS, embedded_text, source_hash


def analysis(**changed: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "category": "landscape",
        "subcategories": ["sunset", "sea"],
        "headline": "Golden sunset over the sea",
        "summary": "The sun sets\nbehind gentle waves.",
        "media_metadata": {
            "original_poster": "someone",
            "tagged_accounts": ["@friend"],
            "location_tags": ["Lisbon"],
            "audio_source": None,
            "hashtags": ["#holiday"],
        },
        "image_details": {
            "extracted_text": ["BEACH BAR"],
            "objects": ["sun", "waves"],
            "themes": ["evening"],
            "emotions": ["calm"],
            "vibes": ["warm"],
            "likely_source": "phone camera",
            "key_interest": "the light",
            "visual_hierarchy": ["sun", "horizon"],
        },
    }
    return whole | changed


def test_what_says_most_of_a_picture_comes_first() -> None:
    assert embedded_text(analysis()) == (
        "Golden sunset over the sea\n"
        "landscape, sunset, sea\n"
        "The sun sets behind gentle waves.\n"
        "sun, waves\n"
        "evening\n"
        "calm, warm\n"
        "the light\n"
        "Lisbon, #holiday\n"
        "BEACH BAR"
    )


def test_what_a_person_said_stands_in_the_place_of_what_the_model_said() -> None:
    none: dict[str, Any] = dict.fromkeys(("category", "headline", "summary", "tags"))
    assert embedded_text(analysis(), none) == embedded_text(analysis(), {}) == embedded_text(analysis())
    corrected = embedded_text(analysis(), none | {"headline": "A cat", "tags": ["pets", "home"]})
    assert corrected.startswith("A cat\nlandscape, pets, home\nThe sun sets")
    assert embedded_text(analysis(), none | {"tags": []}).splitlines()[1] == "landscape"
    assert embedded_text({}, {"category": "pet", "summary": "It sleeps."}) == "pet\nIt sleeps."


def test_a_photographed_page_does_not_drown_what_the_picture_is() -> None:
    page = analysis(image_details={"extracted_text": ["word " * 50_000]})
    text = embedded_text(page)
    assert text.startswith("Golden sunset over the sea\nlandscape")
    assert len(text.splitlines()[-1]) <= MAX_READ_CHARACTERS


def test_the_text_is_bounded() -> None:
    assert len(embedded_text(analysis(summary="long " * 100_000))) <= MAX_CHARACTERS


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"headline": None, "category": 7, "subcategories": "one", "media_metadata": [], "image_details": "x"},
        {"image_details": {"objects": [None, {"a": 1}, ["deep"], 3.5]}},
        {"headline": "   ", "category": "\n"},
    ],
)
def test_an_analysis_of_another_shape_gives_what_there_is(broken: dict[str, Any]) -> None:
    assert embedded_text(broken) in ("", "one")


def test_nothing_that_postgresql_refuses_gets_through() -> None:
    text = embedded_text(analysis(headline="a\x00b", summary="\ud800 lone"))
    assert "\x00" not in text
    assert text.encode()


def test_the_same_text_has_the_same_hash_and_another_another() -> None:
    assert source_hash("a") == source_hash("a") != source_hash("b")
    assert len(source_hash("")) == 64
