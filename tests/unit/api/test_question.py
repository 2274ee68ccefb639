"""The words of a question that say what is looked for."""

import pytest

from functions.api.question import content_words


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("sunset", "sunset"),
        ("Show me photos of cats!", "cats"),
        ("Where did I park the red car?", "park red car"),
        ("photos", "photos"),
        ("the", "the"),
        ("Café & Crème", "Café Crème"),
        ("hubble_deep-field.jpg", "hubble deep field jpg"),
        ("夕日", "夕日"),
        ("!!!", ""),
        ("", ""),
    ],
)
def test_what_every_question_holds_is_left_out_unless_it_is_all(asked: str, words: str) -> None:
    assert " ".join(content_words(asked)) == words
