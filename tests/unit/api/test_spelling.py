"""What a word may have been meant for, of the words that there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.api.spelling import Meant, distance, meant_for


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [
        ("lighthouse", "lighthouse", 0),
        ("lihgthouse", "lighthouse", 1),
        ("lighthose", "lighthouse", 1),
        ("lighthousee", "lighthouse", 1),
        ("lightnouse", "lighthouse", 1),
        ("lightouze", "lighthouse", 2),
        ("foto", "photo", 0),
        ("lamp", "boat", None),
        ("", "abc", None),
        ("", "ab", 2),
    ],
)
def test_slips_of_the_pen_are_counted(one: str, other: str, slips: int | None) -> None:
    assert distance(one, other, 2) == slips
    assert distance(other, one, 2) == slips


letters = st.text("abcd", max_size=7)


@given(letters, letters)
def test_the_distance_is_that_of_the_textbook(one: str, other: str) -> None:
    table = [[i + j if i * j == 0 else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            least = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (one[i - 1] != other[j - 1]),
            )
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                least = min(least, table[i - 2][j - 2] + 1)
            table[i][j] = least
    expected = table[-1][-1]
    for most in (1, 2, 3):
        assert distance(one, other, most) == (expected if expected <= most else None)


def test_a_word_was_meant_for_the_nearest_ones() -> None:
    known = {"lighthouse": "lighthous", "lighthouses": "lighthous", "lightning": "lightn", "house": "hous"}
    assert meant_for("lighthuose", known) == [Meant(("lighthous",), 1)]
    assert meant_for("lightnin", known) == [Meant(("lightn",))], "it was not ended"
    assert meant_for("xylophone", known) == []
    assert meant_for("tighthouse", known) == [], "nobody slips on the first letter"
    assert meant_for("boat", {"boar": "boar", "bolt": "bolt", "coat": "coat"}) == [
        Meant(("boar",), 1),
        Meant(("bolt",), 1),
    ]
    assert meant_for("boatmen", {"bontman": "bontman"}) == [], "two slips, and only seven letters"


def test_two_words_written_as_one_are_taken_apart() -> None:
    known = {"golden": "golden", "hour": "hour", "hours": "hour", "gold": "gold"}
    assert meant_for("goldenhour", known) == [Meant(("golden", "hour"))]
    assert meant_for("hourgolden", known) == [Meant(("hour", "golden"))]
