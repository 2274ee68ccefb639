"""What a search answers with: the shape of a hit, and how it is made of a row."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from functions.api import answers, highlights, scoring, terms
from functions.api.answers import Status, WallClock
from functions.api.filters import Kind
from functions.api.highlights import Fragment
from functions.api.question import Mode, Question
from functions.api.terms import Term
from shared.embeddings import VectorModel
from shared.models import Model

Row = Mapping[str, Any]

FIELDS = {
    "A": "headline or category",
    "B": "name or tags",
    "C": "summary or details",
    "D": "text in the picture",
}
"""Where a word stands, by its weight in the document."""


class FoundWord(Model):
    """A word of the question that the item holds.

    `share` of the question: the rarer the word, the greater. `worth` in this item, from 0 to 1: by where and
    how often it stands there, the length of the item's text, and how near `found_as` is to what was asked.
    """

    words: list[str] = Field(description="as they were asked")
    lexeme: str = Field(description="as full text knows them")
    found_as: list[str] = Field(
        description="lexemes of the item that say it: its own, another spelling, another word for the same"
    )
    fields: list[str] = Field(description="where it stands, the best first")
    share: float
    worth: float


class Explanation(Model):
    """How a score came about.

    `text_score` is the sum of share * worth of the words found; `vector_score` how far `similarity` is from
    `minimum_similarity`, which strangers have, to 1. Positions count all hits of all pages, from 1.
    """

    found: list[FoundWord]
    missing: list[str] = Field(description="words of the question that the item does not hold")
    text_position: int | None
    vector_position: int | None
    model: str | None
    minimum_similarity: float | None
    calculation: str = Field(description="of the score, from both halves, in numbers rounded to be read")


class Hit(Model):
    """A picture that a search found.

    `score`, from 0 to 1, puts hits in order and is what `min_score` cuts off. It is made of `text_score`, the
    share of the question that the item's text holds, and `vector_score`, how near they are in meaning: each
    null where that was not asked for, or there is no vector. `similarity` is the cosine of the vectors. Words
    of the question count in other forms and spellings too, and as other words for the same, for less.
    """

    item_id: UUID
    filename: str
    kind: Kind
    status: Status
    created_at: datetime
    captured_at: WallClock | None
    duplicate_of: UUID | None
    category: str | None
    headline: str | None
    summary: str | None
    thumbnail_url: str | None
    score: float
    text_score: float | None
    vector_score: float | None
    similarity: float | None
    highlights: list[Fragment]
    explanation: Explanation | None = None


class Found(Model):
    """The answer to a search; `mode` is `text` where meaning could not be searched for."""

    query: str
    mode: Mode
    hits: list[Hit]
    next_cursor: str | None = Field(description="for the next page; null on the last one")
    notes: list[str]


class Similar(Model):
    """The items that are nearest to one in meaning, the nearest first."""

    item_id: UUID
    hits: list[Hit]
    notes: list[str]


def shown(
    user_id: str, rows: Sequence[Row], asked: Question, media_bucket: str, *, explain: bool = False
) -> list[Hit]:
    """Return a search's rows as they are answered.

    Raises:
        TransientError: the database does not tell which words are to be marked.
    """
    heads = highlights.beginnings(lexeme for term in asked.terms for lexeme in term.lexemes)
    texts = [_texts(row) if row["text_score"] else {} for row in rows]
    places = [{name: highlights.find(text, heads) for name, text in fields.items()} for fields in texts]
    words = terms.same_words(
        {
            fields[name][start:end]
            for fields, found in zip(texts, places, strict=True)
            for name, spans in found.items()
            for start, end in spans
        },
        asked.terms,
    )
    return [
        _hit(user_id, row, asked, media_bucket, list(_marked(fields, found, words)), explain)
        for row, fields, found in zip(rows, texts, places, strict=True)
    ]


def _marked(
    fields: Mapping[str, str], places: Mapping[str, Sequence[highlights.Place]], words: Collection[str]
) -> Iterator[Fragment]:
    for name, text in fields.items():
        if inside := [(start, end) for start, end in places[name] if text[start:end] in words]:
            yield from highlights.fragments(name, text, inside)


def _texts(row: Row) -> dict[str, str]:
    """Return what is marked of a row, by the names that fields have in an answer."""
    texts = {name: row[name] for name in ("headline", "summary", "filename", "category", "tags")}
    return {name: text for name, text in (texts | {"text": row["read_text"]}).items() if text}


def _hit(
    user_id: str, row: Row, asked: Question, media_bucket: str, marked: list[Fragment], explain: bool
) -> Hit:
    similarity = row.get("similarity")
    url = answers.thumbnail_url(user_id, row["item_id"], media_bucket) if row["thumbnail_width"] else None
    told = {name: row[name] for name in Hit.model_fields if name in row} | {
        "thumbnail_url": url,
        "text_score": (row["text_score"] or 0.0) if asked.terms else None,
        "vector_score": None if similarity is None else nearness(similarity, asked.model),
        "similarity": similarity,
        "highlights": marked,
    }
    return Hit(**told, explanation=explanation(row, asked, told) if explain else None)


def nearness(similarity: float, model: VectorModel) -> float:
    """Return the score of a cosine: 0 for what strangers have or less, 1 for the very same text."""
    least = model.minimum_similarity
    return min(1.0, max(0.0, (similarity - least) / (1 - least)))


def explanation(row: Row, asked: Question, told: Row) -> Explanation:
    """Return how a row's score came about.

    Args:
        told: the scores as they are told.
    """
    worths = row.get("worths") or [0.0] * len(asked.terms)
    shares = _shares(row["counts"]) if asked.terms else []
    held = [
        _word(term, share, worth, row)
        for term, share, worth in zip(asked.terms, shares, worths, strict=True)
        if worth > 0
    ]
    compared = row.get("similarity") is not None
    return Explanation(
        found=held,
        missing=[
            word for term, worth in zip(asked.terms, worths, strict=True) if worth == 0 for word in term.words
        ],
        text_position=row["text_position"] if row["text_score"] is not None else None,
        vector_position=row["vector_position"] if row["closeness"] > -2 else None,
        model=asked.model.name if compared else None,
        minimum_similarity=asked.model.minimum_similarity if compared else None,
        calculation=_calculation(told["text_score"], told["vector_score"], row["score"], asked.model),
    )


def _calculation(
    text_score: float | None, vector_score: float | None, score: float, model: VectorModel
) -> str:
    halves = [half for half in (text_score, vector_score) if half is not None]
    if len(halves) == 1:
        return f"{score:.3f}"
    if not model.knows_meanings:
        return f"max({', '.join(f'{half:.3f}' for half in halves)}) = {score:.3f}"
    return f"1 - {' * '.join(f'(1 - {half:.3f})' for half in halves)} = {score:.3f}"


def _word(term: Term, share: float, worth: float, row: Row) -> FoundWord:
    held = {lexeme: row["weights"][lexeme] for lexeme in term.lexemes if lexeme in (row["weights"] or {})}
    return FoundWord(
        words=list(term.words),
        lexeme=term.lexeme,
        found_as=list(held),
        fields=[name for weight, name in FIELDS.items() if any(weight in places for places in held.values())],
        share=share,
        worth=worth,
    )


def _shares(counts: Sequence[float]) -> list[float]:
    """Return the weights of the words as shares of all; see `scoring`."""
    documents, *holding = counts
    weights = scoring.weights(documents, holding)
    return [weight / sum(weights) for weight in weights]
