"""The analyzer for a machine without a model: it puts into words what can be measured, and says so.

It recognises nothing, and claims nothing else: no objects, no text, no people, no places.
"""

import json
from datetime import datetime
from typing import Any

from functions.analyzer import colours
from functions.analyzer.measure import Measured, measure
from functions.analyzer.providers import Picture
from functions.analyzer.reply import Reply
from shared.events import ProviderName

MODEL = "measured-1"
"""Changes with whatever changes what is said of the same picture."""

CATEGORY = {
    "photograph": "Photograph",
    "black-and-white photograph": "Black-and-white photograph",
    "graphic": "Graphic",
    "document": "Document",
}
LOOKS_LIKE = {
    "photograph": "By its surfaces it looks like a photograph.",
    "black-and-white photograph": "By its surfaces it looks like a photograph without colour.",
    "graphic": "Its even surfaces look like a graphic, a drawing or a screenshot.",
    "document": "Thin dark strokes on light ground look like a page of text.",
}
FORMAT = {
    "square": "square format",
    "wide": "wide format",
    "upright": "upright format",
    "panoramic": "panoramic format",
}
SATURATION = {
    "none": "no colour",
    "tinted": "a single tint",
    "muted": "muted colours",
    "natural": "moderate colours",
    "vivid": "vivid colours",
}
DETAIL = {
    "none": "no detail",
    "little": "little detail",
    "moderate": "moderate detail",
    "rich": "rich detail",
}
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
FOCUS = {"blurry": "blurry", "soft": "a little soft", "sharp": "sharp", "grainy": "grainy"}


class Offline:
    """A `Provider` that needs neither key nor network."""

    name: ProviderName = "offline"
    model = MODEL
    costs = False

    def describe(self, picture: Picture, max_tokens: int, seconds: float) -> Reply:
        analysis = in_words(measure(picture.jpeg), picture)
        message = {
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [{"type": "text", "text": json.dumps(analysis)}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return Reply.parse(json.dumps(message))


def in_words(measured: Measured, picture: Picture) -> dict[str, Any]:
    """Return the analysis, in the shape of `analysis.Analysis`."""
    salient = _salient(measured)
    camera = " ".join((picture.camera or "").split())[:80]
    impressions = _impressions(measured)
    return {
        "category": CATEGORY[measured.kind],
        "subcategories": [*impressions, FORMAT[measured.format]],
        "headline": _headline(measured, salient),
        "summary": " ".join(_sentences(measured, picture, camera)),
        "media_metadata": {
            "original_poster": None,
            "tagged_accounts": [],
            "location_tags": [],
            "audio_source": None,
            "hashtags": [],
        },
        "image_details": {
            "extracted_text": [],
            "objects": [],
            "themes": salient,
            "emotions": [],
            "vibes": impressions,
            "likely_source": f"camera: {camera}" if camera else None,
            "key_interest": None,
            "visual_hierarchy": [],
        },
    }


def _salient(measured: Measured) -> list[str]:
    """Return at most four colours that a person would name first: large ones, and strong ones sooner.

    Of colours that are much the same only the largest is named, with the weight of all.
    """
    weights: dict[str, float] = {}
    for kin in colours.KIN:
        same = [colour for colour in measured.colours if colour.name in kin]
        share = sum(colour.share for colour in same)
        strength = sum(colour.share * colour.chroma for colour in same)
        # Little of a strong colour is seen, in a drawing little of any; greys need room.
        grey = bool(kin & colours.GREYS.keys())
        least = 0.04 if measured.kind == "graphic" and not grey else 0.1
        if share >= least or strength >= 0.006:
            weights[same[0].name] = (0.28 if grey else 0.35) * share + 8 * strength
    named = sorted(weights, key=lambda name: -weights[name])[:4]
    return named or [measured.colours[0].name]


def _impressions(measured: Measured) -> list[str]:
    """Return what stands out, in a word or two each."""
    found = []
    if measured.saturation == "none":
        found.append("without colour")
    elif measured.saturation in {"tinted", "muted", "vivid"}:
        found.append(SATURATION[measured.saturation])
    if measured.temperature:
        found.append(f"{measured.temperature} colours")
    if measured.light != "medium":
        found.append(measured.light)
    if measured.contrast != "medium":
        found.append(f"{measured.contrast} contrast")
    if measured.focus not in {None, "sharp"}:
        found.append(FOCUS[str(measured.focus)])
    if measured.detail != "moderate":
        found.append(DETAIL[measured.detail])
    return found


def _headline(measured: Measured, salient: list[str]) -> str:
    """Return something like "Warm, dark photograph in orange and brown, wide format"."""
    ending = FORMAT[measured.format]
    if measured.kind == "document":
        return f"What looks like a page of text, {ending}"
    main = measured.colours[0]
    if main.share >= 0.97 and measured.detail == "none":
        return f"Plain {main.name} picture, {ending}"
    adjectives = []
    if measured.temperature and measured.kind == "photograph":
        adjectives.append(measured.temperature)
    if measured.light != "medium":
        adjectives.append(measured.light)
    if measured.focus in {"blurry", "grainy"}:
        adjectives.append(measured.focus)
    tones = _listed(salient[:2])
    if measured.kind == "graphic" and main.share >= 0.4 and len(salient) > 1:
        tones = f"{_listed([colour for colour in salient if colour != main.name][:3])} on {main.name}"
    subject = f"{', '.join(adjectives)} {measured.kind}".strip()
    said = subject[0].upper() + subject[1:]
    if measured.kind != "black-and-white photograph":
        said += f" in {tones}"
    return f"{said}, {ending}"


def _sentences(measured: Measured, picture: Picture, camera: str) -> list[str]:
    main, *others = measured.colours[:4]
    shares = [f"{colour.name} ({colour.share:.0%})" for colour in (main, *others) if colour.share >= 0.05]
    light = "of medium brightness" if measured.light == "medium" else measured.light
    focus = f"is {FOCUS[measured.focus]}, with" if measured.focus else "has"
    sentences = [
        "Measured, not seen: nothing in this picture was recognised.",
        LOOKS_LIKE[measured.kind],
        f"Its largest colours are {_listed(shares)}." if len(shares) > 1 else f"It is mostly {main.name}.",
        f"It is {light}, with {measured.contrast} contrast and {_saturation(measured)}.",
        f"It {focus} {DETAIL[measured.detail]}, in {FORMAT[measured.format]}.",
    ]
    if camera or picture.captured_at:
        when = f" on {_day(picture.captured_at)}" if picture.captured_at else ""
        sentences.append(f"Taken{when}{f' with {camera}' if camera else ''}, as the file says.")
    return sentences


def _saturation(measured: Measured) -> str:
    words = SATURATION[measured.saturation]
    return (
        f"{words}, mostly {measured.temperature} ones"
        if measured.temperature and words.endswith("colours")
        else words
    )


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _day(moment: datetime) -> str:
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"
