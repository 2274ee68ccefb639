"""What the maker and the seeker of vectors must agree on: models, dimensions, limits and prices.

The embedder turns what was said of a picture into a vector, the API does the same with a question.
Only vectors of one model can be compared, so both decide which one here.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from shared import parameters
from shared.errors import MagpieError
from shared.settings import Settings

DIMENSIONS: Final = 1024
PROMPT_TOKENS = 16
"""Room for what the service puts before each text ("Represent the document for retrieval: ")."""


@dataclass(frozen=True)
class VectorModel:
    """A way of making vectors.

    Attributes:
        name: as it stands in `embeddings.model`.
        provider: who makes them.
        minimum_similarity: cosine below which a question and a text have nothing to do with each other.
        knows_meanings: whether what it finds is evidence beside the words, and not the same words read in
            another way.
        enough: score of a hit that is shown where nobody says how much it must be.
    """

    name: str
    provider: str
    minimum_similarity: float
    knows_meanings: bool = True
    enough: float = 0.0

    @property
    def usd_per_million_tokens(self) -> float:
        """List price of today; 0 where nobody is paid."""
        return float(price(self.name, datetime.now(UTC).date()))


OFFLINE: Final = VectorModel(
    name="hashed-words-1",
    provider="offline",
    # Measured by tests/unit/embedder/test_hashed_words.py: of 39 descriptions and 30 questions every
    # pair that belongs together is above it; of 6,790 pairs of a word and a description that does not
    # hold it, one is.
    minimum_similarity=0.14,
    knows_meanings=False,
    # Measured by tests/retrieval; see docs/decisions/0018-ranking-by-measurement.md.
    enough=0.25,
)
VOYAGE: Final = VectorModel(
    name="voyage-3.5-lite",
    provider="voyage",
    # Not measured here: Voyage publishes no figure. Chosen low, because a hit too many stands at the
    # end of the list, and a hit too few is gone.
    minimum_similarity=0.25,
    # A cosine of 0.36, where no word is found. Chosen low, for the same reason.
    enough=0.15,
)


@cache
def _prices() -> dict[str, Any]:
    told = Path(__file__).with_name("vector_prices.json").read_text(encoding="utf-8")
    models: dict[str, Any] = json.loads(told)["models"]
    return models


def price(name: str, day: date) -> Decimal:
    """Return what a model's tokens cost on a day, in US dollars per million; 0 where nobody is paid."""
    listed = _prices().get(name, {"usd_per_million": []})["usd_per_million"]
    in_force = [each for each in listed if each["from"] is None or date.fromisoformat(each["from"]) <= day]
    return Decimal(in_force[-1]["tokens"]) if in_force else Decimal(0)


def model(name: str) -> VectorModel:
    """Return the model that `embeddings.model` names; of one that is not in use any more, only its name."""
    known = {each.name: each for each in (OFFLINE, VOYAGE)}
    return known.get(name, VectorModel(name, "unknown", minimum_similarity=0.0))


class EmbedderEnv(Settings):
    """Who makes vectors."""

    embedder: Literal["auto", "voyage", "offline"] = Field(alias="EMBEDDER")
    voyage_key_parameter: str = Field(alias="VOYAGE_KEY_PARAMETER")
    voyage_base_url: str | None = Field(None, alias="VOYAGE_BASE_URL", description="for tests and proxies")


def voyage_key() -> str | None:
    """Return the key of Voyage's API, or None where vectors are made offline.

    Raises:
        MissingParameterError: `EMBEDDER` is voyage and there is no key.
        TransientError: Parameter Store did not answer.
    """
    env = EmbedderEnv.load()
    if env.embedder == "offline":
        return None
    if env.embedder == "voyage":
        return parameters.get(env.voyage_key_parameter)
    return parameters.find(env.voyage_key_parameter)


def cost_usd(model: VectorModel, tokens: int) -> float:
    """Return the price of a number of tokens, in US dollars."""
    return tokens * model.usd_per_million_tokens / 1_000_000


def most_tokens(text: str) -> int:
    """Return a bound on the tokens of a text.

    A token of the service is at least one byte of UTF-8, so that bytes are a bound on tokens that
    needs no tokenizer, which the SDK would download from the internet.
    """
    return len(text.encode()) + PROMPT_TOKENS


def most_usd(model: VectorModel, text: str) -> Decimal:
    """Return what the vector of a text may cost at the most, in US dollars."""
    return most_tokens(text) * Decimal(str(model.usd_per_million_tokens)) / 1_000_000


class InvalidVectorError(MagpieError):
    """A model's answer that is no direction in our space: wrong length, not finite, or zero."""


def halfvec(vector: Sequence[float]) -> str:
    """Return a vector as pgvector's text form of `halfvec(1024)`, in the half precision it is kept in.

    Raises:
        InvalidVectorError: it has not exactly 1024 numbers, or one that is not a finite number in the
            range of half precision, or nothing but zeros at that precision. PostgreSQL would take a
            zero vector, and its distance from everything is NaN.
    """
    if len(vector) != DIMENSIONS:
        raise InvalidVectorError(f"a vector of {len(vector)} dimensions instead of {DIMENSIONS}")
    try:
        halves = struct.unpack(f"<{DIMENSIONS}e", struct.pack(f"<{DIMENSIONS}e", *vector))
    except (struct.error, OverflowError) as error:
        raise InvalidVectorError("a vector with something else than numbers of half precision") from error
    if not all(map(math.isfinite, halves)):
        raise InvalidVectorError("a vector with numbers that are not finite")
    if not any(halves):
        raise InvalidVectorError("a vector of zeros")
    # Five digits tell all halves apart. Most of an offline vector's are zero.
    return "[" + ",".join([f"{half:.5g}" if half else "0" for half in halves]) + "]"
