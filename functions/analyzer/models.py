"""What is known about models: how large a picture they see, what they are asked besides, what they cost.

The facts are data with their sources, in `models.json`. A model that is not there works all the same:
it is sent the largest picture that any model sees, asked nothing special, and its cost is unknown.
"""

import json
import math
import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

PATCH = 28
"""Pixels of a side of the square that costs one visual token."""
MILLION = Decimal(1_000_000)
NANODOLLAR = Decimal("0.000000001")
ENVELOPE_TOKENS = 2000
"""Room for what a provider adds to a request of its own: roles, and how an answer's shape is explained."""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, from a day on (None: from the beginning)."""

    since: date | None
    input: Decimal
    output: Decimal


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        long_edge: pixels of the longer side that it sees; more is scaled down before it looks.
        visual_tokens: of one picture that it sees; more is scaled down too.
        request: fields of the request that it takes besides the usual ones.
        prices: oldest first.
    """

    long_edge: int = 2576
    visual_tokens: int = 4784
    request: dict[str, Any] = field(default_factory=dict)
    prices: tuple[Price, ...] = ()

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Return the largest size of the same shape that the model sees whole, in pixels.

        https://platform.claude.com/docs/en/build-with-claude/vision#evaluate-image-size
        """

        def sees(edge: int) -> bool:
            patches = [math.ceil(side / PATCH) for side in scaled(edge)]
            return max(patches) * PATCH <= self.long_edge and math.prod(patches) <= self.visual_tokens

        def scaled(edge: int) -> tuple[int, int]:
            longer = max(width, height)
            return max(round(width * edge / longer), 1), max(round(height * edge / longer), 1)

        low, high = 1, max(width, height)
        if sees(high):
            return width, height
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if sees(middle) else (low, middle)
        return scaled(low)


@cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(__file__).with_name("models.json").read_text(encoding="utf-8"))
    return facts


def family(name: str) -> str:
    """Return a model's own name: without Bedrock's region, vendor and revision, and without the date.

    `us.anthropic.claude-haiku-4-5-20251001-v1:0` is `claude-haiku-4-5`; so is the ARN that ends in it.
    """
    bare = name.rpartition("/")[2].rpartition("anthropic.")[2]
    return re.sub(r"(-\d{8})?(-v\d+)?(:\d+)?$", "", bare)


def known(name: str) -> Model:
    """Return what is known about a model."""
    facts = _facts()["models"].get(family(name))
    if facts is None:
        return Model()
    prices = (
        Price(
            date.fromisoformat(price["from"]) if price["from"] else None,
            Decimal(price["input"]),
            Decimal(price["output"]),
        )
        for price in facts["usd_per_million"]
    )
    return Model(facts["long_edge"], facts["visual_tokens"], facts["request"], tuple(prices))


def cost(provider: str, name: str, input_tokens: int, output_tokens: int, day: date) -> Decimal | None:
    """Return what a call cost on a day, in US dollars to the nanodollar; None where the price is unknown."""
    in_force = [price for price in known(name).prices if price.since is None or price.since <= day]
    if not in_force:
        return None
    price = in_force[-1]
    dollars = (price.input * input_tokens + price.output * output_tokens) / MILLION
    if provider == "bedrock" and not name.rpartition("/")[2].startswith("global."):
        dollars *= Decimal(_facts()["bedrock_regional_factor"])
    return dollars.quantize(NANODOLLAR)


def most(provider: str, name: str, text_tokens: int, max_tokens: int, day: date) -> Decimal:
    """Return what one call may cost at the most, in US dollars: with the largest picture and reply.

    Where the price is unknown it is next to nothing, and not nothing: where no money is left, nobody is
    asked in any case.

    Args:
        text_tokens: of what is asked, without the picture.
        max_tokens: the most that may be written.
    """
    read = known(name).visual_tokens + text_tokens + ENVELOPE_TOKENS
    return cost(provider, name, read, max_tokens, day) or NANODOLLAR
