"""Where a search goes on: behind the last hit of a page, with the scores as they were for the first one.

A score rests on how many of the user's items hold each word of the question. The cursor carries these
counts along, so that whatever is added or deleted meanwhile, the score of an item that stays as it is stays
too, and every such item is shown exactly once.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from functions.api import cursor
from functions.api.problems import Problem, unavailable
from functions.api.question import Question
from functions.api.terms import Spellings

_MEANT = r"~*\w+(\+\w+)*"
_WORD = rf"\w+={_MEANT}(,{_MEANT})*"
_SPELLINGS = re.compile(rf"{_WORD}(;{_WORD})*")


@dataclass(frozen=True)
class Place:
    """The last hit of a page.

    Attributes:
        model: whose vectors were compared; None where words alone decided.
        counts: how many documents there were, and how many held each word.
        score, closeness, created_at, item_id: what it is sorted by.
        spellings: what words were taken to be meant for; see `terms.read`.
    """

    model: str | None
    counts: tuple[int, ...]
    score: float
    closeness: float
    created_at: datetime
    item_id: UUID
    spellings: Spellings = field(default_factory=dict)

    def write(self, listing: Mapping[str, object]) -> str:
        """Return the cursor of this place in the hits of one question of one user."""
        return cursor.write(
            listing,
            self.model,
            ",".join(map(str, self.counts)),
            self.score.hex(),
            self.closeness.hex(),
            self.created_at,
            self.item_id,
            _written(self.spellings),
        )


def read(text: str, listing: Mapping[str, object]) -> Place:
    """Return the place that a client brought back.

    Raises:
        Problem: 400, we never gave it out, or for another question, other filters, another user.
    """

    def counts(value: Any) -> str:
        read = _counts(value)
        if any(not 0 <= n <= min(read[0], 2**53) for n in read):
            raise ValueError("not such counts")
        return str(value)

    def number(value: Any) -> str:
        if not math.isfinite(float.fromhex(value)):
            raise ValueError("not a number")
        return str(value)

    def spellings(value: Any) -> str:
        if _written(_spellings(value)) != value:
            raise ValueError("not such words")
        return str(value)

    readers = (cursor.perhaps(cursor.words), counts, number, number, cursor.moment, UUID, spellings)
    model, counted, score, closeness, created_at, item_id, spelt = cursor.read(text, listing, *readers)
    return Place(
        model=model,
        counts=_counts(counted),
        score=float.fromhex(score),
        closeness=float.fromhex(closeness),
        created_at=created_at,
        item_id=item_id,
        spellings=_spellings(spelt),
    )


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


def _written(spellings: Spellings) -> str:
    """Return spellings as text: `word=lexeme,~lexeme+lexeme;...`, with a ~ for each slip of the pen."""
    return ";".join(
        f"{word}={','.join('~' * slips + '+'.join(lexemes) for lexemes, slips in meant)}"
        for word, meant in spellings.items()
    )


def _spellings(text: str) -> Spellings:
    """Read what `_written` wrote.

    Raises:
        ValueError: there is something else in it than words.
    """
    if text and not _SPELLINGS.fullmatch(text):
        raise ValueError("not words")
    return {
        word: tuple((tuple(each.lstrip("~").split("+")), each.count("~")) for each in meant.split(","))
        for word, _, meant in (part.partition("=") for part in text.split(";") if part)
    }


def as_before(asked: Question, after: Place) -> Question:
    """Return a question as it was when the first page was found.

    Raises:
        Problem: 503, its meaning is not to be had now, and the scores of words alone are others; 400, its
            meaning is told by another model now, or its words are others.
    """
    if len(after.counts) != (len(asked.terms) + 1 if asked.terms else 0):
        raise Problem(
            HTTPStatus.BAD_REQUEST, "invalid-cursor", "Take `next_cursor` of the page before, unchanged."
        )
    if after.model is None:
        return replace(asked, vector=None, mode="text" if asked.mode == "hybrid" else asked.mode)
    if asked.vector is None:
        raise unavailable()
    if asked.model.name != after.model:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "invalid-cursor",
            "Vectors are made by another model now. Begin this search without a cursor.",
        )
    return asked
