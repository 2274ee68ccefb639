"""What models take for a picture, a description and a question: tokens, and their price of today."""

import json
import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cli.costs import data
from cli.errors import UsageError
from functions.analyzer import analysis, models, prompt
from functions.scan_planner.plan import ANALYSIS_TOKENS
from shared import embeddings

WEB_IMAGE = (2048, 1536)
"""Pixels of what a model is shown, of a picture of usual shape."""
TOKENS_WRITTEN = ANALYSIS_TOKENS[1]
DEFAULT = "claude-haiku-5-5"


@dataclass(frozen=True)
class Described:
    """What a description takes.

    Attributes:
        usd: of one.
    """

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    usd: float


def described(name: str, day: date) -> Described:
    """Return what one description by a model takes: the picture as large as it sees it, and the prompt.

    Raises:
        UsageError: its price is not known.
    """
    provider = "bedrock" if "anthropic." in name else "anthropic"
    width, height = models.known(name).fit(*WEB_IMAGE)
    seen = math.ceil(width / models.PATCH) * math.ceil(height / models.PATCH)
    written = len(prompt.system()) + len(prompt.REQUEST) + len(json.dumps(analysis.schema()))
    tokens = seen + round(written / data.assumed("characters_per_token"))
    usd = models.cost(provider, name, tokens, TOKENS_WRITTEN, day)
    if usd is None:
        known = ", ".join(sorted(priced()))
        raise UsageError(f"The price of {name} is not known. Take one of {known}, or one of Bedrock's names.")
    return Described(provider, name, tokens, TOKENS_WRITTEN, float(usd))


def priced() -> list[str]:
    """Return the models whose price is known."""
    facts = json.loads(Path(models.__file__).with_name("models.json").read_text(encoding="utf-8"))
    return list(facts["models"])


def vector_usd() -> float:
    """Return what the vector of one description costs."""
    return embeddings.cost_usd(embeddings.VOYAGE, round(data.assumed("vector_tokens")))


def question_usd() -> float:
    """Return what the vector of one question costs."""
    return embeddings.cost_usd(embeddings.VOYAGE, round(data.assumed("question_tokens")))
