"""Which words of a hit the question asked for: where they stand, as numbers and never as markup."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from pydantic import Field

from functions.api import folding
from shared.models import Model

READ_CHARACTERS = 10_000
"""Of what was read in a picture. A photographed page has some 3,000."""
FRAGMENT_CHARACTERS = 200
"""Of a fragment; a field that is no longer is shown as a whole."""
FRAGMENTS = 2
"""Of one field."""
LEAD_CHARACTERS = 60
"""Before the first word that is marked."""

_WORD = re.compile(r"[^\W_]+")
_HEAD = 3
"""Letters of a word by which it is told whether it may come to a lexeme."""

Place = tuple[int, int]
"""Where a word begins in a text, and the place behind it."""


class Span(Model):
    """Characters of a text, counted in Unicode code points from 0; the end is the first one behind."""

    start: int
    end: int


class Fragment(Model):
    """A piece of a field that holds words of the question."""

    field: str = Field(description="headline, summary, filename, category, tags or text, which is read in it")
    text: str
    highlights: list[Span]


def beginnings(lexemes: Iterable[str]) -> set[str]:
    """Return how words begin that may come to one of the lexemes, in lower case.

    A word and its stem begin alike, but for y and i, as in fly and flies, and three words like dying.
    """
    heads = {lexeme[:_HEAD] for lexeme in lexemes}
    heads |= {f"{head[0]}yi" for head in heads & {"die", "lie", "tie"}}
    return {
        "".join(letters)
        for head in heads
        for letters in product(*("iy" if letter in "iy" else letter for letter in head))
    }


def find(text: str, heads: Iterable[str]) -> list[Place]:
    """Return where words stand that begin in one of some ways, in their order."""
    lower = "".join(map(folding.letter, text))
    found = set()
    for head in heads:
        place = lower.find(head)
        while place >= 0:
            word = _WORD.match(text, place)
            if word and not (place and _WORD.match(text, place - 1)):
                found.add(word.span())
            place = lower.find(head, place + 1)
    return sorted(found)


def fragments(field: str, text: str, words: Sequence[Place]) -> Iterator[Fragment]:
    """Yield the pieces of a field around the words that stand at some places, in their order."""
    for start, end, inside in _cut(text, words):
        spans = [Span(start=first, end=last) for first, last in inside]
        yield Fragment(field=field, text=text[start:end], highlights=spans)


def _cut(text: str, words: Sequence[Place]) -> Iterator[tuple[int, int, list[Place]]]:
    """Yield the pieces of a text that show marked words: start, end, and the words within."""
    waiting = list(words)
    latest = max(0, len(text) - FRAGMENT_CHARACTERS)
    end = 0
    for _ in range(FRAGMENTS):
        if not waiting:
            return
        first = waiting[0][0]
        start = _at_a_space(text, max(end, min(first - LEAD_CHARACTERS, latest)), first)
        end = min(len(text), start + FRAGMENT_CHARACTERS)
        # A word that would be cut is the next piece's; but for the first one, if it is that long.
        end = next((a for a, b in waiting[1:] if a < end < b), end)
        inside = [(a - start, min(b, end) - start) for a, b in waiting if a < end]
        waiting = [(a, b) for a, b in waiting if a >= end]
        yield start, end, inside


def _at_a_space(text: str, start: int, first: int) -> int:
    """Return the beginning of the next word, if it is near and not behind the first one that is marked."""
    space = text.find(" ", start, min(start + LEAD_CHARACTERS // 2, first)) if start else -1
    return space + 1 if space >= 0 else start
