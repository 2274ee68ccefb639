"""The offline vectors: what comes near what, and how far apart strangers are."""

import hashlib
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import embeddings, hashed_words
from tests.unit.embedder.descriptions import DESCRIPTIONS, QUESTIONS, STRANGERS

ROOT = Path(__file__).resolve().parents[3]


def similarity(one: str, other: str) -> float:
    first, second = hashed_words.embed(one), hashed_words.embed(other)
    assert first is not None
    assert second is not None
    return sum(a * b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sunsets", "sunset"),
        ("Cats", "cat"),
        ("running", "runs"),
        ("stopped", "stopping"),
        ("colour", "color"),
        ("centre", "center"),
        ("café", "CAFE"),
        ("ﬁsh", "fish"),
        ("pictures of a dog", "the dog"),
    ],
)
def test_forms_of_one_word_are_the_same(one: str, other: str) -> None:
    assert similarity(one, other) > 0.99


@pytest.mark.parametrize(("one", "other"), [("photography", "photographer"), ("mountain", "mountainous")])
def test_words_that_share_letters_come_near(one: str, other: str) -> None:
    assert 0.12 < similarity(one, other) < 0.9


def test_a_question_finds_what_belongs_to_it_and_nothing_else() -> None:
    threshold = embeddings.OFFLINE.minimum_similarity
    strangers = 0
    for question, wanted in QUESTIONS:
        near = [similarity(question, text) for text in DESCRIPTIONS]
        assert max(range(len(near)), key=near.__getitem__) in wanted, question
        assert all(near[place] >= threshold for place in wanted), question
        strangers += sum(value >= threshold for place, value in enumerate(near) if place not in wanted)
    # Of 1,200 pairs some share a word ("red" trees, a "red" car): near, but never nearest.
    assert strangers <= 0.02 * len(QUESTIONS) * len(DESCRIPTIONS)


def test_a_word_that_no_description_holds_finds_nothing() -> None:
    threshold = embeddings.OFFLINE.minimum_similarity
    pairs = [
        similarity(word, text)
        for word in STRANGERS
        for text in DESCRIPTIONS
        if word[:5] not in text.casefold()
    ]
    assert len(pairs) > 3_000
    assert sum(value >= threshold for value in pairs) <= len(pairs) / 2_000


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_gives_a_vector_of_length_one_or_none(text: str) -> None:
    vector = hashed_words.embed(text)
    if vector is None:
        return
    assert len(vector) == hashed_words.DIMENSIONS
    assert math.isclose(math.fsum(value * value for value in vector), 1.0, rel_tol=1e-9)
    assert embeddings.halfvec(vector)


@pytest.mark.parametrize("text", ["", "   ", "!!!", "…—?", "👍🎉", "\x00", "_"])
def test_a_text_without_words_has_no_vector(text: str) -> None:
    assert hashed_words.embed(text) is None


@pytest.mark.parametrize("text", ["the", "show me all photos", "夕日", "закат", "غروب", "2024", "x"])
def test_whatever_has_a_letter_or_a_digit_has_a_vector(text: str) -> None:
    assert hashed_words.embed(text) is not None


def test_hostile_lengths_are_bounded() -> None:
    started = time.perf_counter()
    assert hashed_words.embed("A" * 5_000_000) is not None
    assert hashed_words.embed(" ".join(str(number) for number in range(100_000))) is not None
    assert time.perf_counter() - started < 5


def test_another_process_makes_the_same_vector() -> None:
    text = "A golden retriever in the snow"
    code = f"from shared import hashed_words; print(repr(hashed_words.embed({text!r})))"
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, check=True
    )
    assert other.stdout.decode().strip() == repr(hashed_words.embed(text))


def test_vectors_stay_what_they_were_under_this_name() -> None:
    """A change here means that stored vectors are of another kind: give the model a new name."""
    vector = hashed_words.embed("Golden sunset over the sea")
    assert vector is not None
    assert embeddings.OFFLINE.name == "hashed-words-1"
    digest = hashlib.sha256(embeddings.halfvec(vector).encode()).hexdigest()
    assert digest == "f65cc87d29a68409c38cabc15ef555b5b9fc61fda75e68852fb441395fbbd0be"
