"""Where the words of a question stand in a hit."""

from hypothesis import given
from hypothesis import strategies as st

from functions.api.highlights import FRAGMENT_CHARACTERS, Fragment, beginnings, find, fragments


def marked(text: str, *lexemes: str) -> list[str]:
    return [text[start:end] for start, end in find(text, beginnings(lexemes))]


def pieces(text: str, *lexemes: str) -> list[Fragment]:
    return list(fragments("summary", text, find(text, beginnings(lexemes))))


def test_words_are_found_that_begin_like_a_lexeme() -> None:
    text = "The LIGHTHOUSES’ lamp: light-house_2 — a delight, Élan, elephants 42 a"
    assert marked(text, "lighthous") == ["LIGHTHOUSES", "light"]
    assert marked(text, "elan") == ["Élan"], "lexemes have no accents"
    assert marked(text, "42") == ["42"]
    assert marked(text, "a") == ["a", "a"]
    assert marked(text) == []
    assert marked("I fly, she flies: flying", "fli") == ["fly", "flies", "flying"]
    assert marked("dying, dice, died and dyed", "die") == ["dying", "died", "dyed"]
    assert marked("İstanbul cats", "cat") == ["cats"], "its first letter in lower case is two"


def test_of_a_short_text_all_is_shown() -> None:
    (piece,) = pieces("concatenate cats, cat's cat", "cat")
    assert (piece.field, piece.text) == ("summary", "concatenate cats, cat's cat")
    assert [(span.start, span.end) for span in piece.highlights] == [(12, 16), (18, 21), (24, 27)]
    assert pieces("dogs", "cat") == pieces("", "cat") == []


def test_of_a_long_text_the_pieces_around_the_words_are_shown() -> None:
    text = "word " * 100 + "cat " + "word " * 100 + "cat " + "word " * 100 + "cat"
    found = pieces(text, "cat")
    assert len(found) == 2
    for piece in found:
        assert len(piece.text) == FRAGMENT_CHARACTERS
        assert piece.text.startswith("word")
        assert [piece.text[span.start : span.end] for span in piece.highlights] == ["cat"]


@given(st.lists(st.sampled_from(["cat", "🙂", "dog-", "\n", "é", "cat" * 90, "x" * 150]), max_size=60))
def test_what_is_marked_is_always_the_word(parts: list[str]) -> None:
    text = " ".join(parts)
    found = pieces(text, "cat")
    assert bool(found) == ("cat" in text)
    for piece in found:
        assert len(piece.text) <= FRAGMENT_CHARACTERS
        assert piece.text in text
        assert piece.highlights
        for span in piece.highlights:
            shown = piece.text[span.start : span.end]
            assert shown == "cat" or ("cat" * 90).startswith(shown)
            assert len(shown) in (3, 270) or span.end == FRAGMENT_CHARACTERS, "only what is too long is cut"


def test_a_word_at_the_end_of_a_piece_belongs_to_the_next_one() -> None:
    text = "x" * 150 + " cat " + "y" * 133 + " cats " + "z" * 150
    found = pieces(text, "cat")
    assert [[piece.text[span.start : span.end] for span in piece.highlights] for piece in found] == [
        ["cat"],
        ["cats"],
    ]
