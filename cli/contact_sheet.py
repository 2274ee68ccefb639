"""The demo's contact sheet: one HTML file that needs nothing beside it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = '<meta name="generator" content="magpie demo">'
"""Tells a sheet that the demo wrote, which it may replace, from a page of somebody's."""

TEMPLATE = Path(__file__).with_name("contact_sheet.html")


@dataclass(frozen=True)
class Card:
    """One picture on the sheet."""

    name: str
    headline: str
    category: str
    ready: bool
    thumbnail: Path | None
    provider: str
    model: str

    @property
    def image(self) -> str | None:
        """The thumbnail as a `data:` URL."""
        if self.thumbnail is None:
            return None
        return "data:image/webp;base64," + base64.b64encode(self.thumbnail.read_bytes()).decode()


@dataclass(frozen=True)
class Row:
    """A search and what it found."""

    query: str
    cards: list[Card]


def write(path: Path, cards: Sequence[Card], rows: Sequence[Row], seconds: float) -> Path:
    """Write the sheet and return where it is. Whatever is in names and headlines is text there."""
    from jinja2 import Environment
    from markupsafe import Markup

    from cli.output import readable

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        mark=Markup(MARK),  # noqa: S704 - our own constant
        cards=cards,
        rows=rows,
        seconds=seconds,
        models=sorted({f"{card.provider} {card.model}".strip() for card in cards if card.provider}),
        measured=any(card.provider == "offline" for card in cards),
    )
    path.write_text(readable(page), encoding="utf-8")
    return path
