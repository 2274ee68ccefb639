"""How far an analysis agrees with a reviewed one: a number from 0 to 1 for each field."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from shared.hashed_words import STOP_WORDS

Kind = Literal["exact", "tokens", "overlap"]

LISTS = ("tokens",)
"""Kinds of fields that are lists of texts."""

FIELDS: dict[str, Kind] = {
    "category": "exact",
    "subcategories": "tokens",
    "headline": "overlap",
    "summary": "overlap",
    "media_metadata.original_poster": "exact",
    "media_metadata.tagged_accounts": "tokens",
    "media_metadata.location_tags": "tokens",
    "media_metadata.audio_source": "overlap",
    "media_metadata.hashtags": "tokens",
    "image_details.extracted_text": "tokens",
    "image_details.objects": "tokens",
    "image_details.themes": "tokens",
    "image_details.emotions": "tokens",
    "image_details.vibes": "tokens",
    "image_details.likely_source": "overlap",
    "image_details.key_interest": "overlap",
    "image_details.visual_hierarchy": "tokens",
}
"""The fields of an analysis, and how each is compared."""

NOTHING = ""
"""A field of which a person says that there is nothing to say."""

WORD = re.compile(r"\w+(?:[.,]\w+)*")
"""A word, or a number with its separators: 42.17 is one thing."""


def agreement(reviewed: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, float]:
    """Return how far an analysis agrees in each reviewed field of which either says anything.

    Where both say nothing there is nothing to agree on: counted as right, the many empty fields of most
    pictures would hide how the others fare.

    Args:
        reviewed: fields by their dotted names.
        stored: an analysis, as a model gave it; what is missing in it is as good as nothing.
    """
    compared = {}
    for name, wanted in reviewed.items():
        value = value_at(stored, name)
        if words(_text(wanted)) or words(_text(value)):
            compared[name] = compare(FIELDS[name], wanted, value)
    return compared


def value_at(analysis: Mapping[str, Any], name: str) -> Any:
    """Return the value at a dotted name, None where there is none."""
    value: Any = analysis
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def compare(kind: Kind, reviewed: Any, stored: Any) -> float:
    """Return how far two values agree, from 0 to 1."""
    one, other = _text(reviewed), _text(stored)
    if kind == "exact":
        return float(_plain(one) == _plain(other))
    if kind == "tokens":
        return token_f1(words(one), words(other))
    return overlap(words(one), words(other))


def token_f1(reviewed: Sequence[str], stored: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of words, each as often as it is there.

    Their order does not count, nor which entry of a list holds them. https://arxiv.org/abs/1606.05250
    """
    if not reviewed or not stored:
        return float(not reviewed and not stored)
    shared = sum((Counter(reviewed) & Counter(stored)).values())
    return 2 * shared / (len(reviewed) + len(stored))


def overlap(reviewed: Sequence[str], stored: Sequence[str]) -> float:
    """Return the share of the different words of two texts that both hold, stop words left out (Jaccard)."""
    one, other = _content(reviewed), _content(stored)
    if not one and not other:
        return 1.0
    return len(one & other) / len(one | other)


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return WORD.findall(_plain(text))


def _content(of: Sequence[str]) -> set[str]:
    return {word for word in of if word not in STOP_WORDS} or set(of)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _text(value: Any) -> str:
    """Return a value as a text: what was imported may be of any shape."""
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return "" if value is None else str(value)
