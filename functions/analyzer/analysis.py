"""What an analysis is: the model that every provider's answer must fit.

Too long is clipped, twice is once, and what PostgreSQL or a terminal would choke on is taken out.
Only an answer of another shape is refused: it does not say what was asked.
"""

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.text import clean

UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and marks that turn the direction of the text around them."""


class InvalidAnalysisError(ValueError):
    """The answer is not JSON, or not of the shape of an analysis."""


def _one_line(text: str, characters: int) -> str:
    """Return a text on one line, cut at a word where it is too long."""
    line = " ".join(UNPRINTABLE.sub("", clean(text)).split())
    if len(line) <= characters:
        return line
    head = line[: characters - 1]
    return (head.rpartition(" ")[0] if " " in head[characters // 2 :] else head).rstrip(" ,;:") + "…"


def _text(characters: int) -> BeforeValidator:
    def tidy(value: Any) -> Any:
        return _one_line(value, characters) if isinstance(value, str) else value

    return BeforeValidator(tidy)


def _text_or_none(characters: int) -> BeforeValidator:
    def tidy(value: Any) -> Any:
        return (_one_line(value, characters) or None) if isinstance(value, str) else value

    return BeforeValidator(tidy)


def _texts(entries: int, characters: int, strip: str = "") -> BeforeValidator:
    """Keep the first different entries, compared without regard to case."""

    def tidy(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        kept: dict[str, Any] = {}
        for entry in value:
            tidied = _one_line(entry, characters).lstrip(strip + " ") if isinstance(entry, str) else entry
            if tidied != "":
                kept.setdefault(tidied.casefold() if isinstance(tidied, str) else repr(tidied), tidied)
            if len(kept) == entries:
                break
        return list(kept.values())

    return BeforeValidator(tidy)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class MediaMetadata(_Part):
    """What the picture itself shows of where it was posted. Never guessed."""

    original_poster: Annotated[str | None, _text_or_none(120)] = Field(
        None, description="account that posted it, as shown in the picture; null when none is shown"
    )
    tagged_accounts: Annotated[list[str], _texts(50, 120, "@")] = Field(
        [], description="other accounts shown, without the @"
    )
    location_tags: Annotated[list[str], _texts(20, 120)] = Field(
        [], description="places named in the picture, or that it shows unmistakably"
    )
    audio_source: Annotated[str | None, _text_or_none(200)] = Field(
        None, description="song or sound named in the picture; null when none is"
    )
    hashtags: Annotated[list[str], _texts(50, 100, "#")] = Field(
        [], description="hashtags shown, without the #"
    )


class ImageDetails(_Part):
    """What is to be seen, in lists that can be searched and filtered."""

    extracted_text: Annotated[list[str], _texts(100, 500)] = Field(
        [], description="every readable text, one entry per line or block, as written, in its own language"
    )
    objects: Annotated[list[str], _texts(60, 100)] = Field(
        [], description="things, animals and people, most prominent first"
    )
    themes: Annotated[list[str], _texts(20, 80)] = Field([], description="subjects that the picture is about")
    emotions: Annotated[list[str], _texts(20, 80)] = Field(
        [], description="feelings that are shown or evoked"
    )
    vibes: Annotated[list[str], _texts(20, 80)] = Field(
        [], description="style and atmosphere in one or two words each"
    )
    likely_source: Annotated[str | None, _text_or_none(200)] = Field(
        None, description="how it was probably made, such as phone photograph, screenshot, scan, drawing"
    )
    key_interest: Annotated[str | None, _text_or_none(300)] = Field(
        None, description="the one thing that a person would look at first"
    )
    visual_hierarchy: Annotated[list[str], _texts(20, 200)] = Field(
        [], description="what the eye meets, in order, at most six"
    )


class Analysis(_Part):
    """A picture in words."""

    category: Annotated[str, _text(80)] = Field(
        min_length=1, description="one general category, one to three words"
    )
    subcategories: Annotated[list[str], _texts(12, 80)] = Field(
        [], description="narrower categories, two to five, the most fitting first"
    )
    headline: Annotated[str, _text(200)] = Field(
        min_length=1, description="what it shows, in at most twelve words"
    )
    summary: Annotated[str, _text(2000)] = Field(
        min_length=1, description="two to four plain sentences for a person who cannot see it"
    )
    media_metadata: MediaMetadata
    image_details: ImageDetails


def read(text: str) -> Analysis:
    """Return the analysis that a provider's text holds.

    Raises:
        InvalidAnalysisError: it is not JSON (or nested beyond reason), or has another shape. Names
            fields, never their content.
    """
    try:
        return Analysis.model_validate(json.loads(text))
    except ValidationError as error:
        wrong = ", ".join(sorted({".".join(map(str, e["loc"][:2])) or e["type"] for e in error.errors()}))
        raise InvalidAnalysisError(f"not an analysis: {wrong[:300]}") from None
    except (ValueError, RecursionError):
        raise InvalidAnalysisError("not JSON") from None


def schema() -> dict[str, Any]:
    """Return the JSON schema that structured output takes: closed objects, everything required.

    Lengths and sizes are left out, since it does not know them and we clip.
    https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
    """
    whole = Analysis.model_json_schema()
    definitions = whole.get("$defs", {})

    def closed(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            return closed(definitions[node["$ref"].rpartition("/")[2]])
        kept: dict[str, Any] = {key: node[key] for key in ("type", "description") if key in node}
        if "anyOf" in node:
            kept["anyOf"] = [closed(inner) for inner in node["anyOf"]]
        if "items" in node:
            kept["items"] = closed(node["items"])
        if "properties" in node:
            kept["properties"] = {name: closed(inner) for name, inner in node["properties"].items()}
            kept["required"] = list(node["properties"])
            kept["additionalProperties"] = False
        return kept

    return closed(whole)
