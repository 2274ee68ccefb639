"""The retrieval set: pictures described by hand, and questions with what should answer them.

`collection.txt` and `queries.txt` are what people edit. Here they become what programs read: the import
format of a collection (an export of the rows of `items` and `analyses`) and the questions of `magpie eval`.
The file names say nothing of the pictures, so that only what was said of them can be found.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

HERE = Path(__file__).resolve().parent
NAMESPACE = UUID("6f1d6f0e-3b0c-5d0a-9a55-4d1f3e7c2b10")
FIRST = datetime(2024, 1, 1, 8, 0)  # noqa: DTZ001 - the format's times have no zone and are UTC
RELEVANCES = ("high", "medium", "low")
TUNING, HELD_OUT = "tuning", "held-out"
HALVES = (TUNING, HELD_OUT)


@dataclass(frozen=True)
class Described:
    """One picture: its name in this set, and what was said of it, in the shape that the analyzer stores."""

    name: str
    number: int
    analysis: dict[str, Any]

    @property
    def item_id(self) -> UUID:
        return item_id(self.name)

    @property
    def filename(self) -> str:
        return f"IMG_{self.number:04}.jpg"

    @property
    def created_at(self) -> datetime:
        return FIRST + timedelta(hours=7 * self.number)


@dataclass(frozen=True)
class Asked:
    """One question, with the names of the pictures that answer it, by how well they do."""

    query_id: str
    kind: str
    text: str
    expected: dict[str, str]

    @property
    def half(self) -> str:
        """Return the half that this question is in: one chooses constants, the other is reported."""
        return HALVES[hashlib.sha256(self.query_id.encode()).digest()[0] % 2]


def item_id(name: str) -> UUID:
    """Return the id of a picture, the same in every copy of this set."""
    return uuid5(NAMESPACE, name)


def pictures() -> list[Described]:
    """Return the pictures of the collection."""
    return [
        Described(row[0], number, _analysis(row)) for number, row in enumerate(_rows("collection.txt", 9))
    ]


def questions(half: str | None = None) -> list[Asked]:
    """Return the questions, those of one half or all."""
    every = [_asked(row) for row in _rows("queries.txt", 6)]
    return [each for each in every if half in (None, each.half)]


def exported() -> dict[str, Any]:
    """Return the collection in the format that `magpie import` reads."""
    items, analyses = [], []
    for each in pictures():
        when = each.created_at.isoformat()
        stored = f"{uuid5(each.item_id, 'file')}.jpg"
        items.append(
            {
                "id": str(each.item_id),
                "filename": stored,
                "original_filename": each.filename,
                "file_path": f"images/{stored}",
                "file_size": 100_000 + each.number,
                "mime_type": "image/jpeg",
                "created_at": when,
                "updated_at": when,
            }
        )
        analyses.append(
            {
                "id": str(uuid5(each.item_id, "analysis")),
                "item_id": str(each.item_id),
                "version": 1,
                "category": each.analysis["category"],
                "summary": each.analysis["summary"],
                "raw_response": json.dumps(each.analysis, ensure_ascii=False),
                "provider_used": "by-hand",
                "model_used": "by-hand",
                "trace_id": None,
                "created_at": when,
            }
        )
    latest = FIRST.replace(tzinfo=UTC) + timedelta(days=365)
    return {"exported_at": latest.isoformat(), "tables": {"items": items, "analyses": analyses}}


def evaluated(half: str | None = None) -> dict[str, Any]:
    """Return the questions in the format that `magpie eval` reads."""
    return {
        "queries": [
            {
                "query_id": each.query_id,
                "query_text": each.text,
                "query_type": each.kind,
                "expected_items": [
                    {"item_id": str(item_id(name)), "relevance": relevance}
                    for name, relevance in each.expected.items()
                ],
                "expected_count": len(each.expected),
            }
            for each in questions(half)
        ]
    }


def _rows(name: str, columns: int) -> Iterator[list[str]]:
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            row = [cell.strip() for cell in line.split("|")]
            if len(row) != columns:
                raise ValueError(f"{name}: {len(row)} columns instead of {columns} in: {line}")
            yield row


def _list(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def _analysis(row: list[str]) -> dict[str, Any]:
    _, category, narrower, headline, summary, objects, read, places, hashtags = row
    return {
        "category": category,
        "subcategories": _list(narrower),
        "headline": headline,
        "summary": summary,
        "media_metadata": {
            "original_poster": None,
            "tagged_accounts": [],
            "location_tags": _list(places),
            "audio_source": None,
            "hashtags": _list(hashtags),
        },
        "image_details": {
            "extracted_text": _list(read),
            "objects": _list(objects),
            "themes": [],
            "emotions": [],
            "vibes": [],
            "likely_source": None,
            "key_interest": None,
            "visual_hierarchy": [],
        },
    }


def _asked(row: list[str]) -> Asked:
    query_id, kind, text, *names = row
    expected = {
        name: relevance for relevance, cell in zip(RELEVANCES, names, strict=True) for name in _list(cell)
    }
    return Asked(query_id, kind, text, expected)
