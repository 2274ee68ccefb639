"""Decide which text of an analysis becomes the vector."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from shared.text import clean

MAX_CHARACTERS = 6_000
"""Of the whole text, about 1,500 tokens. An analysis of a photograph has 500 to 2,000 characters."""
MAX_READ_CHARACTERS = 2_000
"""Of what was read in the picture: a photographed page must not drown what the picture is."""

Analysis = Mapping[str, Any]

_FIELDS = {"tags": "subcategories"}


def embedded_text(analysis: Analysis, corrections: Mapping[str, Any] | None = None) -> str:
    """Return the text that stands for a picture, what says most of it first.

    Headline, category and subcategories, summary, then what is to be seen and felt, places and
    hashtags, and last what is written in the picture. Left out are the file name, so that exact
    duplicates have the same text and share one vector; people's account names, which mean nothing;
    and guesses about the source and the layout, which would bring pictures together that only look
    alike to a designer. Full-text search finds all of these.

    Args:
        analysis: the analyzer's result, as it is kept in `analyses.raw_response`.
        corrections: what a person said in its place: `category`, `headline`, `summary`, and `tags`, which
            stand for the subcategories. None, and what is None in it, is not corrected.
    """
    analysis = {**analysis, **_corrected(corrections or {})}
    details = _mapping(analysis.get("image_details"))
    media = _mapping(analysis.get("media_metadata"))
    lines = [
        _joined(analysis.get("headline")),
        _joined([*_strings(analysis.get("category")), *_strings(analysis.get("subcategories"))]),
        _joined(analysis.get("summary")),
        _joined(details.get("objects")),
        _joined(details.get("themes")),
        _joined([*_strings(details.get("emotions")), *_strings(details.get("vibes"))]),
        _joined(details.get("key_interest")),
        _joined([*_strings(media.get("location_tags")), *_strings(media.get("hashtags"))]),
        _joined(details.get("extracted_text"))[:MAX_READ_CHARACTERS],
    ]
    return "\n".join(line for line in lines if line)[:MAX_CHARACTERS].strip()


def _corrected(corrections: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an analysis that a person put others in the place of."""
    said = {_FIELDS.get(name, name): value for name, value in corrections.items()}
    return {name: value for name, value in said.items() if value is not None}


def source_hash(text: str) -> str:
    """Return the SHA-256 of a text, in hex: who has the same needs not pay for it again."""
    return hashlib.sha256(text.encode()).hexdigest()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: object) -> Iterator[str]:
    """Yield the strings in a value: itself, or those of a list."""
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            words = " ".join(clean(part).split())
            if words:
                yield words


def _joined(value: object) -> str:
    return ", ".join(_strings(value))
